"""What Alembic runs: the migrations, on the connection `bintally.database.migrate` hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from bintally.database.types import Key, Money, UtcTime


def _rendered(_kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Our column types by their names, where tools/migration.py writes them down."""
    if item is Key:
        return "Key"
    return f"{type(item).__name__}()" if isinstance(item, UtcTime | Money) else False


settings = context.config.attributes
context.configure(
    connection=settings["connection"],
    target_metadata=settings.get("metadata"),  # tools/migration.py compares with it
    render_item=_rendered,
)
with context.begin_transaction():
    context.run_migrations()
