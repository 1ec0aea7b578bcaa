"""What is looked at, in which order, and what a newer verdict does to it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from bintally.database import audit
from bintally.errors import ConflictError
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import held, take
from bintally.inventory.review.listing import counts, waiting
from bintally.inventory.review.queue import Asked, open_reviews, worth_of
from bintally.inventory.verdict import Outcome, Verdict
from tests.inventory.review.desks import COSTS, NOON, column, decided, opened
from tests.inventory.worlds import HOUR, MINUTE, Case, World


def _verdict(right: float | None, *, count: int | None = 3, recorded: int = 4) -> Verdict:
    return Verdict(
        outcome="uncertain", recorded_count=recorded, count=count, right=right, prior_right=0.9, score=None,
        threshold=None, promised=0.02, kind="photo", reasons=(),
    )  # fmt: skip


def _next(world: World, case: Case, outcome: Outcome, *, blind: bool = False, count: int = 2) -> Case:
    """A newer photo of the bin and its verdict."""
    return world.judge(
        case.code, case.bin_id, case.record_id, case.product_ids,
        recorded=4, outcome=outcome, count=count, blind=blind, taken_at=case.taken_at + HOUR,
    )  # fmt: skip


def test_a_look_is_worth_what_a_wrong_record_costs() -> None:
    assert worth_of(_verdict(0.5), unit_value=None, costs=COSTS) == pytest.approx(0.5 * 40 - 2)
    assert worth_of(_verdict(0.5, count=1), unit_value=100.0, costs=COSTS) == pytest.approx(0.5 * 300 - 2)
    assert worth_of(_verdict(None, count=None), unit_value=None, costs=COSTS) == pytest.approx(0.1 * 40 - 2)
    drawn = worth_of(_verdict(0.99), unit_value=None, costs=COSTS, propensity=0.02)
    assert drawn == pytest.approx(0.01 / 0.02 * 40 - 2)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6))
def test_doubt_and_value_never_make_a_look_worth_less(right: float, more: float, value: float, dearer: float) -> None:
    low, high = sorted((right, more))
    cheap, dear = sorted((value, dearer))
    assert worth_of(_verdict(low), unit_value=dear, costs=COSTS) >= worth_of(
        _verdict(high), unit_value=cheap, costs=COSTS
    )


@pytest.mark.parametrize(("outcome", "blind", "reason"), [
    ("mismatch", False, "mismatch"), ("uncertain", False, "uncertain"), ("match", True, "check"),
    ("match", False, None), ("stale", False, None),
])  # fmt: skip
def test_what_is_looked_at(ledger: Ledger, outcome: Outcome, blind: bool, reason: str | None) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome=outcome, blind=blind, count=4)
        review = opened(world, case)
        assert (review is not None) == (reason is not None)
        assert opened(world, case) == review, "asked again, it is the same"
        rows = connection.execute(select(schema.Review.reason, schema.Review.blind, schema.Review.propensity)).all()
        expected = [] if reason is None else [(reason, blind, 0.02 if blind else 1.0)]
        assert [tuple(row) for row in rows] == expected


def test_a_newer_verdict_takes_the_place_and_whoever_was_looking_keeps_the_bin(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        first = opened(world, case)
        rita = world.people["rita"]
        taken = take(connection, rita, world.site, at=NOON)
        assert taken is not None
        second = opened(world, _next(world, case, "uncertain"))
        assert column(connection, schema.Review, "state") == ["withdrawn", "open"]
        with pytest.raises(ConflictError, match="is withdrawn: a newer photo or record"):
            decide(connection, review_id=first or 0, person=rita, token=taken.token, kind="accept", at=NOON)
        [mine] = held(connection, rita, world.site, at=NOON)
        assert (mine.review.review_id, mine.token, mine.until) == (second, taken.token, taken.until)


@pytest.mark.parametrize("outcome", ["match", "stale"])
def test_what_needs_nobody_any_more_is_withdrawn_and_its_lease_ends_with_a_line(
    ledger: Ledger, outcome: Outcome
) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        rita = world.people["rita"]
        assert take(connection, rita, world.site, at=NOON) is not None
        assert opened(world, _next(world, case, outcome)) is None
        assert column(connection, schema.Review, "state") == ["withdrawn"]
        assert held(connection, rita, world.site, at=NOON) == []
        line = list(audit.entries(connection))[-1]
        assert (line.action, line.subject) == ("review.withdraw", "bin:STR1/A-1")
        assert (line.body["review"], line.body["lease"]) == (review, rita.id)


@pytest.mark.parametrize("outcome", ["match", "mismatch", "stale"])
def test_a_drawn_check_stays_whatever_comes_after_it(ledger: Ledger, outcome: Outcome) -> None:
    """If later doubt took its place, escapes would be looked for only where nothing became known later."""
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="match", blind=True, count=4)
        review = opened(world, case)
        assert opened(world, _next(world, case, outcome)) is None
        assert column(connection, schema.Review, "id", state="open") == [review]


def test_what_somebody_asked_a_second_person_for_stays_until_the_record_is_another(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", value=500.0)
        review = opened(world, case)
        assert review is not None
        assert decided(world, review, "rita", "correct", 3).state == "waiting"
        assert opened(world, _next(world, case, "mismatch")) is None
        assert column(connection, schema.Review, "state") == ["waiting"]
        record = world.record(case.bin_id, {case.product_ids[0]: 7}, at=case.taken_at - MINUTE)
        newest = world.judge(
            "A-1", case.bin_id, record, case.product_ids,
            recorded=7, outcome="mismatch", count=3, taken_at=NOON,
        )  # fmt: skip
        assert opened(world, newest) is not None
        assert column(connection, schema.Review, "state") == ["withdrawn", "open"]
        assert column(connection, schema.Adjustment, "state") == ["rejected"]


@pytest.mark.parametrize("kind", ["accept", "correct", "uncountable", "not_this_bin"])
def test_nobody_is_asked_again_what_a_person_has_just_settled(ledger: Ledger, kind: str) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        review = opened(world, case)
        assert review is not None
        told = decided(world, review, "rita", kind, 3 if kind == "correct" else None)  # type: ignore[arg-type]
        record_id = told.record_id or case.record_id
        same = world.judge(
            "A-1", case.bin_id, record_id, case.product_ids,
            recorded=4, outcome="uncertain", count=2, taken_at=case.taken_at,
        )  # fmt: skip
        belief = schema.Belief
        of_verdict = select(schema.Verdict.belief_id).where(schema.Verdict.id == same.verdict_id).scalar_subquery()
        connection.execute(update(belief).where(belief.id == of_verdict).values(photo_id=case.photo_id))
        assert opened(world, same) is None
        assert opened(world, _next(world, case, "uncertain")) is not None, "a newer photo may be looked at"


def test_the_queue_is_in_order_of_worth_then_age_and_can_be_filtered(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        cheap = world.judged("cheap", value=1.0, abc="C", outcome="uncertain")
        dear = world.judged("dear", value=300.0, abc="A")
        twin = world.judged("twin", value=300.0, abc="A")
        check = world.judged("check", value=1.0, outcome="match", blind=True, count=4)
        for case, value, at in (
            (cheap, 1.0, NOON),
            (twin, 300.0, NOON),
            (dear, 300.0, NOON - HOUR),
            (check, 1.0, NOON),
        ):
            assert opened(world, case, value=value, at=at) is not None
        site = world.site
        assert [row.bin for row in waiting(connection, site)] == ["dear", "twin", "check", "cheap"]
        assert [row.bin for row in waiting(connection, site, limit=2, after=1)] == ["twin", "check"]
        assert next(row.bin for row in waiting(connection, site, order="age")) == "dear"
        assert [row.bin for row in waiting(connection, site, abc="C")] == ["cheap"]
        assert [row.bin for row in waiting(connection, site, product="A-300.0")] == ["dear", "twin"]
        assert [row.bin for row in waiting(connection, site, blind=True)] == ["check"]
        assert [row.bin for row in waiting(connection, site, reason="uncertain")] == ["cheap"]
        other = World.new(connection, code="STR2")
        assert waiting(connection, other.site) == []
        take(connection, world.people["rita"], site, at=NOON)
        told = counts(connection, site, at=NOON)
        assert (told.open, told.taken, told.blind, told.waiting) == (4, 1, 1, 0)
        assert told.by_reason == {"check": 1, "mismatch": 2, "uncertain": 1}
        assert told.oldest_at == NOON - HOUR
        assert counts(connection, site, at=NOON + timedelta(days=1)).taken == 0
        assert [row.taken_by for row in waiting(connection, site)] == ["rita", None, None, None]


def test_many_bins_are_opened_in_a_few_statements_and_in_the_order_asked(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        cases = [world.judged(f"A-{number}", outcome="uncertain") for number in range(30)]
        asked = [Asked(case.bin_id, case.verdict_id, case.verdict, 10.0) for case in reversed(cases)]
        first = open_reviews(connection, asked, costs=COSTS, recount_share=0.02, at=NOON)
        assert None not in first
        assert open_reviews(connection, asked, costs=COSTS, recount_share=0.02, at=NOON) == first
        bins = column(connection, schema.Review, "bin_id")
        assert len(set(bins)) == 30
        by_review = dict(zip(column(connection, schema.Review, "id"), bins, strict=True))
        assert [by_review[review] for review in first] == [each.bin_id for each in asked]


def test_the_next_review_is_found_by_an_index(ledger: Ledger) -> None:
    """A million reviews must not be sorted for each person who asks."""
    if not ledger.database.is_sqlite:
        pytest.skip("PostgreSQL chooses by statistics, which an empty table has none of")
    with ledger.read() as connection:
        plan = connection.execute(
            text("EXPLAIN QUERY PLAN SELECT id FROM review WHERE state = 'open' ORDER BY worth DESC LIMIT 1")
        ).all()
        assert "ix_review_state_worth" in str(plan)
