from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, update

from bintally.inventory import schema
from bintally.inventory.kpi.cases import cases_of, lines_of
from bintally.inventory.kpi.facts import (
    ADJUSTMENTS,
    DECISIONS,
    LINES,
    PRODUCTS,
    REVIEWS,
    VERDICTS,
    Facts,
    read,
)
from bintally.inventory.kpi.figures import figures_of
from bintally.inventory.kpi.report import Figures
from bintally.inventory.ledger import Ledger
from bintally.inventory.policy.settings import Costs
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import take
from bintally.inventory.review.queue import open_review
from tests.inventory.worlds import HOUR, MORNING, Case, World

LATE_S = int((MORNING + timedelta(days=30)).timestamp())


def facts_of(world: World, until_s: int = LATE_S) -> Facts:
    return read(world.connection, [world.site.id], until_s=until_s)


def told(facts: Facts) -> Figures:
    return figures_of("all", cases_of(facts), until_s=facts.until_s, costs=Costs(), has_money=True)


def test_overs_and_shorts_do_not_cancel_out(ledger: Ledger) -> None:
    """A +2 in one bin and a -2 in another: net 0 hides what gross variance and IRA tell."""
    with ledger.write() as connection:
        world = World.new(connection)
        for code, recorded, count in (("A-1", 4, 2), ("A-2", 2, 4)):
            world.looked(world.judged(code, recorded=recorded, count=count, value=10.0), kind="correct", count=count)
        found = told(facts_of(world))
    assert (found.variance.gross_units, found.variance.net_units) == (4, 0)
    assert (found.variance.gross_money, found.variance.net_money) == (40.0, 0.0)
    assert (found.variance.corrections, found.variance.unvalued) == (2, 0)
    assert found.ira_counted.value == 0.0
    assert found.ira.value == 0.0


