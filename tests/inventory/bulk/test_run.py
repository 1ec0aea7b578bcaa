"""Files go in: what can't is listed with its line, the rest stands once, also after a kill."""

import itertools
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import func, select

from bintally.database import audit
from bintally.database.types import Table, now
from bintally.errors import AccessError, DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.bulk import parts
from bintally.inventory.bulk.columns import Kind
from bintally.inventory.bulk.run import ImportReport, import_file
from bintally.inventory.intake import take_bin, take_movement, take_product, take_record
from bintally.inventory.ledger import Ledger, add_site, site_of
from bintally.inventory.people import add_person
from tests.databases import new_ledger

DAY = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def stocked(ledger: Ledger) -> Ledger:
    """A ledger with an admin, bins A to D, and the products mug, cup (each) and box (case)."""
    with ledger.write() as connection:
        site = add_site(connection, code="S")
        add_person(connection, name="mara", role="admin", by="test")
        add_person(connection, name="tom", role="reviewer", by="test")
        for code in "ABCD":
            take_bin(connection, site, code)
        for sku, unit in (("mug", "each"), ("cup", "each"), ("box", "case")):
            take_product(connection, site, sku=sku, unit=unit)
    return ledger


def _taken(ledger: Ledger, kind: Kind, file: Path, text: str | None = None, *, create: bool = False) -> ImportReport:
    if text is not None:
        file.write_text(text)
    return import_file(ledger=ledger, kind=kind, file=file, by="mara", create_bins=create)


def _rows(ledger: Ledger, table: type[Table]) -> int:
    with ledger.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _why(report: ImportReport) -> dict[int, str]:
    return {line.line: line.why for line in report.first}


def test_lines_that_can_not_be_are_listed_and_the_rest_goes_in(stocked: Ledger, tmp_path: Path) -> None:
    report = _taken(
        stocked,
        "records",
        tmp_path / "r.csv",
        "bin,product,quantity,effective_at,unit,note\n"
        "A,mug,2,2026-01-02,each,x\n"  # 2
        "A,cup,3.0,2026-01-02T00:00:00Z,,\n"  # 3: the same record
        "B,,-1,2026-01-02,,\n"
        "B,,1.5,2026-01-03,,\n"
        "B,,many,2026-01-04,,\n"
        "B,,,2026-01-05,,\n"
        "E,,1,2026-01-02,,\n"
        "B,pen,1,2026-01-06,,\n"
        "B,box,1,2026-01-07,each,\n"
        "B,,1,2026-01-08,case,\n"
        "B,,1,2026-02-30,,\n"
        "B,,99999999999,2026-01-09,,\n"
        ",,1,2026-01-10,,\n"
        "B,mug\n"
        'B,"mug,1,2026-01-11,,\n'
        "C,box,4,2026-01-02 01:00:00+01:00,case,\n",
    )
    assert _why(report) == {
        4: "is below 0",
        5: "is no whole number",
        6: "is no number",
        7: "is missing",
        8: "is no bin of site S",
        9: "is no product of site S",
        10: "is not the unit the product is counted in",
        11: "is not the unit the product is counted in",
        12: "is no time (2026-01-31T12:00:00Z)",
        13: "is beyond 2,147,483,647",
        14: "is missing",
        15: "has 2 cells, the header 6",
        16: "opens a quote and does not close it",
    }
    assert (report.lines, report.new, report.rejected, report.ignored) == (16, 2, 13, ("note",))
    listed = pl.read_csv(str(report.rejects))
    assert listed["line"].to_list() == list(range(4, 17))
    assert str(report.first[0]) == "line 4: quantity '-1' is below 0"
    with stocked.read() as connection:
        found = connection.execute(
            select(schema.Bin.code, schema.StockRecord.quantity, schema.StockRecord.effective_at)
            .join(schema.Bin, schema.Bin.id == schema.StockRecord.bin_id)
            .order_by(schema.Bin.code)
        )
        assert [tuple(row) for row in found] == [("A", 5, DAY), ("C", 4, DAY)]
        assert audit.verify(connection).is_whole
    assert _rows(stocked, schema.StockLine) == 3


