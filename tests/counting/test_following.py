"""One posterior per bin over time, held against the sum over all paths, and against what must always hold."""

import math
import random
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.counting import kernels
from bintally.counting.events import (
    AnyEvent,
    Counted,
    Emptied,
    Photo,
    Picked,
    Replaced,
    Stowed,
    Transaction,
    change_shares,
)
from bintally.counting.follow_settings import FollowSettings, TransactionErrors
from bintally.counting.following import History, Posterior, follow
from bintally.errors import DataError
from tests.counting.paths import Paths

KEYS = ("0", "1", "2+")
SURE = FollowSettings(
    unlike_start=0.0,
    misleading=0.0,
    drift_per_event=0.0,
    count_error=0.0,
    not_emptied=0.0,
    transactions=TransactionErrors(nothing=0.0, one_off=0.0, twice=0.0, anything=0.0),
)
SMALL = FollowSettings(max_count=3)


def shares(*, at_least: float = 0.0) -> st.SearchStrategy[dict[str, float]]:
    share = st.floats(at_least, 1.0)
    return st.fixed_dictionaries(dict.fromkeys(KEYS, share)).filter(lambda mix: sum(mix.values()) > 0.01)


@st.composite
def photos(draw: st.DrawFn, time: int) -> Photo:
    alone = draw(st.booleans())
    changed = draw(st.booleans())
    rows = draw(st.lists(st.sampled_from(KEYS), unique=True, min_size=1)) if changed else []
    told = draw(shares()) if alone else {}
    if len(told) > 1 and draw(st.booleans()):
        told = {key: share for key, share in told.items() if share > 0.0}  # what the prior names is 0 if left out
    even = draw(st.booleans()) and len(told) > 1
    return Photo(
        time=time,
        id=f"photo {time}",
        probabilities=told,
        prior=draw(shares(at_least=0.05)) if told and not even else {},
        previous=f"photo {time - draw(st.integers(1, 3))}" if changed else None,
        change={key: draw(shares()) for key in rows},
        change_prior={key: draw(shares(at_least=0.05)) for key in rows},
    )


@st.composite
def histories(draw: st.DrawFn, longest: int = 5) -> list[AnyEvent]:
    return [draw(_anything(time)) for time in range(draw(st.integers(1, longest)))]


def _anything(time: int) -> st.SearchStrategy[AnyEvent]:
    return st.one_of(
        photos(time),
        photos(time),
        st.builds(Picked, time=st.just(time), quantity=st.integers(1, 3)),
        st.builds(Stowed, time=st.just(time), quantity=st.integers(1, 3)),
        st.builds(Transaction, time=st.just(time), quantity=st.integers(-3, 3)),
        st.builds(Counted, time=st.just(time), count=st.integers(0, 3)),
        st.just(Emptied(time=time)),
        st.builds(Replaced, time=st.just(time), start=st.one_of(st.just({}), shares())),
    )


def sites() -> st.SearchStrategy[FollowSettings]:
    rate = st.floats(0.01, 0.2)
    return st.builds(
        FollowSettings,
        max_count=st.just(3),
        start=st.one_of(st.just({}), shares()),
        unlike_start=st.sampled_from([0.0, 0.1]),
        tail=st.floats(0.2, 1.0),
        misleading=st.one_of(st.just(0.02), rate),
        second_look=st.sampled_from([0.0, 0.5, 1.0]),
        drift_per_event=st.one_of(st.just(0.0), rate),
        drift_per_day=st.sampled_from([0.0, 5000.0]),  # events here are a second apart
        drift_size=st.floats(0.1, 1.0),
        count_error=rate,
        not_emptied=st.one_of(st.just(0.0), rate),
        transactions=st.builds(TransactionErrors, nothing=rate, one_off=rate, twice=rate, anything=rate),
    )


