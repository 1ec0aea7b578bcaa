"""Triggers that refuse to change or delete rows: what was written stays, whoever asks."""

from typing import Final

from alembic import op

_REFUSAL: Final = "rows are only added here"


def append_only(*tables: str) -> None:
    """In a migration: from now on rows of `tables` can be added, and neither changed nor deleted."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION bintally_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '%: {_REFUSAL}', TG_TABLE_NAME; END $$"
        )
        for table in tables:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION bintally_refuse()"
            )
        return
    for table in tables:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table}: {_REFUSAL}'); END"
            )
