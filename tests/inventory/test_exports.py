"""What is exported can be taken in again, and says what was so at any moment."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from bintally.errors import UsageError
from bintally.inventory.bulk.columns import Kind
from bintally.inventory.bulk.run import import_file
from bintally.inventory.erp import filling
from bintally.inventory.exports import TABLES, export_table
from bintally.inventory.intake import take_bin, take_movement, take_product, take_record
from bintally.inventory.ledger import Ledger, add_site
from bintally.inventory.people import add_person
from tests.databases import new_ledger
from tests.inventory.erp.desks import EVENING, connected, corrected
from tests.inventory.worlds import MORNING, World

DAY = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _fill(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = add_site(connection, code="S")
        add_person(connection, name="mara", role="admin", by="test")
        for code in ("A", "B,1", 'C "x"', "Ü-1"):
            take_bin(connection, site, code)
        take_product(connection, site, sku="mug", name='A "mug",\nblue', abc="A", unit_value=2.35, weight_lb=0.1)
        take_product(connection, site, sku="00012")
        for hour, lines in enumerate(({"mug": 1}, {"mug": 2, "00012": 1}, {})):
            take_record(
                connection,
                site,
                bin="A",
                quantity=None if lines else 0,
                lines=lines,
                effective_at=DAY + hour * HOUR,
                source="erp",
            )
        take_record(connection, site, bin="A", quantity=9, effective_at=DAY + HOUR, source="review", key="late")
        take_record(connection, site, bin="B,1", quantity=4, effective_at=DAY, source="erp")
        take_movement(connection, site, bin="A", quantity=-3, product="mug", moved_at=DAY + HOUR)
        take_movement(connection, site, bin="Ü-1", quantity=3, moved_at=DAY, key="m,1")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_exported_makes_the_same_ledger(ledger: Ledger, tmp_path: Path, suffix: str) -> None:
    _fill(ledger)
    with new_ledger(tmp_path / "again.sqlite") as again:
        with again.write() as connection:
            add_site(connection, code="S")
            add_person(connection, name="mara", role="admin", by="test")
        for kind in (kind for kind in get_args(Kind) if kind not in ("photos", "counts")):
            first, second = (tmp_path / f"{kind}-{number}{suffix}" for number in (1, 2))
            report = export_table(ledger=ledger, table=kind, file=first)
            taken = import_file(ledger=again, kind=kind, file=first, by="mara")
            assert (taken.rejected, taken.lines, taken.ignored) == (0, report.rows, ())
            export_table(ledger=again, table=kind, file=second)
            before, after = ((pl.read_csv if suffix == ".csv" else pl.read_parquet)(file) for file in (first, second))
            by = before.columns
            assert before.height > 1
            assert before.sort(by).equals(after.sort(by))


def test_exported_photos_can_be_taken_in_again_where_their_files_are(ledger: Ledger, tmp_path: Path) -> None:
    _fill(ledger)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff a")
    (tmp_path / "list.csv").write_text("photo,bin,taken_at\na.jpg,A,2026-03-01T08:00:00Z\n")
    import_file(ledger=ledger, kind="photos", file=tmp_path / "list.csv", by="mara", photos=tmp_path / "kept")
    assert export_table(ledger=ledger, table="photos", file=tmp_path / "p.csv").rows == 1
    again = import_file(ledger=ledger, kind="photos", file=tmp_path / "p.csv", by="mara", photos=tmp_path / "kept")
    assert (again.held, again.rejected) == (1, 0)


def test_records_as_of_a_moment_are_those_in_force(ledger: Ledger, tmp_path: Path) -> None:
    _fill(ledger)

    def in_force(moment: datetime | None) -> list[tuple[object, ...]]:
        export_table(ledger=ledger, table="records", file=tmp_path / "r.parquet", as_of=moment)
        table = pl.read_parquet(tmp_path / "r.parquet").select("bin", "product", "quantity")
        return sorted(table.rows(), key=str)

    assert in_force(DAY - HOUR) == []
    assert in_force(DAY) == [("A", "mug", 1), ("B,1", None, 4)]
    assert in_force(DAY + HOUR) == [("A", None, 9), ("B,1", None, 4)]
    assert in_force(DAY + 2 * HOUR) == [("A", None, 0), ("B,1", None, 4)]
    assert len(in_force(None)) == 6


def test_every_table_can_be_exported_in_both_forms(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="mismatch", recorded=4, count=3, value=20.0, abc="A")
        world.looked(case, kind="correct", count=3)
        world.movement(case.bin_id, 1, at=MORNING)
        corrected(world, "A-2")
        filling.fill(connection, connected(ledger, world), at=EVENING)
    for table in TABLES:
        rows = [
            export_table(ledger=ledger, table=table, file=tmp_path / f"{table}{suffix}").rows
            for suffix in (".csv", ".parquet")
        ]
        written = pl.read_parquet(tmp_path / f"{table}.parquet")
        as_text = pl.read_csv(tmp_path / f"{table}.csv", infer_schema=False)
        assert rows == [written.height, as_text.height]
        assert written.columns == as_text.columns
        assert rows[0] > 0 or table == "audit", table
        none = export_table(ledger=ledger, table=table, file=tmp_path / "n.csv", as_of=MORNING - HOUR).rows
        assert none == (rows[0] if table in ("bins", "products") else 0)
    value = pl.read_csv(tmp_path / "adjustments.csv", infer_schema=False)["value"].to_list()
    assert float(value[0]) == -20.0


def test_a_wrong_name_or_suffix_is_an_error(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(UsageError, match="Did you mean 'records'"):
            export_table(ledger=ledger, table="record", file=tmp_path / "r.csv")
        with pytest.raises(UsageError, match=r"neither \.csv nor \.parquet"):
            export_table(ledger=ledger, table="records", file=tmp_path / "r.xlsx")
        with pytest.raises(UsageError, match="no site yet"):
            export_table(ledger=ledger, table="records", file=tmp_path / "r.csv")
        with pytest.raises(UsageError, match="no offset"):
            export_table(ledger=ledger, table="records", file=tmp_path / "r.csv", as_of=DAY.replace(tzinfo=None))
    assert not list(tmp_path.glob("*.csv"))
