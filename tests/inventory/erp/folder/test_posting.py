"""From a decision to the file: each correction is dropped once, whatever happens to the folder and to the ledger."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from bintally.errors import ErpUnavailableError
from bintally.inventory.erp.folder import FolderConnector, FolderSettings
from bintally.inventory.erp.pull import pull
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.erp.run import connect_erp, post_corrections
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import EVENING, SKU, connected, corrected, states, undone
from tests.inventory.erp.folder.reader import FolderBench, dropped, rows_of, tell_stock
from tests.inventory.review.desks import NOON
from tests.inventory.worlds import World

HOURS = timedelta(hours=1)


@pytest.fixture
def bench(tmp_path: Path) -> FolderBench:
    made = FolderBench(tmp_path / "drop", reads=True)
    for code in ("A-1", "A-2"):
        made.stock[code] = {}
        made.put(code, SKU, 4)
    return made


def test_an_answer_that_was_lost_with_the_ledger_is_found(
    bench: FolderBench, tmp_path: Path, new_place: Callable[[str], str]
) -> None:
    place = new_place("sqlite")
    with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        corrected(world, "A-1")
    shutil.copy(place, tmp_path / "backup.sqlite")
    with Ledger.open(place) as ledger:
        assert post(ledger, to, bench.connect(), clock=lambda: EVENING).posted == 1
    bench.take()  # and deletes the file
    with Ledger.open(tmp_path / "backup.sqlite") as restored:
        assert post(restored, to, bench.connect(), clock=lambda: EVENING + HOURS).posted == 1
        assert states(restored) == [("adjust", "posted")]
    assert dropped(bench.root) == []
    assert bench.held("A-1") == {SKU: 3}


def test_corrections_follow_each_other_though_no_newer_stock_was_told(bench: FolderBench, file_ledger: Ledger) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        told = corrected(world, "A-1")
        corrected(world, "A-2", recorded=7, count=6)

    def run(hours: int) -> PostReport:
        return post(file_ledger, to, bench.connect(), clock=lambda: EVENING + hours * HOURS)

    first = run(0)
    assert (first.posted, first.stale) == (1, 1)  # A-2 holds 4 there, not 7
    undone(file_ledger, world, told)
    assert run(8).posted == 1
    assert [rows_of(path)[0]["change"] for path in dropped(bench.root)] == [-1, 1]
    assert bench.held("A-1") == {SKU: 4}


def test_a_share_that_goes_away_is_waited_for(bench: FolderBench, file_ledger: Ledger) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        corrected(world, "A-1")
    away = bench.root.rename(bench.root.parent / "away")
    with pytest.raises(ErpUnavailableError):
        post(file_ledger, to, bench.connect(), clock=lambda: EVENING)
    away.rename(bench.root)
    assert post(file_ledger, to, bench.connect(), clock=lambda: EVENING + HOURS).posted == 1


def test_stock_is_taken_in(bench: FolderBench, file_ledger: Ledger) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        world.bin("A-1")
        world.product(SKU, value=1.0)
    tell_stock(bench.root, {"A-1": {SKU: 9}, "no such bin": {SKU: 1}})
    report = pull(file_ledger, to, bench.connect())
    assert [(each.bin, each.after) for each in report.changed] == [("A-1", 9)]
    assert [each.bin for each in report.rejected] == ["no such bin"]
    assert pull(file_ledger, to, bench.connect()).same == 1


def test_it_is_connected_by_its_name(bench: FolderBench, new_place: Callable[[str], str]) -> None:
    place, since = new_place("sqlite"), NOON - timedelta(days=1)
    settings = FolderSettings(path=bench.root, format="parquet").model_dump(mode="json")
    with Ledger.open(place, create=True) as ledger:
        with ledger.write() as connection:
            corrected(World.new(connection), "A-1")
        made = connect_erp(ledger=ledger, name="drop", kind="folder", settings=settings, by="adam", since=since)
    assert made.about is not None
    assert made.about.database == str(bench.root)
    assert post_corrections(ledger=place).posted == 1
    [path] = dropped(bench.root)
    assert rows_of(path)[0]["bin"] == "A-1"
    assert FolderConnector(FolderSettings(path=bench.root)).find([path.stem.partition("-")[2]])
