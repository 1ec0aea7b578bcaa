"""A count at a bin decides about its record, whether a review had asked for it or not."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from bintally.errors import AccessError, ConflictError, DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.at_the_bin import PLANNED, take_count
from bintally.inventory.review.decisions import Decided
from bintally.inventory.review.leases import take
from bintally.inventory.review.outcomes import outcomes
from bintally.inventory.review.undo import undo
from tests.inventory.review.desks import NOON, column, decided, opened, record_now
from tests.inventory.worlds import HOUR, World


@pytest.fixture
def world(ledger: Ledger) -> Iterator[World]:
    """A site, on each database."""
    with ledger.write() as connection:
        yield World.new(connection)


def _count(
    world: World, code: str, count: int | None, *, person: str = "rita", lines: Mapping[str, int] | None = None
) -> Decided:
    return take_count(
        world.connection, world.site, bin=code, person=world.people[person], count=count, lines=lines,
        counted_at=NOON - HOUR, at=NOON,
    )  # fmt: skip


def test_a_count_of_an_accepted_record_confirms_or_corrects_it(world: World) -> None:
    right, wrong = (world.judged(code, outcome="match", recorded=4, count=4) for code in ("A", "B"))
    assert _count(world, "A", 4).kind == "accept"
    told = _count(world, "B", 3)
    assert (told.kind, told.state, [(each.before, each.after) for each in told.changes]) == (
        "correct",
        "closed",
        [(4, 3)],
    )
    assert [record_now(world, each.bin_id)[0] for each in (right, wrong)] == [4, 3]
    assert column(world.connection, schema.Review, "reason") == [PLANNED, PLANNED]
    assert column(world.connection, schema.Decision, "counted_at") == [NOON - HOUR] * 2
    assert outcomes(world.connection, world.site).sort("bin")["wrong"].to_list() == [False, True]


def test_the_same_count_again_stands_once(world: World) -> None:
    world.judged("A", recorded=4)
    first, again = _count(world, "A", 3), _count(world, " A ", 3)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.decision_id == first.decision_id
    assert _count(world, "A", 2).is_new, "another count is another one"
    assert world.connection.execute(select(func.count()).select_from(schema.Decision)).scalar_one() == 2


def test_what_is_counted_by_the_way_settles_the_review_that_waits(world: World) -> None:
    review_id = opened(world, world.judged("A", recorded=4))
    assert _count(world, "A", 4).review_id == review_id
    assert column(world.connection, schema.Review, "state") == ["closed"]


def test_a_blind_review_takes_it_as_a_blind_count(world: World) -> None:
    opened(world, world.judged("A", outcome="match", recorded=7, count=7, blind=True))
    told = _count(world, "A", 5)
    assert (told.kind, told.changes) == ("count", ()), "nothing is told of the record"
    assert column(world.connection, schema.Review, "reason") == ["check", "recount"]
    with pytest.raises(ConflictError, match="somebody who has not decided"):
        _count(world, "A", 6)


def test_a_dear_correction_waits_for_a_second_person(world: World) -> None:
    world.judged("A", recorded=4, value=1000.0)
    told = _count(world, "A", 3)
    assert told.state == "waiting"
    with pytest.raises(ConflictError, match="waits for a second person") as refused:
        _count(world, "A", 2, person="rolf")
    assert f"bintally review approve {told.review_id}" in refused.value.hint


def test_products_are_counted_one_by_one(world: World) -> None:
    case = world.judged("A", lines={"X": 2, "Y": 3}, count=5)
    told = _count(world, "A", None, lines={"X": 3, "Y": 2})
    assert [(each.product, each.before, each.after) for each in told.changes] == [("X", 2, 3), ("Y", 3, 2)]
    assert sorted(record_now(world, case.bin_id)[1].values()) == [2, 3]


def test_it_can_be_undone_like_any_other(world: World) -> None:
    case = world.judged("A", recorded=4)
    told = _count(world, "A", 3)
    undo(world.connection, decision_id=told.decision_id, person=world.people["rita"], at=NOON + timedelta(minutes=1))
    assert record_now(world, case.bin_id)[0] == 4
    assert column(world.connection, schema.Review, "state") == ["open"]


def test_what_cant_be_is_told(world: World) -> None:
    world.bin("new")
    with pytest.raises(DataError, match="No photo of bin new was judged yet"):
        _count(world, "new", 3)
    with pytest.raises(DataError, match="has no bin 'B'"):
        _count(world, "B", 3)
    world.judged("A", recorded=4)
    with pytest.raises(AccessError):
        _count(world, "A", 3, person="vera")
    with pytest.raises(UsageError, match="needs a count"):
        _count(world, "A", None)


def test_somebody_who_has_the_bin_is_not_passed_over(world: World) -> None:
    review_id = opened(world, world.judged("A", recorded=4))
    assert review_id is not None
    taken = take(
        world.connection, world.people["rolf"], world.site, at=NOON - timedelta(minutes=1), review_id=review_id
    )
    assert taken is not None
    with pytest.raises(ConflictError, match="Somebody else has bin A"):
        _count(world, "A", 3)
    assert decided(world, review_id, "rolf", "accept", at=NOON + HOUR).kind == "accept"
