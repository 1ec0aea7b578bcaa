"""backup and restore: the whole ledger in one file that either database can be made from.

A zip of Parquet files, one a table, and `manifest.json`: the version, each table's rows and SHA-256, and the head of
the audit log. All tables are of one moment, while others go on writing. A registry of models in the same database is
left out, since its bundles are elsewhere; what the audit log says of it stays, or the log would be broken.
"""

import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import polars as pl
import sqlalchemy as sa

from bintally.artifacts import atomic_write, sha256_of, storage_errors
from bintally.database import audit
from bintally.database.migrate import version_of
from bintally.database.types import Money, Table, now
from bintally.errors import DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.bulk.stage import fill
from bintally.inventory.ledger import Ledger
from bintally.inventory.rows import put_down, schema_of
from bintally.progress import SILENT, Progress

MANIFEST: Final = "manifest.json"
_FORMAT: Final = "bintally ledger backup 1"
_BLOCK: Final = 250_000


def _ledgers_tables() -> list[sa.Table]:
    """Each after those it refers to. Others may stand in the same database, and be known by now: a registry's."""
    homes = {schema.__name__, audit.__name__}
    ours = {mapper.local_table for mapper in Table.registry.mappers if mapper.class_.__module__ in homes}
    return [table for table in Table.metadata.sorted_tables if table in ours]


_TABLES: Final = _ledgers_tables()


class Kept(msgspec.Struct, frozen=True):
    """A table in a backup."""

    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. `head`: the audit log's, as NUMBER:HASH."""

    format: str
    version: str
    made_at: str
    head: str
    tables: dict[str, Kept]


class BackupReport(msgspec.Struct, frozen=True):
    """What was backed up, or restored."""

    file: str
    rows: int
    bytes: int
    head: str
    seconds: float


def backup(*, ledger: Ledger, file: Path, progress: Progress = SILENT) -> BackupReport:
    """Writes the ledger as it is at this moment to `file`, while others may write. Photos' files are not in it.

    Raises:
        StorageError: the file can't be written.
    """
    start = time.perf_counter()
    tables: dict[str, Kept] = {}
    with TemporaryDirectory(prefix="bintally-") as folder, ledger.read() as connection:
        head = str(audit.head(connection))
        with progress.task("backup", total=len(_TABLES), unit="tables") as task:
            for table in _TABLES:
                rows, count = put_down(connection, _plain(table), Path(folder), f"{table.name}-parts")
                target = Path(folder) / f"{table.name}.parquet"
                with storage_errors(target):
                    rows.sink_parquet(target, compression="zstd")
                tables[table.name] = Kept(count, sha256_of(target))
                task.advance()
        version = version_of(ledger.database.engine)[0]
        manifest = Manifest(_FORMAT, str(version), now().isoformat(), head, tables)
        with atomic_write(file) as out, zipfile.ZipFile(out, "w") as archive:
            for name in tables:
                archive.write(Path(folder) / f"{name}.parquet", f"{name}.parquet")
            archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    rows_in_all = sum(kept.rows for kept in tables.values())
    return BackupReport(str(file), rows_in_all, file.stat().st_size, head, round(time.perf_counter() - start, 2))


def restore(*, file: Path, place: str | Path, progress: Progress = SILENT) -> BackupReport:
    """Makes an empty place the ledger that was backed up, on whichever database. All of it, or nothing.

    Raises:
        DataError: no backup, or not as it was written; of another version of bintally.
        UsageError: the place holds something.
    """
    start = time.perf_counter()
    with _opened(file) as (archive, manifest), TemporaryDirectory(prefix="bintally-") as folder:
        for name, kept in manifest.tables.items():
            path = _unpacked(archive, f"{name}.parquet", Path(folder))
            if sha256_of(path) != kept.sha256:
                raise DataError(f"{name} in {file} is not as it was backed up.", hint="Take another backup.")
        with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
            _check_version(ledger, manifest, file)
            _must_be_empty(connection, place)
            with progress.task("restore", total=len(_TABLES), unit="tables") as task:
                for table in _TABLES:
                    _load(connection, table, Path(folder) / f"{table.name}.parquet", manifest.tables[table.name])
                    task.advance()
            _check_audit(connection, manifest, file)
    rows = sum(kept.rows for kept in manifest.tables.values())
    return BackupReport(str(file), rows, file.stat().st_size, manifest.head, round(time.perf_counter() - start, 2))


def _plain(table: sa.Table) -> sa.Select[*tuple[Any, ...]]:
    """All rows, money as it is kept: whole ten-thousandths."""
    columns = [
        sa.type_coerce(column, sa.BigInteger).label(column.name) if isinstance(column.type, Money) else column
        for column in table.columns
    ]
    return sa.select(*columns).order_by(*table.primary_key.columns)


def _load(connection: sa.Connection, table: sa.Table, path: Path, kept: Kept) -> None:
    schema_of_table = schema_of(_plain(table).selected_columns)
    loaded = 0
    for rows in pl.scan_parquet(path).cast(schema_of_table).collect_batches(chunk_size=_BLOCK, maintain_order=True):
        fill(connection, table.name, rows.select(schema_of_table.names()))
        loaded += rows.height
    if loaded != kept.rows:
        raise DataError(f"{table.name} has {loaded:,} rows in the backup, not {kept.rows:,}.", hint="Take another one.")
    if connection.dialect.name == "postgresql" and "id" in table.columns and loaded:
        highest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(table.name, "id"), highest)))


def _must_be_empty(connection: sa.Connection, place: str | Path) -> None:
    for table in _TABLES:
        if connection.execute(sa.select(sa.exists(sa.select(*table.primary_key.columns)))).scalar_one():
            raise UsageError(f"{place} holds a ledger already.", hint="Restore into a new place.")


def _check_version(ledger: Ledger, manifest: Manifest, file: Path) -> None:
    held = version_of(ledger.database.engine)[0]
    if manifest.version != held or set(manifest.tables) != {table.name for table in _TABLES}:
        raise DataError(
            f"{file} is of version {manifest.version} of the ledger; this bintally writes {held}.",
            hint="Restore it with the bintally that wrote it, then bring that ledger up to date.",
        )


def _check_audit(connection: sa.Connection, manifest: Manifest, file: Path) -> None:
    verified = audit.verify(connection)
    if not verified.is_whole or str(verified.head) != manifest.head:
        reason = verified.reason or f"it ends at {verified.head}, not at {manifest.head}"
        raise DataError(f"The audit log in {file} is broken: {reason}.", hint="Nothing was restored.")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
            if manifest.format != _FORMAT:
                raise DataError(f"{file} is no backup that this bintally reads.", hint="Install a newer one.")
            yield archive, manifest
    except (zipfile.BadZipFile, KeyError, FileNotFoundError, msgspec.MsgspecError) as error:
        raise DataError(
            f"{file} is no backup of a ledger.", hint="`bintally ledger backup FILE` writes one."
        ) from error


def _unpacked(archive: zipfile.ZipFile, name: str, folder: Path) -> Path:
    with storage_errors(folder):
        return Path(archive.extract(name, folder))