def test_a_record_with_a_broken_or_contradicting_line_stays_out_whole(stocked: Ledger, tmp_path: Path) -> None:
    report = _taken(
        stocked,
        "records",
        tmp_path / "r.csv",
        "bin,product,quantity,effective_at\n"
        "A,mug,2,2026-01-02\nA,cup,-3,2026-01-02\n"
        "B,mug,2,2026-01-02\nB,mug,3,2026-01-02\n"
        "C,,2,2026-01-02\nC,,3,2026-01-02\n"
        "D,,2,2026-01-02\nD,mug,2,2026-01-02\n"
        "A,mug,1,2026-01-03\nA,mug,1,2026-01-03\n",  # the same twice: once
    )
    assert _why(report) == {
        2: "belongs to the same record as line 3, which can't go in",
        3: "is below 0",
        4: "another line tells another quantity for this bin, time and product",
        5: "another line tells another quantity for this bin, time and product",
        6: "another line tells another quantity for this bin and time",
        7: "another line tells another quantity for this bin and time",
        8: "tells a total beside lines that tell its products",
        9: "tells a total beside lines that tell its products",
    }
    assert (report.new, _rows(stocked, schema.StockRecord), _rows(stocked, schema.StockLine)) == (1, 1, 1)


def test_a_file_goes_in_once_and_again_when_its_broken_lines_can(stocked: Ledger, tmp_path: Path) -> None:
    text = "bin,quantity,effective_at\nA,1,2026-01-02\nE,2,2026-01-02\n"
    first = _taken(stocked, "records", tmp_path / "r.csv", text)
    assert (first.new, first.rejected, first.is_again) == (1, 1, False)
    with stocked.write() as connection:
        take_bin(connection, site_of(connection), "E")
    again = _taken(stocked, "records", tmp_path / "r.csv")
    assert (again.new, again.held, again.rejected, again.is_again) == (1, 1, 0, False)
    assert pl.read_csv(tmp_path / "r.csv.rejected.csv").is_empty()
    third = _taken(stocked, "records", tmp_path / "r.csv")
    assert (third.is_again, third.new, third.lines) == (True, 0, 0)
    with stocked.read() as connection:
        told = [
            line.body["new"] for line in audit.entries(connection, subject="site:S") if line.action.startswith("imp")
        ]
    assert told == [1, 1]


def test_facts_are_the_same_alone_and_in_a_file(stocked: Ledger, tmp_path: Path) -> None:
    with stocked.write() as connection:
        site = site_of(connection)
        take_record(connection, site, bin="A", lines={"mug": 2, "cup": 1}, effective_at=DAY, source="erp")
        take_record(connection, site, bin="A", quantity=7, effective_at=DAY.replace(microsecond=5), source="erp")
        take_movement(connection, site, bin="A", quantity=-1, product="mug", moved_at=DAY)
        take_movement(connection, site, bin="A", quantity=1, moved_at=DAY)
    report = _taken(
        stocked,
        "records",
        tmp_path / "r.csv",
        "bin,product,quantity,effective_at\nA,mug,2,2026-01-02\nA,cup,1,2026-01-02\nA,,7,2026-01-02T00:00:00.000005\n",
    )
    assert (report.new, report.held, report.rejected) == (0, 2, 0)
    moves = _taken(
        stocked,
        "movements",
        tmp_path / "m.csv",
        "bin,product,quantity,moved_at\nA,mug,-1,2026-01-02\nA,,1,2026-01-02\n",
    )
    assert (moves.new, moves.held, moves.rejected) == (0, 2, 0)


def test_a_key_with_other_content_is_listed(stocked: Ledger, tmp_path: Path) -> None:
    with stocked.write() as connection:
        site = site_of(connection)
        take_record(connection, site, bin="A", lines={"mug": 2}, effective_at=DAY, key="r1", source="erp")
        take_record(connection, site, bin="B", quantity=2, effective_at=DAY, key="r1", source="erp")
        take_movement(connection, site, bin="A", quantity=2, moved_at=DAY, key="m1", product="mug")
    report = _taken(
        stocked,
        "records",
        tmp_path / "r.csv",
        "bin,product,quantity,effective_at,key\n"
        "A,cup,2,2026-01-02,r1\nB,,2,2026-01-02,r1\nC,,2,2026-01-02,r1\nC,,3,2026-01-03,r1\n",
    )
    assert list(_why(report)) == [2, 5]
    assert (report.new, report.held) == (1, 1)
    moves = _taken(
        stocked,
        "movements",
        tmp_path / "m.csv",
        "bin,product,quantity,moved_at,key\nA,cup,2,2026-01-02,m1\nA,mug,2,2026-01-02,m2\nA,mug,1,2026-01-02,m2\n",
    )
    assert list(_why(moves)) == [2, 4]
    assert (moves.new, moves.held) == (1, 0)


