"""Corrections are dropped as files, each once, whoever takes them away and whatever is in them."""

import errno
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl
import pytest

from bintally.errors import ConfigError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.conformance import Bench, ConnectorConformance
from bintally.inventory.erp.folder import KIND, FolderConnector, FolderSettings
from bintally.inventory.erp.folder.drops import DROPPED, Drop, Drops
from bintally.inventory.erp.folder.stock import DONE, STOCK
from bintally.inventory.erp.kinds import kind_of
from bintally.inventory.erp.protocol import Line, Posting
from tests.inventory.erp.folder.reader import FolderBench, dropped, new_folder, rows_of, tell_stock

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class TestCsvThatIsOnlyRead(ConnectorConformance):
    @pytest.fixture
    def erp(self, tmp_path: Path) -> Bench:
        return FolderBench(tmp_path / "drop")


class TestParquetWithStock(ConnectorConformance):
    @pytest.fixture
    def erp(self, tmp_path: Path) -> Bench:
        return FolderBench(tmp_path / "drop", kind="parquet", reads=True, deletes=False)


def posting(key: str = "bintally-1", code: str = "A-1", **changed: Any) -> Posting:
    made = Posting(
        key=key,
        kind="adjust",
        site="depot",
        bin=code,
        lines=(Line("BOLT", 4, 3),),
        counted_at=NOON,
        by="rita",
        note="counted twice",
    )
    return msgspec.structs.replace(made, **changed)


def connector_of(root: Path, **settings: Any) -> FolderConnector:
    return FolderConnector(FolderSettings(path=root, **settings))


def drop(connector: FolderConnector, *postings: Posting) -> list[str]:
    """What became of postings."""
    drafts = connector.prepare(postings)
    ready = [draft for draft in drafts.values() if draft.fate == "draft"]
    answers = connector.commit(ready)
    return [answers[each.key].outcome if each.key in answers else drafts[each.key].fate for each in postings]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return new_folder(tmp_path / "drop")


# What is dropped


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_holds_what_the_guide_says(root: Path, kind: Literal["csv", "parquet"]) -> None:
    told = posting(lines=(Line("BOLT", 4, 3), Line(None, 0, 2)), approved_by="omar")
    assert drop(connector_of(root, format=kind), told) == ["done"]
    [path] = dropped(root)
    assert path.name == f"000000001-bintally-1.{kind}"
    first, second = rows_of(path)
    assert first == {
        "key": "bintally-1",
        "kind": "adjust",
        "site": "depot",
        "bin": "A-1",
        "product": "BOLT",
        "before": 4,
        "after": 3,
        "change": -1,
        "counted_at": NOON,
        "by": "rita",
        "approved_by": "omar",
        "note": "counted twice",
        "reverses": None,
    }
    assert (second["product"], second["change"]) == (None, 2)


def test_names_rise_in_the_order_of_dropping(root: Path) -> None:
    connector = connector_of(root)
    for number in range(3):
        drop(connector_of(root), posting(f"bintally-{9 - number}"))
    assert connector.find(["bintally-8"])["bintally-8"].reference == "000000002-bintally-8.csv"
    assert [path.name.partition("-")[2] for path in dropped(root)] == [f"bintally-{n}.csv" for n in (9, 8, 7)]


@pytest.mark.parametrize("taken_by", ["deleting", "moving", "leaving"])
def test_a_file_is_dropped_once_whoever_has_taken_it(root: Path, taken_by: str) -> None:
    assert drop(connector_of(root), posting()) == ["done"]
    [path] = dropped(root)
    if taken_by == "deleting":
        path.unlink()
    if taken_by == "moving":
        shutil.move(path, root / "elsewhere.csv")
    again = connector_of(root)
    assert again.find(["bintally-1"])["bintally-1"].fate == "done"
    assert again.prepare([posting()])["bintally-1"].fate == "done"
    assert len(dropped(root)) == (taken_by == "leaving")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", " =", "\uff1d"])
def test_no_word_is_a_formula(root: Path, start: str) -> None:
    word = f"{start}HYPERLINK(0)"
    assert drop(connector_of(root), posting(note=word, by=word)) == ["done"]
    [row] = rows_of(dropped(root)[0])
    assert (row["note"], row["by"]) == (f"'{word}", f"'{word}")


