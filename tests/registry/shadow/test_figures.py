"""What pairs tell without labels."""

import msgspec
import pytest

from bintally.bundle import Figure
from bintally.registry.shadow.figures import ByCount, agreement, figures_of
from bintally.registry.shadow.pairs import Begun, Told
from tests.registry.shadow.made import MORNING, kept, pair, told


def within(figure: Figure | None) -> Figure:
    assert figure is not None
    assert figure.low <= figure.value <= figure.high
    return figure


def test_no_pairs_are_figures_too() -> None:
    found = figures_of(kept(), challenger="m/2", champion="m/1")
    assert (found.pairs, found.agreement, found.since, found.slower, found.by_count) == (0, None, None, None, ())
    assert found.sentence == "m/2 and m/1 have counted no live photo together."
    msgspec.json.encode(found)


def test_the_figures_of_a_few_pairs_are_what_one_counts_by_hand() -> None:
    no_bin = told(3, abstain="does not look like a bin")
    pairs = [
        pair(1, told(2), told(2), recorded_count=2),
        pair(2, told(2), told(3), recorded_count=3),
        pair(3, told(4, sure=0.4), told(4, sure=0.9), recorded_count=9),
        pair(4, no_bin, no_bin),
        pair(5, told(1), no_bin, dropped=4),
        pair(6, told(1), Told(error="it fell over")),
    ]
    begun = tuple(
        Begun(at=MORNING, service="s", challenger="m/2", champion="m/1", challenger_ms=ms, champion_ms=2.0)
        for ms in (2.0, 3.0, 10.0, None)
    )
    found = figures_of(kept(*pairs, begun=begun), challenger="m/2", champion="m/1")
    assert (found.pairs, found.bins, found.failed, found.dropped, found.not_taken) == (6, 6, 1, 4, (3, 1))
    assert within(found.agreement).value == pytest.approx(3 / 6)
    assert within(found.as_recorded).value == pytest.approx(1 / 3)
    assert found.recorded == 3
    assert within(found.sure).value == pytest.approx(0.5 / 3)
    assert within(found.distance).value == pytest.approx((0 + 0.65 + 0.5) / 3)
    assert found.slower == 1.5
    assert found.by_count[1] == ByCount(count="1", photos=2, agree=0, challenger={"-": 2})
    assert found.by_count[2] == ByCount(count="2", photos=2, agree=1, challenger={"2": 1, "3": 1})
    assert found.sentence.startswith("m/2 agrees with m/1 on 50.0%")


def test_models_that_never_differed_yet_are_not_taken_for_the_same() -> None:
    few = within(agreement([pair(number, told(1), told(1)) for number in range(20)]))
    assert few.value == 1.0
    assert few.low < 0.9


def test_many_photos_of_one_bin_are_no_more_evidence_than_one() -> None:
    apart = within(agreement([pair(number, told(1), told(1 + number % 2)) for number in range(100)]))
    one_bin = within(agreement([pair(number, told(1), told(1 + number % 2), bin="B") for number in range(100)]))
    assert one_bin.value == apart.value
    assert one_bin.high - one_bin.low > 2 * (apart.high - apart.low)


def test_models_that_always_differ_have_an_interval() -> None:
    assert within(agreement([pair(number, told(1), told(2)) for number in range(50)])).value == 0.0
