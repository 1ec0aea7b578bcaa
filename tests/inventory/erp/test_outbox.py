"""The outbox is filled from what stands, in the order in which it came to stand, and nothing is looked at twice."""

from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import event, select, update

from bintally.database import audit
from bintally.inventory import schema
from bintally.inventory.erp import filling
from bintally.inventory.erp.connections import ErpConnection, connect
from bintally.inventory.erp.expected import Fits, Moves, fits
from bintally.inventory.erp.outbox import due, key_of
from bintally.inventory.erp.protocol import Line, Posting, Stock
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.approvals import approve
from bintally.inventory.review.undo import undo
from tests.inventory.erp.desks import EVENING, SKU, connected, corrected, posted, states, undone
from tests.inventory.erp.notebook import Notebook
from tests.inventory.review.desks import NOON, decided, opened
from tests.inventory.worlds import HOUR, MORNING, World

POSTING = Posting(
    key="k", kind="adjust", site="S", bin="A-1", lines=(Line("bolt", 5, 4),), counted_at=MORNING, by="rita"
)


def fill(ledger: Ledger, to: ErpConnection) -> int:
    with ledger.write() as connection:
        return filling.fill(connection, to, at=EVENING)


def test_a_correction_is_told_when_it_stands_and_not_before(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
        case = world.judged("A-1", count=1, value=500.0)
        review = opened(world, case)
        assert review is not None
        assert decided(world, review, "rita", "correct", 1).state == "waiting"
    assert fill(ledger, to) == 0
    with ledger.write() as connection:
        approve(connection, review_id=review, person=world.people["anna"], at=NOON + HOUR)
    assert fill(ledger, to) == 1
    assert fill(ledger, to) == 0
    with ledger.read() as connection:
        body = connection.execute(select(schema.Posting.body)).scalar_one()
    assert '"approved_by":"anna"' in body


def test_what_stood_before_the_connection_is_not_told(file_ledger: Ledger) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        connection.execute(update(schema.ErpConnection).values(since=NOON + HOUR))
        to = to.__class__(**{name: getattr(to, name) for name in to.__struct_fields__} | {"since": NOON + HOUR})
        corrected(world, "A-1")
    assert fill(file_ledger, to) == 0


def test_each_stock_system_is_told_its_sites_corrections(file_ledger: Ledger, erp: Notebook) -> None:
    with file_ledger.write() as connection:
        world, other = World.new(connection), World.new(connection, code="STR2")
        first, second, elsewhere = (
            connected(file_ledger, of, name) for name, of in (("one", world), ("two", world), ("far", other))
        )
        corrected(world, "A-1")
    erp.put("A-1", **{SKU: 4})
    assert [fill(file_ledger, to) for to in (first, second, elsewhere)] == [1, 1, 0]


def test_a_long_log_is_read_in_parts(file_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "AT_ONCE", 3)
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        for number in range(7):
            corrected(world, f"A-{number}")
    made = []
    for _ in range(3):
        with file_ledger.write() as connection:
            made.append(filling.fill(connection, to, at=EVENING))
            is_behind = filling.is_behind(connection, to)
    assert (made, is_behind) == ([3, 3, 1], False)


def test_nothing_is_looked_at_twice(file_ledger: Ledger, erp: Notebook) -> None:
    # The outbox was once filled by a look at all corrections that had ever stood, in each round.
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        for number in range(30):
            corrected(world, f"A-{number}")
            erp.put(f"A-{number}", **{SKU: 4})
    posted(file_ledger, to, erp)
    plans: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *rest: object) -> None:
        plans.append(statement)

    event.listen(file_ledger.database.engine, "before_cursor_execute", note)
    assert fill(file_ledger, to) == 0
    with file_ledger.write() as connection:
        assert due(connection, to, at=EVENING) == []
    asked = [statement for statement in plans if statement.startswith("SELECT")]
    assert not any("FROM adjustment" in statement or "FROM decision" in statement for statement in asked), asked
    with file_ledger.read() as connection:
        for statement in asked:
            if "FROM posting" in statement:
                marks = statement.count("?")
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (0,) * marks).all()
                assert all("SCAN" not in row[3] for row in rows), rows