def test_one_off_is_wrong(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        world.looked(world.judged("A-1", recorded=50, count=49), kind="correct", count=49)
        found = told(facts_of(world))
    assert found.ira_counted.value == 0.0


def test_a_blind_count_that_is_tolerated_is_accepted_and_still_no_exact_record(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        decision_id = world.looked(world.judged("A-1", outcome="match", recorded=5, count=5, blind=True))
        # A decision is never changed: the tolerated count takes its place as it would have been written.
        facts = facts_of(world)
    counted = pl.when(pl.col("id") == decision_id).then(4).otherwise(pl.col("count")).alias("count")
    found = told(replace(facts, decisions=facts.decisions.with_columns(counted)))
    assert found.escape.value == 1.0
    assert (found.variance.gross_units, found.variance.unvalued) == (1, 1)


def test_swapped_products_are_a_wrong_record_though_the_total_is_right(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", recorded=5, count=5, lines={"x": 2, "y": 3}, value=10.0)
        decision_id = world.looked(case, kind="correct", count=5)
        connection.execute(schema.Adjustment.__table__.delete())  # type: ignore[attr-defined]
        for product_id, before, after in zip(case.product_ids, (2, 3), (3, 2), strict=True):
            adjust(world, case, decision_id, product_id, before, after)
        facts = facts_of(world)
    found = told(facts)
    assert found.wrong == 1
    assert (found.variance.gross_units, found.variance.net_units) == (2, 0)
    assert (found.variance.gross_money, found.variance.net_money) == (20.0, 0.0)
    by_product, without, untold = lines_of(facts, cases_of(facts))
    assert dict(by_product.select("sku", "gross").iter_rows()) == {"x": 1, "y": 1}
    assert by_product["wrong"].all()
    assert (without, untold) == (0, 0)


def test_a_product_that_no_record_names_has_its_row(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", recorded=2, count=5, lines={"x": 2}, value=10.0)
        decision_id = world.looked(case, kind="correct", count=5)
        connection.execute(schema.Adjustment.__table__.delete())  # type: ignore[attr-defined]
        adjust(world, case, decision_id, world.product("stray"), 0, 3)
        facts = facts_of(world)
    by_product, _, _ = lines_of(facts, cases_of(facts))
    assert dict(by_product.select("sku", "gross").iter_rows()) == {"x": 0, "stray": 3}
    assert dict(by_product.select("sku", "wrong").iter_rows()) == {"x": False, "stray": True}


def test_a_total_tells_nothing_of_several_products(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        wrong = world.judged("A-1", recorded=5, count=6, lines={"x": 2, "y": 3})
        world.looked(wrong, kind="correct", count=6)
        right = world.judged("A-2", recorded=5, count=5, lines={"x": 1, "y": 4}, outcome="uncertain")
        world.looked(right)
        bin_id = world.bin("A-3")
        only_total = world.record(bin_id, 4)
        world.judge("A-3", bin_id, only_total, (), recorded=4, outcome="match", count=4, taken_at=MORNING + HOUR)
        facts = facts_of(world)
    by_product, without, untold = lines_of(facts, cases_of(facts))
    assert sorted(by_product["sku"]) == ["x", "y"]
    assert not by_product["wrong"].any()
    assert by_product["known"].all()
    assert (without, untold) == (1, 1)
    variance = told(facts).variance
    assert (variance.unvalued, variance.gross_money) == (1, None), "unknown money was once told as 0"


def test_an_undone_decision_counts_nowhere(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        undone_at = MORNING + 9 * HOUR
        world.undone(world.looked(case, kind="correct", count=3), at=undone_at)
        found = told(facts_of(world))
        before = told(facts_of(world, int(undone_at.timestamp())))
    assert (found.counted, found.wrong, found.variance.gross_units, found.resolved.records) == (0, 0, 0, 0)
    assert found.ira.value is None
    assert (before.counted, before.wrong, before.variance.gross_units, before.resolved.records) == (1, 1, 1, 1)


def test_what_was_decided_later_was_not_known_before(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        world.looked(case, kind="correct", count=3, after=5 * HOUR)
        decided_at = case.judged_at + 5 * HOUR
        before, after = (told(facts_of(world, int(decided_at.timestamp()) + second)) for second in (0, 1))
        never = told(facts_of(world, int(case.judged_at.timestamp())))
    assert (before.counted, before.resolved.waiting, before.resolved.oldest_waiting_h) == (0, 1, 5.0)
    assert (after.counted, after.resolved.waiting, after.resolved.median_h) == (1, 0, 5.0)
    assert never.judged == 0


def test_a_correction_that_waits_for_a_second_person_is_not_known_yet(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        world.looked(case, kind="correct", count=3)
        connection.execute(update(schema.Review).values(state="waiting", closed_at=None))
        waiting = told(facts_of(world))
        second(world, "approve", at=case.judged_at + 3 * HOUR)
        connection.execute(update(schema.Review).values(state="closed", closed_at=case.judged_at + 3 * HOUR))
        approved = told(facts_of(world))
        early = told(facts_of(world, int((case.judged_at + 2 * HOUR).timestamp())))
    assert (waiting.counted, waiting.resolved.waiting) == (0, 1)
    assert (approved.counted, approved.resolved.median_h) == (1, 3.0)
    assert (early.counted, early.resolved.waiting) == (0, 1)


def test_a_rejected_correction_is_not_known(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        world.looked(case, kind="correct", count=3)
        second(world, "reject", at=case.judged_at + 3 * HOUR)
        connection.execute(update(schema.Adjustment).values(state="rejected"))
        found = told(facts_of(world))
    assert (found.counted, found.variance.gross_units) == (0, 0)


def test_a_record_counts_once_and_a_persons_count_is_no_automatic_acceptance(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        first = world.judged("A-1", outcome="uncertain")
        world.looked(first)
        again(world, first, outcome="match")
        twice = world.judged("A-2", outcome="uncertain")
        again(world, twice, outcome="match")
        found = told(facts_of(world))
    assert (found.judged, found.accepted, found.uncertain) == (2, 1, 1)
    assert (found.counted, found.checked) == (1, 0)


def test_records_that_a_correction_made_are_left_out(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1")
        made = world.record(case.bin_id, 3, at=MORNING + 3 * HOUR, source="review")
        world.judge(
            "A-1",
            case.bin_id,
            made,
            case.product_ids,
            recorded=3,
            outcome="match",
            count=3,
            taken_at=MORNING + 4 * HOUR,
        )
        found = told(facts_of(world))
    assert (found.judged, found.accepted) == (1, 0)


def test_a_count_of_a_later_record_is_held_against_that_one(ledger: Ledger) -> None:
    """Somebody walks to the bin after the next record has come, and finds what that one says."""
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="uncertain", recorded=4)
        world.record(case.bin_id, {case.product_ids[0]: 9}, at=MORNING + 2 * HOUR)
        world.looked(case, after=3 * HOUR)
        facts = facts_of(world)
        connection.execute(insert(schema.Decision).values(**_at_the_bin(world, facts, count=9)))
        found = told(facts_of(world))
    assert (found.counted, found.wrong) == (1, 0)


def test_a_blind_count_that_differs_is_not_known_before_somebody_repeats_it(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="match", recorded=4, count=4, blind=True)
        open_review(
            connection,
            bin_id=case.bin_id,
            verdict_id=case.verdict_id,
            verdict=case.verdict,
            unit_value=10.0,
            costs=Costs(),
            recount_share=0.02,
            at=case.judged_at,
        )
        seen = []
        for hour, name in enumerate(("rita", "rolf"), start=1):
            at = case.judged_at + hour * HOUR
            person = world.people[name]
            leased = take(connection, person, world.site, at=at)
            assert leased is not None
            review_id = leased.review.review_id
            decide(connection, review_id=review_id, person=person, token=leased.token, kind="correct", count=3, at=at)
            seen.append(told(facts_of(world)))
    once, twice = seen
    assert (once.counted, once.resolved.waiting, once.escape.value) == (0, 1, None)
    assert (twice.counted, twice.checked, twice.wrong, twice.escape.value) == (1, 1, 1, 1.0)
    assert (twice.variance.gross_units, twice.variance.gross_money, twice.resolved.median_h) == (1, 10.0, 2.0)
    assert (twice.judged, twice.accepted) == (1, 1)


def test_stale_records_are_in_no_figure(ledger: Ledger) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        world.judged("A-1", outcome="stale")
        found = told(facts_of(world))
    assert (found.stale, found.judged, found.coverage.value) == (1, 0, None)


verdict_lists = st.lists(
    st.tuples(
        st.sampled_from(["match", "mismatch", "uncertain", "stale"]),
        st.integers(0, 9),  # recorded
        st.sampled_from(["accept", "correct", "uncountable", "undone", "none"]),
        st.integers(-4, 4),  # how far off
        st.booleans(),  # valued
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(verdict_lists, st.integers(0, 1000))
def test_order_is_nothing_and_gross_is_at_least_net(rows: Sequence[tuple[str, int, str, int, bool]], seed: int) -> None:
    facts = made_of(rows)
    mixed = Facts(
        **{
            name: getattr(facts, name).sample(fraction=1.0, shuffle=True, seed=seed)
            for name in ("verdicts", "reviews", "decisions", "adjustments", "lines", "products")
        },
        until_s=facts.until_s,
    )
    found = told(facts)
    assert told(mixed) == found
    variance = found.variance
    assert variance.gross_units >= abs(variance.net_units)
    if variance.gross_money is None or variance.net_money is None:
        assert variance.unvalued == variance.corrections > 0
    else:
        assert variance.gross_money >= abs(variance.net_money)
    assert variance.gross_units == sum(
        abs(off) for outcome, _, kind, off, _ in rows if kind == "correct" and outcome != "stale"
    )
    assert found.judged == found.accepted + found.mismatches + found.uncertain
    for figure in (
        found.coverage,
        found.ira_counted,
        found.ira,
        found.escape,
        found.escape_of_wrong,
        found.false_alarms,
    ):
        if figure.value is None:
            assert figure.why
        else:
            assert figure.low is not None and figure.high is not None
            assert -1e-9 <= figure.low <= figure.value <= figure.high <= 1 + 1e-9


def made_of(rows: Sequence[tuple[str, int, str, int, bool]]) -> Facts:
    """Tables of records that were judged, looked at and corrected, one bin each."""
    verdicts: list[tuple[object, ...]] = []
    reviews: list[tuple[object, ...]] = []
    decisions: list[tuple[object, ...]] = []
    adjustments: list[tuple[object, ...]] = []
    for key, (outcome, recorded, kind, off, valued) in enumerate(rows, start=1):
        verdicts.append((key, key, key, 1, outcome, 0.02, recorded, 100))
        if kind == "none" or outcome == "stale":
            continue
        undone = kind == "undone"
        chance = 0.05 if outcome == "match" else 1.0
        reviews.append((key, key, "open" if undone else "closed", chance, 100, None if undone else 200))
        told_kind = "correct" if undone else kind
        count = {"accept": recorded, "correct": recorded + off}.get(told_kind)
        decisions.append((2 * key, key, told_kind, count, None, 200, recorded))
        if told_kind == "correct":
            value = off * 25_000 if valued else None
            adjustments.append((2 * key, 1, off, value, "undone" if undone else "approved"))
        if undone:
            decisions.append((2 * key + 1, key, "undo", None, 2 * key, 300, None))
    return Facts(
        verdicts=pl.DataFrame(verdicts, schema=VERDICTS, orient="row"),
        reviews=pl.DataFrame(reviews, schema=REVIEWS, orient="row"),
        decisions=pl.DataFrame(decisions, schema=DECISIONS, orient="row"),
        adjustments=pl.DataFrame(adjustments, schema=ADJUSTMENTS, orient="row"),
        lines=pl.DataFrame([(row[1], 1) for row in verdicts], schema=LINES, orient="row"),
        products=pl.DataFrame([(1, "x", "A")], schema=PRODUCTS, orient="row"),
        until_s=1000,
    )


def adjust(world: World, case: Case, decision_id: int, product_id: int, before: int, after: int) -> None:
    world.connection.execute(
        insert(schema.Adjustment).values(
            decision_id=decision_id,
            bin_id=case.bin_id,
            record_id=case.record_id,
            product_id=product_id,
            before=before,
            after=after,
            value=Decimal(10 * (after - before)),
            state="approved",
            made_at=case.judged_at,
        )
    )


def second(world: World, kind: str, *, at: object) -> None:
    """An approver's word on the only review."""
    review_id = world.connection.execute(schema.Review.__table__.select()).one().id
    world.connection.execute(
        insert(schema.Decision).values(
            review_id=review_id, person_id=world.people["anna"].id, key=kind, kind=kind, made_at=at
        )
    )


def again(world: World, case: Case, *, outcome: str) -> None:
    """The same record, judged by a later photo."""
    world.judge(
        case.code,
        case.bin_id,
        case.record_id,
        case.product_ids,
        recorded=case.verdict.recorded_count,
        outcome=outcome,  # type: ignore[arg-type]
        count=3,
        taken_at=case.taken_at + 4 * HOUR,
    )


def _at_the_bin(world: World, facts: Facts, *, count: int) -> dict[str, object]:
    """The decision of the only review, made anew from a count at the bin."""
    at = MORNING + 4 * HOUR
    return {
        "review_id": facts.reviews["id"][0],
        "person_id": world.people["rita"].id,
        "key": "at the bin",
        "kind": "accept",
        "count": count,
        "counted_at": at,
        "made_at": at,
    }


@pytest.mark.parametrize("code", ["uncountable", "not_this_bin"])
def test_a_photo_that_cannot_tell_is_decided_and_not_known(ledger: Ledger, code: str) -> None:
    with ledger.write() as connection:
        world = World.new(connection)
        world.looked(world.judged("A-1"), kind=code)
        found = told(facts_of(world))
    assert (found.counted, found.resolved.records, found.review_yield.value) == (0, 1, 0.0)
    assert found.ira.value is None
