"""What is in a rendered bin and how it changes: drawn from the knobs, from nothing that gives the count away."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.data.rendered.scene import Moment, least_visible, rng_of, timeline
from bintally.data.rendered.settings import RenderSettings

KNOBS = RenderSettings()
LONG = RenderSettings(photos_per_bin_weights=(0, 0, 0, 0, 0, 0, 0, 1))


def bins(number: int, knobs: RenderSettings = KNOBS, seed: int = 0) -> list[list[Moment]]:
    return [list(timeline(index, seed=seed, settings=knobs)) for index in range(number)]


def test_random_numbers_of_different_paths_differ() -> None:
    """NumPy pads short seeds with zeros: (1, 2) and (1, 2, 0) once were the same stream."""
    assert rng_of(1, 2).random() != rng_of(1, 2, 0).random()
    assert rng_of(1, 2).random() == rng_of(1, 2).random()


@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(0, 12), min_size=1, max_size=4), seed=st.integers(0, 2**32))
def test_a_bin_holds_what_it_is_told_to(counts: list[int], seed: int) -> None:
    moments = list(timeline(0, seed=seed, settings=KNOBS, counts=counts))
    assert [moment.count for moment in moments] == counts
    for moment in moments:
        keys = [place.item.key for place in moment.placed]
        assert len(set(keys)) == len(keys)
        assert [place.depth for place in moment.placed] == sorted(place.depth for place in moment.placed)
        left, _, right, _ = moment.cell.opening
        assert all(left - 40 < place.x < right + 40 for place in moment.placed)


def test_first_counts_follow_their_weights() -> None:
    seen = Counter(next(timeline(index, seed=1, settings=KNOBS)).count for index in range(300))
    weights = np.array(KNOBS.count_weights) / sum(KNOBS.count_weights)
    expected = weights * 300
    spread = 4 * np.sqrt(expected * (1 - weights))
    assert all(abs(seen[count] - mean) <= four for count, (mean, four) in enumerate(zip(expected, spread, strict=True)))


def test_counts_change_by_the_steps_allowed_and_mostly_by_a_pick_of_one() -> None:
    drawn = bins(30, LONG)
    steps = Counter(
        after.count - before.count
        for moments in drawn
        for before, after in pairwise(moments)
        if before.count >= 3  # where every step is possible
    )
    assert set(steps) <= set(KNOBS.step_weights)
    assert 0.3 < steps[-1] / steps.total() < 0.7  # its weight is 0.5
    assert all(0 <= moment.count <= KNOBS.max_count for moments in drawn for moment in moments)


def test_items_that_stay_keep_their_look_and_mostly_their_place() -> None:
    moved, kept = [], 0
    calm = LONG.model_copy(update={"rearranged_rate": 0.0})
    for moments in bins(30, calm):
        for before, after in pairwise(moments):
            old = {place.item.key: place for place in before.placed}
            for place in after.placed:
                if place.item.key in old:
                    kept += 1
                    assert place.item == old[place.item.key].item
                    moved.append(abs(place.x - old[place.item.key].x) / moments[0].cell.width_px)
    assert kept > 200
    assert np.median(moved) < 0.03
    assert np.min(moved) > 0  # nothing stands still to the pixel


def test_what_is_in_a_bin_does_not_depend_on_how_much_is_in_it() -> None:
    """Kinds, sizes and colours of items in bins of 1-2 and of 5-10 are alike: a model can't count by recognising."""
    few = [
        moment for index in range(300) for moment in timeline(index, seed=2, settings=KNOBS, counts=(1 + index % 2,))
    ]
    many = [
        moment for index in range(120) for moment in timeline(index, seed=3, settings=KNOBS, counts=(5 + index % 6,))
    ]
    for feature in (_is_box, _is_bag, _area, _redness):
        a, b = (np.array([feature(m, i) for m in group for i in range(len(m.wares))]) for group in (few, many))
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) < 4 * error


def _is_box(moment: Moment, ware: int) -> float:
    return moment.wares[ware].kind == "box"


def _is_bag(moment: Moment, ware: int) -> float:
    return moment.wares[ware].kind == "bag"


def _area(moment: Moment, ware: int) -> float:
    wide, high = moment.wares[ware].face_inches
    left, top, right, bottom = moment.cell.opening
    return float(wide * high * moment.cell.px_per_inch**2 / ((right - left) * (bottom - top)))


def _redness(moment: Moment, ware: int) -> float:
    red, green, _ = moment.wares[ware].colours[0]
    return red - green


def test_full_bins_are_arranged_so_that_everything_can_be_seen_a_little() -> None:
    worst = [
        least_visible(m.placed, m.cell) for i in range(40) for m in timeline(i, seed=5, settings=KNOBS, counts=(7,))
    ]
    assert np.mean(np.array(worst) >= KNOBS.min_visible_share) > 0.9


def test_several_units_of_a_product_and_several_products_share_bins() -> None:
    firsts = [next(timeline(index, seed=6, settings=KNOBS, counts=(4,))) for index in range(60)]
    products = Counter(len({place.item.ware for place in moment.placed}) for moment in firsts)
    assert set(products) == {1, 2, 3, 4}
    assert products[2] + products[3] > 30
