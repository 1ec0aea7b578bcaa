"""Migrations: Alembic's, run from the package itself, no alembic.ini needed."""

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

SCRIPTS: Final = Path(__file__).parent / "migrations"


def config() -> Config:
    """Alembic's settings for our scripts."""
    settings = Config()
    settings.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return settings


def version_of(engine: Engine) -> tuple[str | None, str | None]:
    """The version a database has (None: it is empty), and the newest one (None: the database's is not known here)."""
    scripts = _scripts()
    with engine.connect() as connection:
        held = MigrationContext.configure(connection).get_current_revision()
    try:
        scripts.get_revision(held or "base")
    except CommandError:
        return held, None
    return held, scripts.get_current_head()


@cache
def _scripts() -> ScriptDirectory:
    scripts = ScriptDirectory.from_config(config())
    scripts.get_current_head()  # read whole now, not by several threads at once
    return scripts


def upgrade(engine: Engine, to: str = "head") -> None:
    """Brings a database to a version, in one transaction: a kill leaves the old one."""
    settings = config()
    with engine.connect() as connection:
        writing = connection.execution_options(bintally_writes=True)
        with writing.begin():
            settings.attributes["connection"] = writing
            command.upgrade(settings, to)
