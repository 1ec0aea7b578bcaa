"""Folder and database of a registry belong together, and know it: each holds the same name, given when they were made.

So a database that was lost, or a folder that is not mounted, is never taken for a new and empty one.
"""

from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, func, select

from bintally.artifacts import storage_errors, sync_folder, write_text
from bintally.database import Database, audit
from bintally.database.inserts import add_if_new
from bintally.database.types import now
from bintally.errors import StorageError
from bintally.registry import schema

IDENTITY: Final = "identity"


def of_folder(folder: Path) -> str | None:
    """The identity that a folder holds; None: it holds none.

    Raises:
        StorageError: it can't be read.
    """
    path = folder / IDENTITY
    with storage_errors(path):
        try:
            return path.read_text().strip() or None
        except FileNotFoundError:
            return None


def of_database(connection: Connection) -> str | None:
    """The identity that a database holds; None: it is no registry's yet."""
    return connection.execute(select(schema.RegistryPlace.identity)).scalar_one_or_none()


def must_belong(folder: Path, database: Database) -> None:
    """Looks whether they are one registry.

    Raises:
        StorageError: they are not.
    """
    with database.read() as connection:
        held = of_database(connection)
    told = of_folder(folder)
    if held is None or held != told:
        raise apart(folder, _wrong(database.name, held, told))


def bring_together(folder: Path, database: Database, *, by: str) -> None:
    """Makes them one registry, if neither has belonged to another.

    The database is told first: one that a kill left without its folder's file holds nothing yet, and is finished by the
    same command.

    Raises:
        StorageError: one of them belongs elsewhere, or is lost.
    """
    if of_folder(folder) is not None:
        must_belong(folder, database)
        return
    with database.write() as connection:
        values = {"id": 1, "identity": str(uuid4()), "made_at": now()}
        if add_if_new(connection, schema.RegistryPlace, values, unique=("id",)) is not None:
            body = {"identity": values["identity"]}
            audit.append(connection, actor=by, action="registry.init", subject="registry", body=body)
        elif connection.execute(select(func.count(schema.ModelVersion.id))).scalar_one():
            raise apart(folder, _wrong(database.name, of_database(connection), None))
        identity = of_database(connection)
    write_text(folder / IDENTITY, f"{identity}\n")
    sync_folder(folder)


def apart(folder: Path, what: str) -> StorageError:
    """The error for a folder and a database that are not one registry."""
    return StorageError(
        f"The registry {folder} and its database don't belong together: {what}.",
        hint="Is everything mounted? Put the lost half back from a backup; nothing was made anew.",
    )


def _wrong(database: str, held: str | None, told: str | None) -> str:
    if held is None:
        return f"{database} is empty"
    return f"{database} is another registry's" if told else f"{database} has versions, and the folder is empty"
