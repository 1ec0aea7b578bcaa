import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.inventory.kpi.figures import figures_of
from bintally.inventory.kpi.shares import Looked, measured, wrong_records
from bintally.inventory.policy.settings import Costs
from tests.inventory.kpi.worlds import simulated

WORLDS = 200
FIGURES = ("ira", "escape", "escape_of_wrong", "false_alarms", "money")


@pytest.mark.parametrize(
    "kind",
    [
        {"checked_share": 0.02},
        {"checked_share": 0.05},
        {"checked_share": 0.1},
        {"checked_share": 0.03, "mixed_chances": True},
        {"checked_share": 0.05, "per_bin": 3},
        {"checked_share": 0.05, "looked_share": 0.5},
        {"checked_share": 0.05, "wrong_share": 0.01},
        {"checked_share": 0.02, "wrong_share": 0.2},
    ],
    ids=str,
)
def test_intervals_hold_the_truth_in_about_95_of_100_worlds(kind: dict[str, float]) -> None:
    held: dict[str, list[bool]] = {name: [] for name in FIGURES}
    for seed in range(WORLDS):
        cases, truth = simulated(seed, **kind)  # type: ignore[arg-type]
        found = figures_of("all", cases, until_s=7200, costs=Costs(), has_money=True, seed=seed)
        assert found.value is not None
        for name in FIGURES:
            figure = found.value.money if name == "money" else getattr(found, name)
            if figure.low is not None and figure.high is not None:
                held[name].append(figure.low - 1e-9 <= getattr(truth, name) <= figure.high + 1e-9)
    for name, hits in held.items():
        assert len(hits) > 0.98 * WORLDS
        assert np.mean(hits) >= 0.91, name  # 3 standard errors of 200 worlds below 95%


def test_the_raw_accuracy_of_the_counted_misses_what_the_weighted_one_holds() -> None:
    """The doubtful are always looked at and the accepted seldom, so counting the counted makes a site look bad."""
    off, raw_off = [], []
    for seed in range(40):
        cases, truth = simulated(seed)
        found = figures_of("all", cases, until_s=7200, costs=None, has_money=True)
        assert found.ira.value is not None and found.ira_counted.high is not None
        off.append(found.ira.value - truth.ira)
        raw_off.append(found.ira_counted.high < truth.ira)
    assert abs(np.mean(off)) < 0.003
    assert all(raw_off)


def test_a_stratum_of_which_all_is_known_has_no_interval() -> None:
    looked = Looked(4, np.array([True, False, False, False]), np.ones(4), np.arange(4))
    found = wrong_records(looked, np.random.default_rng(0))
    assert found.value == 1.0
    assert set(found.drawn_d) == {1.0}


def test_of_many_checks_without_a_find_the_upper_end_is_not_zero() -> None:
    """A bootstrap of 100 right ones is always 0: the rule of three says up to 3%."""
    looked = Looked(5000, np.zeros(100, np.bool_), np.full(100, 0.02), np.arange(100))
    found = wrong_records(looked, np.random.default_rng(0))
    figure = measured(found.value / 5000, found.drawn_d / 5000, of=5000, seen=100)
    assert (figure.value, figure.low) == (0.0, 0.0)
    assert figure.high is not None and 0.015 < figure.high < 0.035


def test_records_of_one_bin_say_less_than_as_many_of_several() -> None:
    wrong = np.tile([True] * 5 + [False] * 45, 4)
    apart = wrong_records(Looked(5000, wrong, np.full(200, 0.04), np.arange(200)), np.random.default_rng(0))
    together = wrong_records(Looked(5000, wrong, np.full(200, 0.04), np.arange(200) // 5), np.random.default_rng(0))
    assert together.value == apart.value
    assert together.drawn_d.std() > 1.5 * apart.drawn_d.std()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.01, 1.0), st.integers(0, 5)), min_size=1, max_size=40),
    st.integers(0, 500),
)
def test_estimates_stay_within_what_is_possible(looks: list[tuple[bool, float, int]], unseen: int) -> None:
    wrong, chances, bins = (np.array(column) for column in zip(*looks, strict=True))
    records = len(looks) + unseen
    found = wrong_records(Looked(records, wrong, chances, bins), np.random.default_rng(0), draws=200)
    least, most = wrong.sum(), wrong.sum() + unseen
    assert least - 1e-9 <= found.value <= most + 1e-9
    assert least <= found.drawn_d.min() <= found.drawn_d.max() <= most