def test_bins_are_created_where_that_is_asked(stocked: Ledger, tmp_path: Path) -> None:
    text = "bin,quantity,effective_at\nE-1,1,2026-01-02\nE-2,x,2026-01-02\nE-1,2,2026-01-03\n"
    report = _taken(stocked, "records", tmp_path / "r.csv", text, create=True)
    assert (report.bins, report.new, list(_why(report))) == (1, 2, [3])
    assert _rows(stocked, schema.Bin) == 5


def test_products_are_added_and_updated(stocked: Ledger, tmp_path: Path) -> None:
    with stocked.write() as connection:
        take_movement(connection, site_of(connection), bin="A", quantity=1, product="box", moved_at=DAY)
    text = (
        "Product,Name,ABC,Unit Value,Unit,weight_lb\n"
        'mug,"A mug, blue",a,2.35,,0.5\ncup,,,,,\nbox,,,,each,\npen,,D,,,\ntin,,,-1,,\nlid,,,x,,\n'
        "hat,x,,,,\nhat,y,,,,\nnew,,,,,\n"
    )
    report = _taken(stocked, "products", tmp_path / "p.csv", text)
    assert _why(report) == {
        4: "records are counted in another unit already",
        5: "is not A, B or C",
        6: "is below 0",
        7: "is no number",
        8: "another line says other things of this product",
        9: "another line says other things of this product",
    }
    assert (report.new, report.changed) == (1, 4)
    with stocked.read() as connection:
        mug = connection.execute(select(schema.Product.__table__).where(schema.Product.sku == "mug")).one()
        new = connection.execute(select(schema.Product.__table__).where(schema.Product.sku == "new")).one()
    assert (mug.name, mug.abc, mug.unit_value, mug.unit, mug.weight_lb) == (
        "A mug, blue",
        "A",
        Decimal("2.35"),
        "each",
        0.5,
    )
    assert (new.name, new.abc, new.unit, new.unit_value) == ("", "C", "each", None)
    assert (_taken(stocked, "products", tmp_path / "p.csv").changed) == 0


def test_parquet_goes_in_as_csv_does(stocked: Ledger, tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "bin": ["A", "B", "C", None],
            "quantity": [1.0, 2.5, None, 4.0],
            "effective_at": pl.Series([DAY] * 4).dt.convert_time_zone("Asia/Tokyo"),
        }
    ).write_parquet(tmp_path / "r.parquet")
    report = _taken(stocked, "records", tmp_path / "r.parquet")
    assert _why(report) == {2: "is no whole number", 3: "is missing", 4: "is missing"}
    csv = _taken(stocked, "records", tmp_path / "r.csv", "bin,quantity,effective_at\nA,1,2026-01-02\n")
    assert (report.new, csv.new, csv.held) == (1, 0, 1)


