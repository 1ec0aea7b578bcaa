"""Writes a migration of what the tables say beyond those there are: `tools/migration.py 0002 "what changes"`.

Read what it writes before it is committed: Alembic can't see everything (renames, data that must move).
"""

import re
import sys
from tempfile import TemporaryDirectory

from alembic import command

from bintally.database import audit
from bintally.database.engine import Database
from bintally.database.migrate import config
from bintally.inventory import schema
from bintally.registry import schema as registry

TABLES = (audit.AuditLine, schema.Bin, registry.Model)  # naming one of a file is what makes its tables known

if __name__ == "__main__":
    number, message = sys.argv[1:]
    settings = config()
    with (
        TemporaryDirectory() as folder,
        Database.open(f"{folder}/empty.sqlite", create=True) as database,
        database.write() as connection,
    ):
        settings.attributes["connection"] = connection
        settings.attributes["metadata"] = TABLES[0].metadata
        settings.set_main_option("file_template", f"{number}_{re.sub('[^a-z]+', '_', message.lower())}")
        command.revision(settings, message=message, rev_id=number, autogenerate=True)