def test_a_code_that_looks_like_a_formula_is_refused_or_written_as_it_is(root: Path) -> None:
    told = posting(code="=1+1"), posting("bintally-2", lines=(Line("@SUM", 4, 3),)), posting("bintally-3")
    assert drop(connector_of(root), *told) == ["refused", "refused", "done"]
    assert drop(connector_of(root, formulas=True), told[0]) == ["done"]
    assert drop(connector_of(root, format="parquet"), told[1]) == ["done"]
    files = {path.suffix: rows_of(path)[0] for path in dropped(root) if "bintally-3" not in path.name}
    assert (files[".csv"]["bin"], files[".parquet"]["product"]) == ("=1+1", "@SUM")


def test_a_bin_and_a_key_are_no_paths(root: Path) -> None:
    told = posting(code="../../etc/passwd"), posting("../evil"), posting("."), posting("x" * 41)
    assert drop(connector_of(root), *told) == ["done", "refused", "refused", "refused"]
    assert [path.name for path in dropped(root)] == ["000000001-bintally-1.csv"]
    assert connector_of(root).find(["../evil", "."]) == {}
    assert sorted(path.name for path in root.parent.iterdir()) == ["drop"]


def test_a_half_written_file_is_never_there(root: Path) -> None:
    connector = connector_of(root)
    [draft] = connector.prepare([posting()]).values()
    assert dropped(root) == []
    connector.cancel([draft])
    assert connector.find(["bintally-1"]) == {}
    assert [path.name for path in (root / ".bintally" / "drafts").iterdir()] == []


def test_an_older_draft_is_not_dropped_in_a_newer_ones_place(root: Path) -> None:
    connector = connector_of(root)
    [older] = connector.prepare([posting()]).values()
    [newer] = connector.prepare([posting(lines=(Line("BOLT", 3, 2),))]).values()
    connector.cancel([older])  # says nothing of the newer one
    assert connector.commit([older])["bintally-1"].outcome == "refused"
    assert connector.commit([newer])["bintally-1"].outcome == "done"
    assert rows_of(dropped(root)[0])[0]["before"] == 3


# What goes wrong


@pytest.mark.parametrize("gone", ["", DROPPED])
def test_a_folder_that_is_not_mounted_is_waited_for_and_not_made(root: Path, gone: str) -> None:
    connector = connector_of(root)
    assert drop(connector, posting()) == ["done"]
    (root / gone).rename(root.parent / "gone")
    for call in (connector.about, lambda: connector.find(["bintally-1"]), lambda: connector.prepare([posting()])):
        with pytest.raises(ErpUnavailableError, match="There is no folder"):
            call()
    assert not (root / gone).exists()
    (root.parent / "gone").rename(root / gone)
    assert connector.find(["bintally-1"])["bintally-1"].fate == "done"


def test_notes_without_drafts_are_not_taken_for_dropped(root: Path) -> None:
    connector = connector_of(root)
    connector.prepare([posting()])
    shutil.rmtree(root / ".bintally" / "drafts")
    with pytest.raises(ErpRefusedError, match="was deleted"):
        connector.find(["bintally-1"])


