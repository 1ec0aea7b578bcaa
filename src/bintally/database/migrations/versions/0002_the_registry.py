"""The registry."""

import sqlalchemy as sa
from alembic import op

from bintally.database.append_only import append_only
from bintally.database.types import Key, UtcTime

revision = "0002"
down_revision = "0001"

_FROZEN = ("model_version", "model_state", "gate_run", "alias_change", "deployment", "registry_place", "shadow")

_STATES = "'PendingManualApproval', 'Approved', 'Rejected', 'Retired', 'Forgotten'"


def upgrade() -> None:
    """The registry."""
    op.create_table(
        "model",
        sa.Column("id", Key, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("name", name=op.f("uq_model_name")),
    )
    op.create_table(
        "registry_lease",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_registry_lease")),
    )
    op.create_table(
        "registry_place",
        sa.Column("id", Key, nullable=False),
        sa.Column("identity", sa.String(length=36), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_registry_place_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_place")),
    )
    op.create_table(
        "model_version",
        sa.Column("id", Key, nullable=False),
        sa.Column("model_id", Key, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.Column("bundle_bytes", sa.BigInteger(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=True),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.Column("registered_at", UtcTime(), nullable=False),
        sa.Column("registered_by", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_model_version_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("model_id", "bundle_sha256", name=op.f("uq_model_version_model_id_bundle_sha256")),
        sa.UniqueConstraint("model_id", "number", name=op.f("uq_model_version_model_id_number")),
    )
    op.create_table(
        "deployment",
        sa.Column("id", Key, nullable=False),
        sa.Column("version_id", Key, nullable=False),
        sa.Column("service", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("outcome IN ('taken', 'refused', 'left')", name=op.f("ck_deployment_outcome")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_version.id"], name=op.f("fk_deployment_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment")),
    )
    op.create_index(op.f("ix_deployment_version_id"), "deployment", ["version_id"], unique=False)
    op.create_table(
        "gate_run",
        sa.Column("id", Key, nullable=False),
        sa.Column("version_id", Key, nullable=False),
        sa.Column("against_id", Key, nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["against_id"], ["model_version.id"], name=op.f("fk_gate_run_against_id_model_version")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_version.id"], name=op.f("fk_gate_run_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_run")),
    )
    op.create_index(op.f("ix_gate_run_version_id"), "gate_run", ["version_id"], unique=False)
    op.create_table(
        "model_state",
        sa.Column("id", Key, nullable=False),
        sa.Column("version_id", Key, nullable=False),
        sa.Column("state", sa.String(length=30), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('PendingManualApproval', 'Approved', 'Rejected', 'Retired', 'Forgotten')",
            name=op.f("ck_model_state_state"),
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_version.id"], name=op.f("fk_model_state_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_state")),
    )
    op.create_index(op.f("ix_model_state_version_id"), "model_state", ["version_id"], unique=False)
    op.create_table(
        "alias_change",
        sa.Column("id", Key, nullable=False),
        sa.Column("model_id", Key, nullable=False),
        sa.Column("alias", sa.String(length=200), nullable=False),
        sa.Column("version_id", Key, nullable=True),
        sa.Column("before_id", Key, nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("gate_run_id", Key, nullable=True),
        sa.Column("rollback_of", Key, nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('promote', 'force', 'rollback', 'set', 'clear')", name=op.f("ck_alias_change_kind")
        ),
        sa.ForeignKeyConstraint(
            ["before_id"], ["model_version.id"], name=op.f("fk_alias_change_before_id_model_version")
        ),
        sa.ForeignKeyConstraint(["gate_run_id"], ["gate_run.id"], name=op.f("fk_alias_change_gate_run_id_gate_run")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_alias_change_model_id_model")),
        sa.ForeignKeyConstraint(
            ["rollback_of"], ["alias_change.id"], name=op.f("fk_alias_change_rollback_of_alias_change")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_version.id"], name=op.f("fk_alias_change_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_change")),
    )
    op.create_index(
        op.f("ix_alias_change_model_id_alias_id"), "alias_change", ["model_id", "alias", "id"], unique=False
    )
    op.create_table(
        "shadow",
        sa.Column("id", Key, nullable=False),
        sa.Column("change_id", Key, nullable=False),
        sa.Column("champion_id", Key, nullable=False),
        sa.Column("percent", sa.Double(), nullable=False),
        sa.CheckConstraint("percent > 0 AND percent <= 100", name=op.f("ck_shadow_percent")),
        sa.ForeignKeyConstraint(
            ["champion_id"], ["model_version.id"], name=op.f("fk_shadow_champion_id_model_version")
        ),
        sa.ForeignKeyConstraint(["change_id"], ["alias_change.id"], name=op.f("fk_shadow_change_id_alias_change")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow")),
        sa.UniqueConstraint("change_id", name=op.f("uq_shadow_change_id")),
    )
    append_only(*_FROZEN)


def downgrade() -> None:
    """Back to 0001."""
    op.drop_table("shadow")
    op.drop_index(op.f("ix_alias_change_model_id_alias_id"), table_name="alias_change")
    op.drop_table("alias_change")
    op.drop_index(op.f("ix_model_state_version_id"), table_name="model_state")
    op.drop_table("model_state")
    op.drop_index(op.f("ix_gate_run_version_id"), table_name="gate_run")
    op.drop_table("gate_run")
    op.drop_index(op.f("ix_deployment_version_id"), table_name="deployment")
    op.drop_table("deployment")
    op.drop_table("model_version")
    op.drop_table("registry_place")
    op.drop_table("registry_lease")
    op.drop_table("model")
