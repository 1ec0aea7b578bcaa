"""The outbox."""

import sqlalchemy as sa
from alembic import op

from bintally.database.append_only import append_only
from bintally.database.types import Key, UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The outbox."""
    op.create_table(
        "erp_connection",
        sa.Column("id", Key, nullable=False),
        sa.Column("site_id", Key, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("since", UtcTime(), nullable=True),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("paused_at", UtcTime(), nullable=True),
        sa.Column("heard", Key, nullable=False),
        sa.Column("reached_at", UtcTime(), nullable=True),
        sa.Column("away_since", UtcTime(), nullable=True),
        sa.Column("away_why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_erp_connection_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erp_connection")),
        sa.UniqueConstraint("name", name=op.f("uq_erp_connection_name")),
    )
    op.create_table(
        "posting",
        sa.Column("id", Key, nullable=False),
        sa.Column("connection_id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("decision_id", Key, nullable=False),
        sa.Column("reverses_id", Key, nullable=True),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("tried", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcTime(), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("settled_at", UtcTime(), nullable=True),
        sa.CheckConstraint("kind IN ('adjust', 'reverse')", name=op.f("ck_posting_kind")),
        sa.CheckConstraint(
            "state IN ('waiting', 'posted', 'stale', 'refused', 'dropped', 'cancelled')", name=op.f("ck_posting_state")
        ),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_posting_bin_id_bin")),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["erp_connection.id"], name=op.f("fk_posting_connection_id_erp_connection")
        ),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_posting_decision_id_decision")),
        sa.ForeignKeyConstraint(["reverses_id"], ["posting.id"], name=op.f("fk_posting_reverses_id_posting")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posting")),
        sa.UniqueConstraint(
            "connection_id", "decision_id", "kind", name=op.f("uq_posting_connection_id_decision_id_kind")
        ),
        sa.UniqueConstraint("key", name=op.f("uq_posting_key")),
        sa.UniqueConstraint("reverses_id", name=op.f("uq_posting_reverses_id")),
    )
    op.create_index(
        op.f("ix_posting_bin_id_connection_id_id"), "posting", ["bin_id", "connection_id", "id"], unique=False
    )
    op.create_index(
        op.f("ix_posting_connection_id_settled_at"), "posting", ["connection_id", "settled_at"], unique=False
    )
    op.create_index(
        op.f("ix_posting_connection_id_state_id"), "posting", ["connection_id", "state", "id"], unique=False
    )
    op.create_table(
        "posting_step",
        sa.Column("id", Key, nullable=False),
        sa.Column("posting_id", Key, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("step", sa.String(length=20), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["posting_id"], ["posting.id"], name=op.f("fk_posting_step_posting_id_posting")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posting_step")),
    )
    op.create_index(op.f("ix_posting_step_posting_id"), "posting_step", ["posting_id"], unique=False)
    append_only("posting_step")


def downgrade() -> None:
    """Back to 0002."""
    op.drop_index(op.f("ix_posting_step_posting_id"), table_name="posting_step")
    op.drop_table("posting_step")
    op.drop_index(op.f("ix_posting_connection_id_state_id"), table_name="posting")
    op.drop_index(op.f("ix_posting_connection_id_settled_at"), table_name="posting")
    op.drop_index(op.f("ix_posting_bin_id_connection_id_id"), table_name="posting")
    op.drop_table("posting")
    op.drop_table("erp_connection")
