"""Facts taken in one at a time: once each, whatever is delivered how often and in what order."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from bintally.database import audit
from bintally.database.types import Table
from bintally.errors import ConflictError, DataError
from bintally.inventory import schema
from bintally.inventory.intake import (
    lines_of,
    record_as_of,
    take_bin,
    take_movement,
    take_photo,
    take_product,
    take_record,
)
from bintally.inventory.ledger import Ledger, Site, add_site
from tests.databases import new_ledger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HASH = "ab" * 32


def _site(connection: Connection) -> Site:
    site = add_site(connection, code="STR1")
    take_bin(connection, site, "A-1")
    take_bin(connection, site, "A-2")
    take_product(connection, site, sku="mug")
    take_product(connection, site, sku="pen")
    return site


def _count(connection: Connection, table: type[Table]) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_every_fact_delivered_twice_stands_once_with_one_line_of_audit(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
    for is_new in (True, False):
        with ledger.write() as connection:
            facts = [
                take_record(connection, site, bin="A-1", quantity=5, effective_at=NOON, source="erp"),
                take_record(connection, site, bin="A-1", lines={"mug": 2}, effective_at=NOON, key="k", source="erp"),
                take_movement(connection, site, bin="A-1", quantity=-1, product="pen", moved_at=NOON),
                take_photo(connection, site, bin="A-1", sha256=HASH, taken_at=NOON, place="a.jpg", size_bytes=9),
            ]
            assert [fact.is_new for fact in facts] == [is_new] * 4
    with ledger.read() as connection:
        tables = (schema.StockRecord, schema.StockLine, schema.Movement, schema.Photo)
        assert [_count(connection, table) for table in tables] == [2, 1, 1, 1]
        told = [line.action for line in audit.entries(connection, subject="bin:STR1/A-1")]
        assert told == ["bin.add", "record.take", "record.take", "movement.take", "photo.take"]
        assert audit.verify(connection).is_whole


def test_a_key_with_other_content_is_a_conflict_that_names_both(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
        take_record(connection, site, bin="A-1", quantity=5, effective_at=NOON, key="r7", source="erp")
        take_record(connection, site, bin="A-1", lines={"mug": 3}, effective_at=NOON, key="r8", source="erp")
        take_movement(connection, site, bin="A-1", quantity=2, moved_at=NOON, key="m1")
        take_photo(connection, site, bin="A-1", sha256=HASH, taken_at=NOON, place="a.jpg", size_bytes=9)
        with pytest.raises(ConflictError, match=r"'r7' of bin A-1 was taken in as 5 items .*; now it says 4 items"):
            take_record(connection, site, bin="A-1", quantity=4, effective_at=NOON, key="r7", source="erp")
        with pytest.raises(ConflictError, match=r"\(3 x mug\); now .*\(1 x mug, 2 x pen\)"):
            take_record(
                connection, site, bin="A-1", lines={"pen": 2, "mug": 1}, effective_at=NOON, key="r8", source="erp"
            )
        with pytest.raises(ConflictError, match=r"\+2 items .* -2 items"):
            take_movement(connection, site, bin="A-1", quantity=-2, moved_at=NOON, key="m1")
        with pytest.raises(ConflictError, match=r"12:00:00.*13:00:00"):
            take_photo(connection, site, bin="A-1", sha256=HASH, taken_at=NOON + HOUR, place="a.jpg", size_bytes=9)


def test_a_photo_of_two_bins_is_a_cameras_mix_up(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
        take_photo(connection, site, bin="A-1", sha256=HASH, taken_at=NOON, place="a.jpg", size_bytes=9)
        with pytest.raises(DataError, match="bin A-2 is the very one that was taken in for bin A-1"):
            take_photo(connection, site, bin="A-2", sha256=HASH.upper(), taken_at=NOON, place="b.jpg", size_bytes=9)
        other = add_site(connection, code="STR2")
        take_photo(
            connection, other, bin="A-2", sha256=HASH, taken_at=NOON, place="b.jpg", size_bytes=9, create_bins=True
        )


def test_unknown_names_come_with_the_nearest(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
        for code in range(200):
            take_bin(connection, site, f"B-{code:03}")
        with pytest.raises(DataError, match=r"no bin 'B-1070'.* Did you mean .*'B-107'"):
            take_record(connection, site, bin="B-1070", quantity=1, effective_at=NOON, source="erp")
        with pytest.raises(DataError, match=r"no product 'mugs'.* Did you mean 'mug'"):
            take_movement(connection, site, bin="A-1", quantity=1, product="mugs", moved_at=NOON)
        assert take_record(
            connection, site, bin="C-1", quantity=1, effective_at=NOON, source="erp", create_bins=True
        ).is_new


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"quantity": -1}, "-1 items of bin A-1 can't be"),
        ({"quantity": 2**31}, "can't be"),
        ({"quantity": 1.5}, r"1.5 items .* no whole number"),
        ({"quantity": None}, "says no quantity"),
        ({"quantity": 3, "lines": {"mug": 2}}, "says 3, but its products sum to 2"),
        ({"lines": {"mug": 2**31 - 1, "pen": 1}}, "can't be"),
        ({"effective_at": NOON.replace(tzinfo=None)}, "no offset from UTC"),
        ({"effective_at": NOON.replace(year=3026)}, "can't be"),
        ({"bin": " "}, "no bin"),
        ({"key": "x" * 201}, "201 characters"),
        ({"source": "a\0b"}, "can't be printed"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, what: dict[str, object], message: str) -> None:
    asked = {"bin": "A-1", "quantity": 1, "effective_at": NOON, "source": "erp"}
    if "lines" in what:
        asked["quantity"] = None
    with new_ledger(tmp_path / "ledger.sqlite") as ledger, ledger.write() as connection:
        site = _site(connection)
        with pytest.raises(DataError, match=message):
            take_record(connection, site, **{**asked, **what})  # type: ignore[arg-type]
        assert _count(connection, schema.StockRecord) == 0


def test_products_are_updated_by_what_is_told(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
        first = take_product(connection, site, sku="cup", name="A cup", abc="A", unit_value=Decimal("2.5"))
        again = take_product(connection, site, sku="cup", unit_value=2.5, weight_lb=1.5)
        assert (first.is_new, again.is_new, again.id) == (True, False, first.id)
        take_product(connection, site, sku="cup", unit_value=2.5)
        row = connection.execute(select(schema.Product.__table__).where(schema.Product.sku == "cup")).one()
        assert (row.name, row.abc, row.unit, row.unit_value, row.weight_lb) == (
            "A cup",
            "A",
            "each",
            Decimal("2.5"),
            1.5,
        )
        told = [line.action for line in audit.entries(connection, subject="product:STR1/cup")]
        assert told == ["product.add", "product.update"]


def test_a_products_unit_stays_once_it_is_counted_in(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
        take_product(connection, site, sku="mug", unit="box")
        take_movement(connection, site, bin="A-1", quantity=1, product="mug", moved_at=NOON)
        with pytest.raises(ConflictError, match="counted in 'box'; now it says 'each'"):
            take_product(connection, site, sku="mug", unit="each")
        with pytest.raises(DataError, match="no unit_value"):
            take_product(connection, site, sku="mug", unit_value=-1.0)
        with pytest.raises(DataError, match="class 'D'"):
            take_product(connection, site, sku="mug", abc="D")  # type: ignore[arg-type]


def test_the_record_in_force_as_of_a_moment_and_as_it_was_known(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
        bin_id = take_bin(connection, site, "A-1").id
        for hour, quantity, known in ((0, 5, 0), (4, 3, 4), (4, 2, 9), (2, 7, 6)):  # the last came late
            take_record(
                connection,
                site,
                bin="A-1",
                quantity=quantity,
                effective_at=NOON + hour * HOUR,
                source="erp",
                received_at=NOON + known * HOUR,
            )

    def in_force(hour: float, known: float | None = None) -> int | None:
        seen = None if known is None else NOON + known * HOUR
        with ledger.read() as connection:
            version = record_as_of(connection, bin_id, NOON + hour * HOUR, known_at=seen)
        return None if version is None else version.quantity

    assert [in_force(hour) for hour in (-1, 0, 2, 3.9, 4, 99)] == [None, 5, 7, 7, 2, 2]
    assert [in_force(3, known) for known in (-1, 5, 6)] == [None, 5, 7]
    assert [in_force(4, known) for known in (3, 5, 9)] == [5, 3, 2]


FACTS = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 9), st.dictionaries(st.sampled_from(["mug", "pen"]), st.integers(0, 3))
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(facts=FACTS)
def test_a_later_fact_never_changes_what_was_known_before(facts: list[tuple[int, int, dict[str, int]]]) -> None:
    with (
        TemporaryDirectory() as folder,
        new_ledger(Path(folder) / "ledger.sqlite") as ledger,
        ledger.write() as connection,
    ):
        site = _site(connection)
        bin_id, seen = take_bin(connection, site, "A-1").id, []
        for received, (hour, quantity, lines) in enumerate(facts):
            take_record(
                connection,
                site,
                bin="A-1",
                quantity=None if lines else quantity,
                lines=lines,
                effective_at=NOON + hour * HOUR,
                source="erp",
                received_at=NOON + received * HOUR,
            )
            known = NOON + received * HOUR
            seen.append((known, [record_as_of(connection, bin_id, NOON + each * HOUR) for each in range(4)]))
        for known, then in seen:
            now = [record_as_of(connection, bin_id, NOON + each * HOUR, known_at=known) for each in range(4)]
            assert now == then


_TAKER = """
import sys
from datetime import UTC, datetime
from bintally.inventory.intake import take_record
from bintally.inventory.ledger import Ledger, site_of

new = 0
with Ledger.open(sys.argv[1]) as ledger:
    for number in range(20):
        with ledger.write() as connection:
            new += take_record(
                connection, site_of(connection), bin=f"Z-{number}", quantity=number, source="erp",
                effective_at=datetime(2026, 3, 1, tzinfo=UTC), create_bins=True,
            ).is_new
print(new)
"""


def test_two_processes_that_take_in_the_same_facts_take_each_once(ledger: Ledger, place: str) -> None:
    with ledger.write() as connection:
        _site(connection)
    command = [sys.executable, "-c", _TAKER, place]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    new = [int(taker.communicate(timeout=60)[0]) for taker in takers]
    with ledger.read() as connection:
        assert sum(new) == _count(connection, schema.StockRecord) == 20
        assert _count(connection, schema.Bin) == 22
        assert audit.verify(connection).is_whole


def test_the_lines_of_a_record(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = _site(connection)
        taken = take_record(
            connection, site, bin="A-1", quantity=3, lines={"pen": 1, "mug": 2}, effective_at=NOON, source="erp"
        )
        assert lines_of(connection, taken.id) == {"mug": 2, "pen": 1}
