"""The ledger."""

import sqlalchemy as sa
from alembic import op

from bintally.database.append_only import append_only
from bintally.database.types import Key, Money, UtcTime

revision = "0001"
down_revision = None

_FROZEN = ("audit", "decision", "stock_record", "stock_line", "movement")


def upgrade() -> None:
    """The ledger."""
    op.create_table(
        "audit",
        sa.Column("number", Key, autoincrement=False, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_hash")),
    )
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)
    op.create_table(
        "policy",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_policy")),
    )
    op.create_table(
        "site",
        sa.Column("id", Key, nullable=False),
        sa.Column("code", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("code", name=op.f("uq_site_code")),
    )
    op.create_table(
        "bin",
        sa.Column("id", Key, nullable=False),
        sa.Column("site_id", Key, nullable=False),
        sa.Column("code", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_bin_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bin")),
        sa.UniqueConstraint("site_id", "code", name=op.f("uq_bin_site_id_code")),
    )
    op.create_table(
        "intake",
        sa.Column("id", Key, nullable=False),
        sa.Column("site_id", Key, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bad_rows", sa.Integer(), nullable=False),
        sa.Column("done_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_intake_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intake")),
        sa.UniqueConstraint("site_id", "kind", "sha256", name=op.f("uq_intake_site_id_kind_sha256")),
    )
    op.create_table(
        "person",
        sa.Column("id", Key, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("site_id", Key, nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'reviewer', 'approver', 'admin')", name=op.f("ck_person_role")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_person_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("name", name=op.f("uq_person_name")),
    )
    op.create_table(
        "product",
        sa.Column("id", Key, nullable=False),
        sa.Column("site_id", Key, nullable=False),
        sa.Column("sku", sa.String(length=200), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("abc", sa.String(length=1), nullable=False),
        sa.Column("unit", sa.String(length=20), nullable=False),
        sa.Column("unit_value", Money(), nullable=True),
        sa.Column("height_in", sa.Double(), nullable=True),
        sa.Column("length_in", sa.Double(), nullable=True),
        sa.Column("width_in", sa.Double(), nullable=True),
        sa.Column("weight_lb", sa.Double(), nullable=True),
        sa.CheckConstraint("abc IN ('A', 'B', 'C')", name=op.f("ck_product_abc")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_product_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint("site_id", "sku", name=op.f("uq_product_site_id_sku")),
    )
    op.create_table(
        "judged",
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("facts", sa.Integer(), nullable=False),
        sa.Column("how", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_judged_bin_id_bin")),
        sa.PrimaryKeyConstraint("bin_id", name=op.f("pk_judged")),
    )
    op.create_table(
        "movement",
        sa.Column("id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("product_id", Key, nullable=True),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("moved_at", UtcTime(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_movement_bin_id_bin")),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_movement_product_id_product")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_movement")),
        sa.UniqueConstraint("bin_id", "key", name=op.f("uq_movement_bin_id_key")),
    )
    op.create_index(op.f("ix_movement_bin_id_moved_at"), "movement", ["bin_id", "moved_at"], unique=False)
    op.create_table(
        "photo",
        sa.Column("id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("taken_at", UtcTime(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("removed_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_photo_bin_id_bin")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photo")),
        sa.UniqueConstraint("bin_id", "sha256", name=op.f("uq_photo_bin_id_sha256")),
    )
    op.create_index(op.f("ix_photo_bin_id_taken_at"), "photo", ["bin_id", "taken_at"], unique=False)
    op.create_index(op.f("ix_photo_sha256"), "photo", ["sha256"], unique=False)
    op.create_table(
        "stock_record",
        sa.Column("id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("effective_at", UtcTime(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_stock_record_quantity")),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_stock_record_bin_id_bin")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_record")),
        sa.UniqueConstraint("bin_id", "key", name=op.f("uq_stock_record_bin_id_key")),
    )
    op.create_index(
        op.f("ix_stock_record_bin_id_effective_at_id"), "stock_record", ["bin_id", "effective_at", "id"], unique=False
    )
    op.create_table(
        "belief",
        sa.Column("id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("photo_id", Key, nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("events", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("probabilities", sa.Text(), nullable=False),
        sa.Column("prior", sa.Text(), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_belief_bin_id_bin")),
        sa.ForeignKeyConstraint(["photo_id"], ["photo.id"], name=op.f("fk_belief_photo_id_photo")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_belief")),
        sa.UniqueConstraint("bin_id", "events", name=op.f("uq_belief_bin_id_events")),
    )
    op.create_table(
        "comparison",
        sa.Column("id", Key, nullable=False),
        sa.Column("earlier_id", Key, nullable=False),
        sa.Column("later_id", Key, nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("change_prior", sa.Text(), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["earlier_id"], ["photo.id"], name=op.f("fk_comparison_earlier_id_photo")),
        sa.ForeignKeyConstraint(["later_id"], ["photo.id"], name=op.f("fk_comparison_later_id_photo")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
        sa.UniqueConstraint(
            "later_id", "earlier_id", "model_sha256", name=op.f("uq_comparison_later_id_earlier_id_model_sha256")
        ),
    )
    op.create_table(
        "estimate",
        sa.Column("id", Key, nullable=False),
        sa.Column("photo_id", Key, nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prior", sa.Text(), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["photo_id"], ["photo.id"], name=op.f("fk_estimate_photo_id_photo")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_estimate")),
        sa.UniqueConstraint("photo_id", "model_sha256", name=op.f("uq_estimate_photo_id_model_sha256")),
    )
    op.create_table(
        "stock_line",
        sa.Column("record_id", Key, nullable=False),
        sa.Column("product_id", Key, nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_stock_line_quantity")),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_stock_line_product_id_product")),
        sa.ForeignKeyConstraint(["record_id"], ["stock_record.id"], name=op.f("fk_stock_line_record_id_stock_record")),
        sa.PrimaryKeyConstraint("record_id", "product_id", name=op.f("pk_stock_line")),
    )
    op.create_table(
        "verdict",
        sa.Column("id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("record_id", Key, nullable=False),
        sa.Column("belief_id", Key, nullable=False),
        sa.Column("policy_sha256", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("right", sa.Double(), nullable=True),
        sa.Column("blind_recount", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.CheckConstraint("outcome IN ('match', 'mismatch', 'uncertain', 'stale')", name=op.f("ck_verdict_outcome")),
        sa.ForeignKeyConstraint(["belief_id"], ["belief.id"], name=op.f("fk_verdict_belief_id_belief")),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_verdict_bin_id_bin")),
        sa.ForeignKeyConstraint(["policy_sha256"], ["policy.sha256"], name=op.f("fk_verdict_policy_sha256_policy")),
        sa.ForeignKeyConstraint(["record_id"], ["stock_record.id"], name=op.f("fk_verdict_record_id_stock_record")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
    )
    op.create_index(op.f("ix_verdict_bin_id_id"), "verdict", ["bin_id", "id"], unique=False)
    op.create_index(
        op.f("ix_verdict_record_id_belief_id_policy_sha256"),
        "verdict",
        ["record_id", "belief_id", "policy_sha256"],
        unique=False,
    )
    op.create_table(
        "review",
        sa.Column("id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("verdict_id", Key, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("worth", Money(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.Column("closed_at", UtcTime(), nullable=True),
        sa.Column("lease_person_id", Key, nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.CheckConstraint("state IN ('open', 'waiting', 'closed', 'withdrawn')", name=op.f("ck_review_state")),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_review_bin_id_bin")),
        sa.ForeignKeyConstraint(["lease_person_id"], ["person.id"], name=op.f("fk_review_lease_person_id_person")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdict.id"], name=op.f("fk_review_verdict_id_verdict")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.UniqueConstraint("verdict_id", "round", name=op.f("uq_review_verdict_id_round")),
    )
    op.create_index(op.f("ix_review_bin_id"), "review", ["bin_id"], unique=False)
    op.create_index(op.f("ix_review_state_opened_at_id"), "review", ["state", "opened_at", "id"], unique=False)
    op.create_index(op.f("ix_review_state_worth"), "review", ["state", "worth"], unique=False)
    op.create_index(
        "uq_review_open",
        "review",
        ["bin_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('open', 'waiting')"),
        postgresql_where=sa.text("state IN ('open', 'waiting')"),
    )
    op.create_table(
        "decision",
        sa.Column("id", Key, nullable=False),
        sa.Column("review_id", Key, nullable=False),
        sa.Column("person_id", Key, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("count", sa.Integer(), nullable=True),
        sa.Column("lines", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("undoes_id", Key, nullable=True),
        sa.Column("counted_at", UtcTime(), nullable=True),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_decision_person_id_person")),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_decision_review_id_review")),
        sa.ForeignKeyConstraint(["undoes_id"], ["decision.id"], name=op.f("fk_decision_undoes_id_decision")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sa.UniqueConstraint("key", name=op.f("uq_decision_key")),
        sa.UniqueConstraint("undoes_id", name=op.f("uq_decision_undoes_id")),
    )
    op.create_index(op.f("ix_decision_review_id"), "decision", ["review_id"], unique=False)
    op.create_table(
        "adjustment",
        sa.Column("id", Key, nullable=False),
        sa.Column("decision_id", Key, nullable=False),
        sa.Column("bin_id", Key, nullable=False),
        sa.Column("record_id", Key, nullable=False),
        sa.Column("product_id", Key, nullable=True),
        sa.Column("before", sa.Integer(), nullable=False),
        sa.Column("after", sa.Integer(), nullable=False),
        sa.Column("value", Money(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("approved_by_id", Key, nullable=True),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("settled_at", UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('proposed', 'approved', 'rejected', 'undone')", name=op.f("ck_adjustment_state")),
        sa.ForeignKeyConstraint(["approved_by_id"], ["person.id"], name=op.f("fk_adjustment_approved_by_id_person")),
        sa.ForeignKeyConstraint(["bin_id"], ["bin.id"], name=op.f("fk_adjustment_bin_id_bin")),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_adjustment_decision_id_decision")),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_adjustment_product_id_product")),
        sa.ForeignKeyConstraint(["record_id"], ["stock_record.id"], name=op.f("fk_adjustment_record_id_stock_record")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjustment")),
        sa.UniqueConstraint("decision_id", "product_id", name=op.f("uq_adjustment_decision_id_product_id")),
    )
    op.create_index(op.f("ix_adjustment_bin_id"), "adjustment", ["bin_id"], unique=False)
    op.create_index(
        "uq_adjustment_total",
        "adjustment",
        ["decision_id"],
        unique=True,
        sqlite_where=sa.text("product_id IS NULL"),
        postgresql_where=sa.text("product_id IS NULL"),
    )
    op.create_table(
        "label",
        sa.Column("id", Key, nullable=False),
        sa.Column("photo_id", Key, nullable=False),
        sa.Column("decision_id", Key, nullable=False),
        sa.Column("count", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("withdrawn_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_label_decision_id_decision")),
        sa.ForeignKeyConstraint(["photo_id"], ["photo.id"], name=op.f("fk_label_photo_id_photo")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.UniqueConstraint("decision_id", name=op.f("uq_label_decision_id")),
    )
    op.create_index(op.f("ix_label_photo_id"), "label", ["photo_id"], unique=False)
    append_only(*_FROZEN)


def downgrade() -> None:
    """Back to None."""
    op.drop_index(op.f("ix_label_photo_id"), table_name="label")
    op.drop_table("label")
    op.drop_index(
        "uq_adjustment_total",
        table_name="adjustment",
        sqlite_where=sa.text("product_id IS NULL"),
        postgresql_where=sa.text("product_id IS NULL"),
    )
    op.drop_index(op.f("ix_adjustment_bin_id"), table_name="adjustment")
    op.drop_table("adjustment")
    op.drop_index(op.f("ix_decision_review_id"), table_name="decision")
    op.drop_table("decision")
    op.drop_index(
        "uq_review_open",
        table_name="review",
        sqlite_where=sa.text("state IN ('open', 'waiting')"),
        postgresql_where=sa.text("state IN ('open', 'waiting')"),
    )
    op.drop_index(op.f("ix_review_state_worth"), table_name="review")
    op.drop_index(op.f("ix_review_state_opened_at_id"), table_name="review")
    op.drop_index(op.f("ix_review_bin_id"), table_name="review")
    op.drop_table("review")
    op.drop_index(op.f("ix_verdict_record_id_belief_id_policy_sha256"), table_name="verdict")
    op.drop_index(op.f("ix_verdict_bin_id_id"), table_name="verdict")
    op.drop_table("verdict")
    op.drop_table("stock_line")
    op.drop_table("estimate")
    op.drop_table("comparison")
    op.drop_table("belief")
    op.drop_index(op.f("ix_stock_record_bin_id_effective_at_id"), table_name="stock_record")
    op.drop_table("stock_record")
    op.drop_index(op.f("ix_photo_sha256"), table_name="photo")
    op.drop_index(op.f("ix_photo_bin_id_taken_at"), table_name="photo")
    op.drop_table("photo")
    op.drop_index(op.f("ix_movement_bin_id_moved_at"), table_name="movement")
    op.drop_table("movement")
    op.drop_table("judged")
    op.drop_table("product")
    op.drop_table("person")
    op.drop_table("intake")
    op.drop_table("bin")
    op.drop_table("site")
    op.drop_table("policy")
    op.drop_index(op.f("ix_audit_subject"), table_name="audit")
    op.drop_table("audit")