def test_a_file_in_many_parts_is_the_same(stocked: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 100)
    codes = [f"Z{number}" for number in range(60)]
    _taken(stocked, "bins", tmp_path / "b.csv", "bin\n" + "\n".join(codes))
    lines = [
        f"{code},{product},{hour},2026-01-02T{hour:02}:00"
        for hour, product, code in itertools.product(range(10), ("mug", "cup"), codes)
    ]
    report = _taken(stocked, "records", tmp_path / "r.csv", "bin,product,quantity,effective_at\n" + "\n".join(lines))
    assert (report.new, report.rejected, _rows(stocked, schema.StockLine)) == (600, 0, 1200)
    with stocked.read() as connection:
        told = [line.body for line in audit.entries(connection) if line.action == "import.records"]
        wrong = connection.execute(select(func.count()).where(schema.StockRecord.quantity % 2 != 0)).scalar_one()
    assert len(told) > 5
    assert sum(body["new"] for body in told) == 600
    assert wrong == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "bins,quantity,effective_at\n", r"no column 'bin'\. Did you mean 'bins'"),
        ("r.csv", "bin,quantity\n", r"no column 'effective_at'.* records have bin, quantity, effective_at"),
        ("r.csv", "bin,bin,quantity,effective_at\n", "several columns 'bin'"),
        ("r.parquet", "bin,quantity,effective_at\n", "no Parquet file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with new_ledger(tmp_path / "ledger.sqlite") as ledger, pytest.raises(DataError, match=message):
        import_file(ledger=ledger, kind="records", file=tmp_path / name, by="mara")


def test_only_admins_take_files_in(stocked: Ledger, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("bin\nX\n")
    with pytest.raises(AccessError, match="tom is a reviewer"):
        import_file(ledger=stocked, kind="bins", file=tmp_path / "b.csv", by="tom")
    with pytest.raises(UsageError, match="Did you mean 'bins'"):
        import_file(ledger=stocked, kind="bin", file=tmp_path / "b.csv", by="mara")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no file"):
        import_file(ledger=stocked, kind="bins", file=tmp_path / "c.csv", by="mara")


_IMPORT = """
import sys
from pathlib import Path
from bintally.inventory.bulk import parts
from bintally.inventory.bulk.run import import_file
from bintally.inventory.ledger import Ledger

parts.PART = 200
with Ledger.open(sys.argv[1]) as ledger:
    print("ready", flush=True)
    import_file(ledger=ledger, kind="records", file=Path(sys.argv[2]), by="mara", create_bins=True)
"""


@pytest.mark.parametrize("records", [0, 600, 2600])
def test_a_killed_import_is_finished_by_the_next(stocked: Ledger, place: str, tmp_path: Path, records: int) -> None:
    lines = [f"K{number % 300},{number % 7},2026-01-{1 + number % 28:02}T{number % 24:02}:00" for number in range(4000)]
    (tmp_path / "r.csv").write_text("bin,quantity,effective_at\n" + "\n".join(sorted(set(lines))))
    with subprocess.Popen(
        [sys.executable, "-c", _IMPORT, place, str(tmp_path / "r.csv")], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        while child.poll() is None and _rows(stocked, schema.StockRecord) < records:
            time.sleep(0.002)
        child.kill()
    before = _rows(stocked, schema.StockRecord)
    assert before >= records
    report = _taken(stocked, "records", tmp_path / "r.csv", create=True)
    assert report.is_again == (before == len(set(lines)) and report.lines == 0)  # it was faster than the kill
    assert report.is_again or report.held == before
    assert report.new + before == len(set(lines)) == _rows(stocked, schema.StockRecord)
    with stocked.read() as connection:
        told = sum(line.body.get("new", 0) for line in audit.entries(connection) if line.action == "import.records")
        assert told == report.new + before
        assert audit.verify(connection).is_whole


def test_a_quantity_that_may_be_a_thousand_is_not_taken_for_one(stocked: Ledger, tmp_path: Path) -> None:
    # A European "1.000" once went in as a single item.
    report = _taken(
        stocked,
        "records",
        tmp_path / "r.csv",
        "bin;quantity;effective_at\nA;1.000;2026-01-02\nB;3,0;2026-01-02\nC;1000.000;2026-01-02\nD;0.000;2026-01-02\n",
    )
    assert _why(report) == {
        2: "may have decimals or thousands: write it without the point",
        3: "is no number: write a decimal point, no commas",
    }
    with stocked.read() as connection:
        held = connection.execute(select(schema.StockRecord.quantity).order_by(schema.StockRecord.quantity))
        assert held.scalars().all() == [0, 1000]


def test_the_empty_rows_and_columns_of_a_spreadsheet_are_passed_over(stocked: Ledger, tmp_path: Path) -> None:
    # Each empty row was once listed as a line without a bin, and each empty column as one that says nothing.
    text = "bin,quantity,effective_at,note,,\nA,1,2026-01-02,,,\n,,,,,\n , ,,,,\n"
    report = _taken(stocked, "records", tmp_path / "r.csv", text)
    assert (report.lines, report.new, report.rejected, report.ignored) == (1, 1, 0, ("note",))


def test_a_fact_from_the_future_stays_out(stocked: Ledger, tmp_path: Path) -> None:
    # A photo of 2099 was once its bin's latest, so that no later one was ever looked at.
    soon, late = (now() + timedelta(hours=hours) for hours in (12, 36))
    text = f"bin,quantity,moved_at\nA,1,{soon.isoformat()}\nB,1,{late.isoformat()}\n"
    report = _taken(stocked, "movements", tmp_path / "m.csv", text)
    assert _why(report) == {3: "lies in the future: is a clock wrong?"}
    assert report.new == 1