def test_what_was_undone_before_it_was_told_is_never_told(file_ledger: Ledger, erp: Notebook) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        told = corrected(world, "A-1")
    undone(file_ledger, world, told)
    assert fill(file_ledger, to) == 0


def test_it_comes_one_after_the_other_for_each_bin(file_ledger: Ledger, erp: Notebook) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        told = corrected(world, "A-1")
        corrected(world, "A-2")
    fill(file_ledger, to)
    with file_ledger.write() as connection:
        assert [each.posting.bin for each in due(connection, to, at=EVENING)] == ["A-1", "A-2"]
    undone(file_ledger, world, told)
    fill(file_ledger, to)
    with file_ledger.write() as connection:
        begun = due(connection, to, at=EVENING)
        assert [(each.posting.kind, each.posting.bin) for each in begun] == [("adjust", "A-1"), ("adjust", "A-2")]


@pytest.mark.parametrize(
    ("there", "moves", "fit"),
    [
        ({"bolt": 5}, Moves(), Fits((Line("bolt", 5, 4),))),
        ({"bolt": 5, "nut": 9}, Moves(), Fits((Line("bolt", 5, 4),))),
        ({"bolt": 4}, Moves({"bolt": -1, None: -1}), Fits((Line("bolt", 4, 3),))),
        ({"bolt": 4}, Moves({None: -1}), Fits((Line("bolt", 4, 3),))),  # a transaction that tells no product
        ({"bolt": 5}, Moves({"bolt": -1, None: -1}), Fits((Line("bolt", 5, 4),))),  # which it has not heard of yet
        ({"bolt": 3}, Moves({"bolt": -1, None: -1}, {"bolt": -1, None: -1}), Fits((Line("bolt", 3, 3),), "posted")),
    ],
)
def test_a_correction_fits_what_recorded_transactions_explain(there: dict[str, int], moves: Moves, fit: Fits) -> None:
    found = fits(POSTING, Stock(bin="A-1", lines=there, as_of=MORNING), moves, name="erp")
    assert (found.lines, found.state) == (fit.lines, fit.state)


@pytest.mark.parametrize(
    ("there", "moves"),
    [
        ({"bolt": 7}, Moves()),
        ({"bolt": 4}, Moves()),
        ({}, Moves()),
        (None, Moves()),
        ({"bolt": 3}, Moves({"bolt": -1, None: -1})),
        ({"bolt": 0}, Moves({"bolt": -5, None: -5})),  # it would be below nothing
        ({"bolt": 5}, Moves(earlier={"bolt": -1, None: -1})),  # it hears of it later: off twice
        ({"bolt": 4}, Moves({"bolt": -1, None: -1}, {"bolt": -1, None: -1})),
    ],
)
def test_what_nothing_explains_is_stale(there: dict[str, int] | None, moves: Moves) -> None:
    stock = None if there is None else Stock(bin="A-1", lines=there, as_of=MORNING)
    found = fits(POSTING, stock, moves, name="erp")
    assert found.state == "stale"
    assert "counted against 5" in found.reason


def total(before: int, after: int) -> Posting:
    return Posting(
        key="k", kind="adjust", site="S", bin="A", lines=(Line(None, before, after),), counted_at=MORNING, by="rita"
    )


def test_a_bins_total_is_told_of_the_only_product_there() -> None:
    alone = Stock(bin="A", lines={"bolt": 5, "nut": 0}, as_of=MORNING)
    assert fits(total(5, 3), alone, Moves(), name="erp").lines == (Line("bolt", 5, 3),)
    two = Stock(bin="A", lines={"bolt": 3, "nut": 2}, as_of=MORNING)
    assert fits(total(5, 3), two, Moves(), name="erp").state == "refused"
    assert fits(total(5, 0), two, Moves(), name="erp").lines == (Line("bolt", 3, 0), Line("nut", 2, 0))
    assert fits(total(0, 3), None, Moves(), name="erp").state == "refused"


def test_one_product_that_does_not_fit_holds_up_the_bins_others(file_ledger: Ledger, erp: Notebook) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        corrected(world, "A-1", lines={"bolt": 4, "nut": 2}, counted={"bolt": 3, "nut": 1})
    erp.put("A-1", bolt=4, nut=8)
    assert posted(file_ledger, to, erp).stale == 1
    assert erp.moves() == []