@pytest.mark.parametrize(
    ("number", "why"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "denied"), (errno.EIO, "it is mounted")]
)
def test_a_full_or_broken_disk_drops_nothing_and_it_is_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    connector = connector_of(root)

    def broken(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", broken)
        for call in (connector.about, lambda: connector.prepare([posting()])):
            with pytest.raises(ErpUnavailableError, match=why):
                call()
    assert dropped(root) == []
    assert connector.find(["bintally-1"]) == {}
    assert drop(connector, posting()) == ["done"]


def test_two_are_not_at_it_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bintally.inventory.erp.folder.drops._LOCK_S", 0.1)
    first, second = Drops(root), Drops(root)
    with first.locked(), pytest.raises(ErpUnavailableError, match="Somebody else"), second.locked():
        pass
    with second.locked():
        pass


def test_a_relative_path_is_no_place() -> None:
    with pytest.raises(ConfigError, match="absolute"):
        KIND.settings.of({"path": "drop"})


def test_it_is_known_by_its_name(root: Path) -> None:
    kind = kind_of("folder")
    made = kind.open(kind.settings.of({"path": str(root)}), None)
    assert made.about().product == "Folder"
    assert kind.settings.of({"path": str(root)}).model_dump(mode="json")["path"] == str(root)


# What is in stock


def test_the_newest_complete_file_counts(root: Path) -> None:
    connector = connector_of(root, reads_stock=True)
    with pytest.raises(ErpUnavailableError, match="no complete file"):
        connector.about()
    tell_stock(root, {"A-1": {"BOLT": 4}, "B-1": {}})
    half = tell_stock(root, {"A-1": {"BOLT": 9}}, kind="parquet")
    half.with_name(half.name + DONE).unlink()
    for name in ("today.csv", "stock-20269931T120000Z.csv", "stock-20990101T120000Z.csv.tmp"):
        (root / STOCK / name).write_text("?")
        (root / STOCK / f"{name}{DONE}").touch()
    assert {stock.bin: dict(stock.lines) for stock in connector.read()} == {"A-1": {"BOLT": 4}, "B-1": {}}
    half.with_name(half.name + DONE).touch()
    assert {stock.bin: dict(stock.lines) for stock in connector.read(["A-1"])} == {"A-1": {"BOLT": 9}}


def test_what_was_dropped_since_is_reckoned_in(root: Path) -> None:
    tell_stock(root, {"A-1": {"BOLT": 4}})
    connector = connector_of(root, reads_stock=True)
    drop(connector, posting())
    dropped(root)[0].unlink()  # it was taken, and no newer file tells so
    [stock] = connector.read(["A-1"])
    assert (stock.lines, stock.as_of > NOON) == ({"BOLT": 3}, True)
    assert drop(connector, posting("bintally-2", lines=(Line("BOLT", 3, 2),))) == ["done"]
    tell_stock(root, {"A-1": {"BOLT": 3}})  # the first one is in it, the second one still lies there
    assert [dict(stock.lines) for stock in connector.read(["A-1"])] == [{"BOLT": 2}]
    dropped(root)[0].unlink()
    tell_stock(root, {"A-1": {"BOLT": 2}})
    assert [dict(stock.lines) for stock in connector.read(["A-1"])] == [{"BOLT": 2}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("bin,product\nA-1,BOLT\n", "no column quantity"),
        ("bin,product,quantity\nA-1,BOLT,4\nA-1,NUT,1.5\n", "row 2"),
        ("bin,product,quantity\nA-1,BOLT,-1\n", "row 1"),
        ("bin,product,quantity\nA-1,BOLT,many\n", "row 1"),
        ("bin,product,quantity\nA-1,BOLT,inf\n", "row 1"),
        ("bin,product,quantity\n,BOLT,4\n", "no bin in row 1"),
        ("bin,product,quantity\nA-1,,4\n", "of no product in row 1"),
        ("", "can't be read"),
        ("bin,product,quantity\nA-1,BOLT,4,5\n", "can't be read"),
        (b"PAR1 \xff\xfe", "can't be read"),
    ],
)
def test_stock_that_can_not_be_understood_is_refused(root: Path, text: str | bytes, why: str) -> None:
    name = "stock-20260131T120000Z." + ("parquet" if isinstance(text, bytes) else "csv")
    (root / STOCK / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (root / STOCK / f"{name}{DONE}").touch()
    connector = connector_of(root, reads_stock=True)
    for call in (connector.about, connector.read):
        with pytest.raises(ErpRefusedError, match=why):
            call()


def test_rows_of_a_product_count_together(root: Path) -> None:
    path = root / STOCK / "lots-20260131T120000.5Z.csv"
    rows = {"lot": [1, 2, 3], "bin": ["A-1"] * 3, "product": ["BOLT", "BOLT", "NUT"], "quantity": [1, 2, 0]}
    pl.DataFrame(rows).write_csv(path)
    path.with_name(path.name + DONE).touch()
    [stock] = connector_of(root, reads_stock=True).read()
    assert (stock.lines, stock.as_of) == ({"BOLT": 3, "NUT": 0}, NOON.replace(microsecond=500_000))


def test_only_keys_of_the_days_since_are_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connector = connector_of(root)
    drop(connector, posting("bintally-1"), posting("bintally-2"))
    for path in (root / DROPPED).iterdir():
        path.unlink()
    [day] = (root / ".bintally" / "days").iterdir()
    day.rename(day.with_name("2026-01-01"))
    with day.open("ab") as file:
        file.write(b"bintally-")  # cut off
    drop(connector, posting("bintally-3"))
    for path in (root / DROPPED).iterdir():
        path.unlink()
    drops = Drops(root)
    asked: list[str] = []
    whole = drops.state

    def state(key: str) -> tuple[Drop, bool] | None:
        asked.append(key)
        return whole(key)

    monkeypatch.setattr(drops, "state", state)
    with drops.locked():
        unread = drops.unread(datetime(2026, 1, 2, tzinfo=UTC))
    assert [each.posting.key for each in unread] == ["bintally-3"]
    assert set(asked) <= {"bintally-", "bintally-3"}