@settings(max_examples=30)
@given(histories(), sites())
def test_all_answers_are_those_of_enumerating_every_path(events: list[AnyEvent], site: FollowSettings) -> None:
    history = History(events, site)
    known, now, judged = history.posteriors(), history.looking_back(), iter(history.judgements())
    for index, event in enumerate(events):
        paths = Paths(events, site, index)
        assert history.log_evidence == pytest.approx(math.log(paths.total), abs=1e-9)
        assert now[index].probabilities == pytest.approx(paths.counts(), abs=1e-9)
        assert known[index].probabilities == pytest.approx(Paths(events[: index + 1], site, index).counts(), abs=1e-9)
        if isinstance(event, Picked | Stowed | Transaction):
            judgement = next(judged)
            assert judgement.moved == pytest.approx(paths.moved(), abs=1e-9)
            assert judgement.as_recorded == pytest.approx(paths.moved().get(judgement.recorded, 0.0), abs=1e-9)


@settings(max_examples=25)
@given(histories(longest=6), sites(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    events: list[AnyEvent], site: FollowSettings, chance: random.Random
) -> None:
    mixed = events[:]
    chance.shuffle(mixed)
    late = History((), site)
    for event in mixed:
        latest = late.add(event)
    assert late.posteriors() == follow(events, site) == follow(mixed, site)
    assert latest == late.posteriors()[-1]
    assert late.looking_back() == History(events, site).looking_back()


@settings(max_examples=25)
@given(histories(longest=6), sites())
def test_probabilities_sum_to_one_and_the_last_is_known_alike_forwards_and_back(
    events: list[AnyEvent], site: FollowSettings
) -> None:
    history = History(events, site)
    for known in (*history.posteriors(), *history.looking_back()):
        assert math.isclose(sum(known.probabilities), 1.0, abs_tol=1e-9)
        assert min(known.probabilities) >= 0.0
    assert history.looking_back()[-1].probabilities == pytest.approx(history.posteriors()[-1].probabilities)
    for judgement in history.judgements():
        assert math.isclose(sum(judgement.moved.values()), 1.0, abs_tol=1e-9)


def test_events_of_one_moment_have_one_order() -> None:
    """A photo taken at the second of a pick shows the bin after it, whichever message came first."""
    events: list[AnyEvent] = [
        Photo(time=1, id="b", probabilities={"2": 0.9, "3": 0.1}),
        Stowed(time=1, quantity=2),
        Picked(time=1, quantity=1),
        Counted(time=0, count=2),
        Photo(time=1, id="a", probabilities={"2": 0.2, "3": 0.8}),
    ]
    told = [follow(chosen, SMALL) for chosen in (events, events[::-1], events[2:] + events[:2])]
    assert told[0] == told[1] == told[2]
    assert [(known.event, known.id) for known in told[0]] == [
        ("counted", None),
        ("picked", None),
        ("stowed", None),
        ("photo", "a"),
        ("photo", "b"),
    ]


def test_times_as_iso_and_as_seconds_go_together() -> None:
    events: list[AnyEvent] = [
        Counted(time="2026-11-20T10:00:00+02:00", count=4),
        Picked(time="2026-11-20T08:30:00", quantity=1),  # UTC
        Stowed(time="2026-11-20T07:00:00Z", quantity=2),
    ]
    assert [known.event for known in follow(events)] == ["stowed", "counted", "picked"]
    assert events[0].seconds - events[2].seconds == 3600.0


@given(shares(at_least=0.01), shares(at_least=0.05))
def test_the_first_photo_says_what_its_model_says_where_the_bin_is_of_the_models_world(
    probabilities: dict[str, float], prior: dict[str, float]
) -> None:
    site = msgspec.structs.replace(SURE, max_count=5, start=prior)
    [known] = follow([Photo(time=0, probabilities=probabilities, prior=prior)], site)
    total = sum(probabilities.values())
    assert known.probabilities[:2] == pytest.approx([probabilities["0"] / total, probabilities["1"] / total])
    assert sum(known.probabilities[2:]) == pytest.approx(probabilities["2+"] / total)


@settings(max_examples=30)
@given(shares(at_least=0.01), shares(at_least=0.01), st.lists(shares(at_least=0.05), min_size=3, max_size=3))
def test_a_pair_that_knows_no_more_than_its_photos_counts_as_these(
    first: dict[str, float], second: dict[str, float], table: list[dict[str, float]]
) -> None:
    """Nothing counts twice: a change model that merely multiplies its table by the new photo's word adds nothing."""
    change_prior = dict(zip(KEYS, table, strict=True))
    told = {new: second[new] for new in KEYS}  # the prior is even
    change = {old: {new: change_prior[old][new] * told[new] for new in KEYS} for old in KEYS}
    pair = Photo(
        time=2, id="b", probabilities=second, previous="a", change=change, change_prior=change_prior
    )  # rows are scaled to sum to 1 by their reader
    alone = Photo(time=2, id="b", probabilities=second)
    before: list[AnyEvent] = [Photo(time=0, id="a", probabilities=first), Picked(time=1, quantity=1)]
    site = FollowSettings(max_count=2)
    together, apart = History([*before, pair], site), History([*before, alone], site)
    assert together.posteriors()[-1].used == "change"
    assert together.posteriors()[-1].probabilities == pytest.approx(apart.posteriors()[-1].probabilities, abs=1e-9)
    assert together.judgements()[0].moved == pytest.approx(apart.judgements()[0].moved, abs=1e-9)


@given(shares(at_least=0.01))
def test_after_a_known_count_the_pairs_answer_stands_where_bins_move_as_its_table_says(row: dict[str, float]) -> None:
    site = msgspec.structs.replace(SURE, max_count=2, drift_per_event=0.4, start={"1": 1.0})
    before = Photo(time=0, id="a")
    table = dict(zip(KEYS, follow([before, Photo(time=1)], site)[-1].probabilities, strict=True))
    pair = Photo(time=1, id="b", previous="a", change={"1": row}, change_prior={"1": table})
    assert follow([before, pair], site)[-1].probabilities == pytest.approx(
        [row[key] / sum(row.values()) for key in KEYS]
    )


def seen_from_4(new: int, probabilities: dict[str, float] | None = None) -> Photo:
    """Photo "b": beside "a" and after 4 items it shows `new` of 3, 4 or 5, to a model of an even table."""
    row = {key: 0.96 if key == str(new) else 0.02 for key in "345"}
    even = dict.fromkeys("345", 1.0)
    return Photo(
        time=2, id="b", previous="a", change={"4": row}, change_prior={"4": even}, probabilities=probabilities or {}
    )


CARELESS = FollowSettings(transactions=TransactionErrors(nothing=0.02, one_off=0.02, twice=0.005))


def test_a_pair_tells_whether_a_pick_happened() -> None:
    before: list[AnyEvent] = [Counted(time=0, count=4), Photo(time=0, id="a"), Picked(time=1, quantity=1)]
    seen, still = seen_from_4(3), seen_from_4(4)
    unseen = History(before, CARELESS).judgements()[0].as_recorded
    assert History([*before, seen], CARELESS).judgements()[0].as_recorded > unseen > 0.9
    doubted = History([*before, still], CARELESS).judgements()[0]
    assert doubted.as_recorded < 0.6
    assert doubted.moved[0] > 0.3
    later = History([*before, still, Counted(time=3, count=4)], CARELESS).judgements()[0]
    assert later.as_recorded < 0.2  # the rest: it was picked, and something came in unrecorded
    assert later.most_probable == 0


@pytest.mark.parametrize(
    ("between", "used"),
    [
        ([], "change"),
        ([Picked(time=1, quantity=1), Counted(time=1, count=3)], "change"),
        ([Photo(time=1, id="late")], "photo"),
        ([Emptied(time=1)], "photo"),
        ([Replaced(time=1)], "photo"),
    ],
    ids=["neighbours", "transaction and count between", "photo between", "emptied", "replaced"],
)
def test_a_pair_speaks_only_of_neighbours_that_show_the_same_bin(between: list[AnyEvent], used: str) -> None:
    events: list[AnyEvent] = [
        Counted(time=0, count=4),
        Photo(time=0, id="a"),
        *between,
        seen_from_4(3, probabilities={"3": 0.8, "4": 0.2}),
    ]
    assert follow(events, msgspec.structs.replace(SURE, drift_per_event=0.01))[-1].used == used
    assert follow([*events[:-1], seen_from_4(3)])[-1].used == (used if used == "change" else None)


def test_a_late_photo_takes_the_place_of_the_pair_it_comes_between() -> None:
    history = History([Photo(time=0, id="a", probabilities={"3": 0.0, "4": 1.0})])
    pair = seen_from_4(3, probabilities={"3": 0.6, "4": 0.4})
    assert history.add(pair).used == "change"
    assert history.add(Photo(time=1, id="late", probabilities={"3": 0.1, "4": 0.9})).used == "photo"
    assert [known.id for known in history.posteriors()] == ["a", "late", "b"]


def test_a_counted_bin_is_known_and_a_miscount_can_be_outweighed() -> None:
    photos = [Photo(time=time, probabilities={"1": 0.3, "2": 0.5, "3": 0.2}) for time in range(3)]
    known = follow([*photos, Counted(time=9, count=3)])[-1]
    assert known.count == 3
    assert known.probability > 0.9
    many = [Photo(time=10 + time, probabilities={"2": 0.97, "3": 0.03}) for time in range(5)]
    assert follow([*photos, Counted(time=9, count=3), *many])[-1].count == 2


def test_an_emptied_bin_holds_nothing_and_a_replaced_one_is_unknown() -> None:
    events: list[AnyEvent] = [Counted(time=0, count=5), Emptied(time=1), Stowed(time=2, quantity=2), Replaced(time=3)]
    _, emptied, stowed, replaced = follow(events, SURE)
    assert emptied.probability_of(0) == 1.0
    assert stowed.probability_of(2) == 1.0
    assert replaced.probabilities == pytest.approx(kernels.start_c({}, SURE))
    [*_, known] = follow([*events, Replaced(time=4, start={"1": 1.0, "2": 3.0})], SURE)
    assert known.probabilities[:4] == pytest.approx([0.0, 0.25, 0.75, 0.0])
    doubtful = follow(events[:2])[-1]
    assert doubtful.probability_of(5) == pytest.approx(FollowSettings().not_emptied, rel=0.02)


def test_what_nobody_looks_at_becomes_unknown() -> None:
    touched: list[AnyEvent] = [Counted(time=0, count=4), *(Photo(time=time) for time in range(1, 30))]
    sure = [known.probability for known in follow(touched)]
    assert all(later < earlier for earlier, later in pairwise(sure))
    assert sure[-1] < 0.9
    waited: list[AnyEvent] = [Counted(time=0, count=4), Photo(time=86_400.0 * 30)]
    assert follow(waited, FollowSettings(drift_per_day=0.02))[-1].probability < 0.6 < follow(waited)[-1].probability


def test_a_pick_says_that_the_bin_held_what_was_picked() -> None:
    known = follow([Picked(time=0, quantity=3)], SURE)
    start = kernels.start_c({}, SURE)
    assert known[0].probabilities[:27] == pytest.approx(start[3:30] / start[3:].sum(), abs=1e-3)
    [judgement] = History([Counted(time=0, count=2), Picked(time=1, quantity=3)], CARELESS).judgements()
    assert judgement.as_recorded < 0.2  # the rest: it was miscounted
    assert judgement.most_probable in {0, -2}


def test_the_open_top_is_spread_by_the_tail_alone() -> None:
    """A photo that says 6+ can't tell 6 from 9: between them the start's mix stays as it was."""
    [known] = follow([Photo(time=0, probabilities={"5": 0.1, "6+": 0.9})], msgspec.structs.replace(SURE, tail=0.5))
    assert known.probabilities[7] / known.probabilities[6] == pytest.approx(0.5)
    assert known.probabilities[12] / known.probabilities[11] == pytest.approx(0.5)


def test_a_count_the_photo_was_not_asked_about_is_neither_raised_nor_lowered() -> None:
    [known] = follow([Photo(time=0, probabilities={"1": 0.5, "2": 0.5})], FollowSettings(max_count=3))
    assert known.probabilities == pytest.approx([0.25] * 4)


def test_a_photo_taken_from_a_model_that_answers_for_its_own_mix_moves_the_bins_mix_as_much() -> None:
    """An answer equal to the mix it was corrected to is no evidence at all."""
    prior = {"1": 0.6, "2": 0.3, "3": 0.1}
    told = follow([Photo(time=0, probabilities=prior, prior=prior)], SMALL)[0].probabilities
    assert told == pytest.approx(kernels.start_c({}, SMALL))


def test_contradictions_are_errors_only_where_no_error_is_allowed_for() -> None:
    events: list[AnyEvent] = [Counted(time=0, count=2), Counted(time=1, count=3)]
    with pytest.raises(DataError, match="counted at 1: it contradicts everything before it") as caught:
        follow(events, SURE)
    assert "count_error" in caught.value.hint
    assert follow(events)[-1].probability_of(3) > 0.3
    history = History(events[:1], SURE)
    with pytest.raises(DataError, match="contradicts"):
        history.add(events[1])
    assert history.events == (events[0],)
    assert history.add(Stowed(time=2, quantity=1)).count == 3
    with pytest.raises(DataError, match=r"stowed at 2: it contradicts|counted at 1: it contradicts"):
        history.add(events[1])
    assert [known.count for known in history.posteriors()] == [2, 3]


def test_a_count_that_the_start_rules_out_can_come_true() -> None:
    site = FollowSettings(start={"1": 0.5, "2": 0.5})
    assert follow([Counted(time=0, count=7), Counted(time=1, count=7)], site)[-1].count == 7


def test_a_certain_but_wrong_photo_does_not_end_the_history() -> None:
    events: list[AnyEvent] = [Counted(time=0, count=2), Photo(time=1, probabilities={"0": 0.0, "2": 0.0, "4": 1.0})]
    assert follow(events, FollowSettings(drift_per_event=0.0, count_error=0.001))[-1].probability_of(2) > 0.3


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (Counted(time=0, count=31), "31 items are more than max_count, 30"),
        (Stowed(time=0, quantity=40), "40 items are more than max_count"),
        (Photo(time=0, probabilities={"1": 0.5, "31": 0.5}), "31 items are more"),
        (Replaced(time=0, start={"99+": 1.0}), "99 items are more"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_counts_above_the_largest_are_errors_that_say_so(event: AnyEvent, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        follow([event])
    assert "max_count" in caught.value.hint


def test_an_event_delivered_twice_counts_once() -> None:
    pick = Picked(time=1, id="m-17", quantity=1)
    twin = msgspec.structs.replace(pick)
    counted = Counted(time=0, count=4)
    assert follow([counted, pick, twin]) == follow([counted, pick])
    history = History([counted, pick])
    assert history.add(twin) == history.posteriors()[-1]
    with pytest.raises(DataError, match="Two different events have the id 'm-17'"):
        history.add(msgspec.structs.replace(pick, quantity=2))
    assert len(history.events) == 2


def test_a_thousand_events_stay_exact_to_the_end() -> None:
    chance = random.Random(4)
    events: list[AnyEvent] = []
    count = 4
    for time in range(1000):
        moved = chance.choice([-1, 1]) if 0 < count < 8 else (1 if count == 0 else -1)
        if time % 2:
            count += moved
            events.append(Transaction(time=time, quantity=moved))
        else:
            sure = {key: 0.9 if int(key) == count else 0.0125 for key in "012345678"}
            events.append(Photo(time=time, id=str(time), probabilities=sure))
    history = History(events)
    posteriors, looking_back = history.posteriors(), history.looking_back()
    assert all(math.isclose(sum(known.probabilities), 1.0, abs_tol=1e-9) for known in posteriors + looking_back)
    assert posteriors[-1].count == count
    assert math.isfinite(history.log_evidence)
    assert min(judgement.as_recorded for judgement in history.judgements()) > 0.9
    # The last events decide: the end is that of a history without what lies far behind.
    assert posteriors[-1].probabilities == pytest.approx(follow(events[-60:])[-1].probabilities, abs=1e-6)


class _World:
    """A bin that lives as the settings say, with photos that read its count one off now and then."""

    def __init__(self, site: FollowSettings, seed: int) -> None:
        self.site, self._chance = site, np.random.default_rng(seed)
        near_cc = np.array([0.6, 0.2, 0.03])[np.minimum(np.abs(np.subtract.outer(range(7), range(7))), 2)]
        self._seen_cc = near_cc / near_cc.sum(axis=1, keepdims=True)  # P(seen | count)

    def live(self) -> tuple[list[AnyEvent], list[int], list[int]]:
        """Events, the true count after each of them, and what really moved at each transaction."""
        while True:  # a bin that would have to give what it does not hold is no bin
            lived = self._live()
            if lived is not None:
                return lived

    def _live(self) -> tuple[list[AnyEvent], list[int], list[int]] | None:
        count = self._draw(kernels.start_c(self.site.start, self.site))
        events: list[AnyEvent] = []
        counts, moves = [], []
        for time in range(8):
            if time and self._chance.random() < self.site.drift_per_event:
                count = self._draw(kernels.jumps(6, self.site.drift_size)[count])
            if time % 2:
                quantity = int(self._chance.choice([-1, -1, 1, 2]))
                share = kernels.moves(quantity, self.site.transactions, 6)[count]
                moved = self._draw(np.append(share, max(0.0, 1.0 - share.sum())))
                if moved == len(share):
                    return None
                moves.append(moved - 6)
                count = min(count + moves[-1], 6)
                events.append(Transaction(time=time, quantity=quantity))
            else:
                told = self._seen_cc[:, self._draw(self._seen_cc[count])]
                events.append(Photo(time=time, probabilities=dict(zip("0123456", told.tolist(), strict=True))))
            counts.append(count)
        return events, counts, moves

    def _draw(self, shares: kernels.Floats) -> int:
        return int(self._chance.choice(len(shares), p=shares / shares.sum()))


def test_in_simulated_bins_a_probability_means_what_it_says() -> None:
    """Of what the filter is x% sure of, x% come true, in a world with the very rates that it is told."""
    site = FollowSettings(
        max_count=6,
        start={"1": 1.0, "2": 1.0, "3": 1.0},
        misleading=0.0,
        drift_per_event=0.05,
        transactions=TransactionErrors(nothing=0.15, one_off=0.1),
    )
    world = _World(site, seed=7)
    claims: dict[str, list[tuple[float, bool]]] = {"count": [], "looking back": [], "as recorded": []}
    for _ in range(250):
        events, counts, moves = world.live()
        history = History(events, site)
        for name, told in (("count", history.posteriors()), ("looking back", history.looking_back())):
            claims[name] += [(known.probability, known.count == true) for known, true in zip(told, counts, strict=True)]
        claims["as recorded"] += [
            (each.as_recorded, each.recorded == moved) for each, moved in zip(history.judgements(), moves, strict=True)
        ]
    for name, pairs in claims.items():
        sure, right = np.array(sorted(pairs), float).T
        for part in np.array_split(np.arange(len(sure)), 3):  # the unsure, the middling, the sure
            assert abs(sure[part].mean() - right[part].mean()) < 0.05, name
    accuracy = {name: np.mean([right for _, right in pairs]) for name, pairs in claims.items()}
    assert accuracy["looking back"] > accuracy["count"] > 0.5


def test_a_posterior_is_a_record_that_cannot_change() -> None:
    known = Posterior("photo", 0.0, None, "photo", (0.1, 0.6, 0.3), 0.8)
    assert (known.count, known.probability) == (1, 0.6)
    assert known.expected_count == pytest.approx(1.2)
    assert known.count_set == (1, 2)
    assert known.set_of(0.5) == (1,)
    assert (known.probability_of(2), known.probability_of(3), known.probability_of(-1)) == (0.3, 0.0, 0.0)
    with pytest.raises(AttributeError, match="immutable"):
        known.event = "counted"  # type: ignore[misc]


def test_a_models_matrix_becomes_the_rows_of_an_event() -> None:
    matrix = np.array([[0.2, 0.8], [0.7, 0.3]])
    assert change_shares(matrix, ("1", "2+")) == {"1": {"1": 0.2, "2+": 0.8}, "2+": {"1": 0.7, "2+": 0.3}}


def test_nothing_to_follow() -> None:
    assert follow([]) == []
    assert History().judgements() == []
