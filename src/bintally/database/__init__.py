"""The database under ledger and registry: engine, migrations, the audit chain."""

from bintally.database.engine import Database

__all__ = ["Database"]
