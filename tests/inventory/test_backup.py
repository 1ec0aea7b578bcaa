"""A backup makes the same ledger again, on either database, and nothing that was tampered with."""

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from bintally.database import audit
from bintally.errors import DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.backup import MANIFEST, backup, restore
from bintally.inventory.intake import take_bin, take_record
from bintally.inventory.ledger import Ledger, add_site, site_of
from bintally.inventory.verdict import OUTCOMES
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.registration import register
from tests.bundles import make_bundle
from tests.databases import new_ledger
from tests.inventory.conftest import DATABASES
from tests.inventory.worlds import MORNING, World


def _fill(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        for number, outcome in enumerate(OUTCOMES):
            case = world.judged(f"A-{number}", outcome=outcome, recorded=4, count=3, value=20.55, abc="A")
            world.movement(case.bin_id, -1, at=MORNING)
        world.undone(world.looked(case, kind="correct", count=3))
        connection.execute(insert(schema.Product).values(site_id=world.site.id, sku="", name='"\n,\\', abc="C"))
        audit.append(connection, actor="test", action="fill", subject="world", body={"ü": None})


def _all(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    with ledger.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in schema.Bin.metadata.sorted_tables
        }


@pytest.mark.parametrize("target", DATABASES)
def test_a_backup_is_the_same_ledger_on_either_database(
    ledger: Ledger, bare_place: Callable[[str], str], tmp_path: Path, target: str
) -> None:
    _fill(ledger)
    written = backup(ledger=ledger, file=tmp_path / "b.zip")
    place = bare_place(target)
    read = restore(file=tmp_path / "b.zip", place=place)
    assert (read.rows, read.head) == (written.rows, written.head)
    with Ledger.open(place) as again:
        assert _all(again) == _all(ledger)
        with again.write() as connection:  # numbers go on
            taken = take_bin(connection, site_of(connection), "Z-9")
            record = take_record(
                connection, site_of(connection), bin="Z-9", quantity=1, effective_at=MORNING, source="erp"
            )
        before = _all(ledger)
        assert taken.id == max(row[0] for row in before["bin"]) + 1
        assert record.id == max(row[0] for row in before["stock_record"]) + 1
    with pytest.raises(UsageError, match="holds a ledger already"):
        restore(file=tmp_path / "b.zip", place=place)


def test_a_backup_is_of_one_moment_while_others_write(ledger: Ledger, tmp_path: Path) -> None:
    _fill(ledger)
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            with ledger.write() as connection:
                take_record(
                    connection,
                    site_of(connection),
                    bin=f"W-{number}",
                    quantity=1,
                    effective_at=MORNING,
                    source="erp",
                    create_bins=True,
                )
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            written = backup(ledger=ledger, file=tmp_path / f"{number}.zip")
            assert restore(file=tmp_path / f"{number}.zip", place=tmp_path / f"{number}.sqlite").head == written.head
            with Ledger.open(tmp_path / f"{number}.sqlite") as again:
                rows = _all(again)
            told = [row for row in rows["audit"] if row[3] == "record.take"]
            assert len(told) == sum(row[-1] == "erp" and row[3] == 1 for row in rows["stock_record"])
    finally:
        ended.set()
        writer.join()


def _changed(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)


def test_a_backup_that_was_changed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "l.sqlite") as ledger:
        _fill(ledger)
        backup(ledger=ledger, file=tmp_path / "b.zip")
        with ledger.write() as connection:
            add_site(connection, code="later")
        backup(ledger=ledger, file=tmp_path / "later.zip")
    later = zipfile.ZipFile(tmp_path / "later.zip")
    manifest = json.loads(later.read(MANIFEST))

    def other_bin(name: str, data: bytes) -> bytes:
        return data[:-9] + b"x" + data[-8:] if name == "bin.parquet" else data

    def other_head(name: str, data: bytes) -> bytes:
        return json.dumps({**json.loads(data), "head": manifest["head"]}).encode() if name == MANIFEST else data

    def other_version(name: str, data: bytes) -> bytes:
        return json.dumps({**json.loads(data), "version": "0042"}).encode() if name == MANIFEST else data

    def no_manifest(name: str, data: bytes) -> bytes | None:
        return None if name == MANIFEST else data

    def no_table(name: str, data: bytes) -> bytes | None:
        return None if name == "bin.parquet" else data

    for number, (change, message) in enumerate(
        (
            (other_bin, "bin in .* is not as it was backed up"),
            (other_head, "audit log in .* is broken: it ends at"),
            (other_version, "of version 0042"),
            (no_manifest, "no backup of a ledger"),
            (no_table, "no backup of a ledger"),
        )
    ):
        _changed(tmp_path / "b.zip", tmp_path / "changed.zip", change)
        with pytest.raises(DataError, match=message):
            restore(file=tmp_path / "changed.zip", place=tmp_path / f"{number}.sqlite")
        if (tmp_path / f"{number}.sqlite").exists():
            with Ledger.open(tmp_path / f"{number}.sqlite") as again:
                assert not any(_all(again).values())
    later.close()
    (tmp_path / "text.zip").write_text("no zip")
    for name in ("text.zip", "none.zip"):
        with pytest.raises(DataError, match="no backup of a ledger"):
            restore(file=tmp_path / name, place=tmp_path / "x.sqlite")


_BACKUP = """
import sys
if sys.argv[1] == "with a registry":
    import bintally.registry.schema
from pathlib import Path
from bintally.inventory.backup import backup
from bintally.inventory.ledger import Ledger
with Ledger.open(sys.argv[2]) as ledger:
    backup(ledger=ledger, file=Path(sys.argv[3]))
"""


def test_a_backup_holds_the_ledger_whoever_else_uses_its_database(
    ledger: Ledger, place: str, bare_place: Callable[[str], str], tmp_path: Path
) -> None:
    _fill(ledger)
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / SETTINGS).write_text(f'database = "{place}"\n')
    with Registry.open(tmp_path / "registry", create=True) as registry:
        register(registry, make_bundle(tmp_path / "bundle"), by="rita")
    manifests = []
    for what in ("with a registry", "without one"):
        file = tmp_path / f"{what}.zip"
        subprocess.run([sys.executable, "-c", _BACKUP, what, place, str(file)], check=True, timeout=60)
        with zipfile.ZipFile(file) as archive:
            manifests.append(json.loads(archive.read(MANIFEST))["tables"])
        restored = bare_place("sqlite")
        restore(file=file, place=restored)
        with Ledger.open(restored) as again, again.read() as connection:
            assert audit.verify(connection).is_whole
            assert [line.action for line in audit.entries(connection)][-2:] == ["registry.init", "model.register"]
    assert manifests[0] == manifests[1]
    assert {"bin", "audit", "verdict"} < set(manifests[0])
    assert not {"model", "model_version", "registry_lease"} & set(manifests[0])