def test_what_is_taken_back_is_what_was_posted(file_ledger: Ledger, erp: Notebook) -> None:
    # Of a bin whose total was counted, the product is known only when it is posted.
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        told = corrected(world, "A-1", lines={"bolt": 2, "nut": 2}, count=3)
    assert told.changes[0].product is None
    erp.put("A-1", bolt=4)
    assert posted(file_ledger, to, erp).posted == 1
    undone(file_ledger, world, told)
    erp.put("A-1", nut=9)
    assert posted(file_ledger, to, erp, at=2 * HOUR).posted == 1
    assert erp.moves() == [("A-1", "bolt", -1), ("A-1", "bolt", 1)]


def test_what_the_stock_system_says_already_is_not_sent(file_ledger: Ledger, erp: Notebook) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        world.movement(
            world.bin("A-1"), -1, at=MORNING + timedelta(minutes=30), product_id=world.product(SKU, value=1.0)
        )
        told = corrected(world, "A-1")
    erp.put("A-1", **{SKU: 3})  # it has booked the pick that the ledger's record had not
    assert posted(file_ledger, to, erp).posted == 1
    undone(file_ledger, world, told)
    posted(file_ledger, to, erp, at=2 * HOUR)
    assert erp.moves() == []


@pytest.mark.parametrize("code", ["A-1", None])
def test_taking_back_what_changed_nothing_changes_nothing(file_ledger: Ledger, erp: Notebook, code: str | None) -> None:
    # Of what was posted without a change, the whole correction was once taken back: 5 too many.
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        bin_id, sku_id = world.bin("A-1"), world.product(SKU, value=1.0)
        case = world.judge(
            "A-1", bin_id, world.record(bin_id, 5), (sku_id,), recorded=5, outcome="mismatch", count=0,
            taken_at=MORNING + HOUR,
        )  # fmt: skip
        world.movement(bin_id, -5, at=MORNING + timedelta(minutes=30))
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", "correct", 0)
        if told.state == "waiting":
            approve(connection, review_id=review, person=world.people["anna"], at=NOON + HOUR)
    if code is not None:
        erp.put(code, **{SKU: 0})
    assert posted(file_ledger, to, erp).posted == 1
    with file_ledger.write() as connection:
        undo(connection, decision_id=told.decision_id, person=world.people["anna"], at=NOON + 7 * HOUR)
    erp.put("A-1", **{SKU: 3})
    assert posted(file_ledger, to, erp, at=2 * HOUR).posted == 1
    assert erp.moves() == []
    assert states(file_ledger) == [("adjust", "posted"), ("reverse", "posted")]


def test_who_connects_with_a_clock_that_is_ahead_is_told_all_that_follows(file_ledger: Ledger) -> None:
    with file_ledger.write() as connection:
        world = World.new(connection)
        corrected(world, "A-1")
        told = {"kind": "folder", "settings": {"path": "/tmp"}, "by": world.people["adam"], "at": NOON + 99 * HOUR}
        to = connect(connection, world.site, name="files", since=None, **told)  # type: ignore[arg-type]
        assert filling.unheard_bins(connection, to) == set(), "nobody tells what stood before"
        corrected(world, "A-2")
        assert filling.unheard(connection, to) == 1
        assert filling.unheard_bins(connection, to) == {world.bin("A-2")}
    assert fill(file_ledger, to) == 1


def test_what_stood_before_a_moment_that_was_asked_for_is_left_alone_by_nobody(file_ledger: Ledger) -> None:
    # A pull once left each bin alone that had ever been corrected.
    with file_ledger.write() as connection:
        world = World.new(connection)
        to = connected(file_ledger, world)
        corrected(world, "A-1")
        later = msgspec.structs.replace(to, since=EVENING)
        assert filling.unheard_bins(connection, to) == {world.bin("A-1")}
        assert filling.unheard_bins(connection, later) == set()
        assert filling.unheard_bins(connection, to, after=audit.head(connection).number) == set()


def test_keys_of_two_sites_differ() -> None:
    assert key_of("S1", "erp", "decision", "adjust") != key_of("S2", "erp", "decision", "adjust")
