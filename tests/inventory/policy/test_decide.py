"""What is accepted, what is not, and why."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import ConfigError, DataError
from bintally.inventory.policy.cases import Bar, draw_of
from bintally.inventory.policy.decide import Policy, drawn
from bintally.inventory.policy.settings import ErrorMix, PolicySettings
from bintally.inventory.policy.words import verdict_of
from tests.inventory.policy.cases import acceptance, cases, sure_of


def policy(**settings: Any) -> Policy:
    return Policy(PolicySettings.of(settings), acceptance())


def outcome(of: Policy, shares: Any, recorded: int, **known: Any) -> str:
    return verdict_of(of.decide(cases(shares, recorded, **known)), 0).outcome


def test_a_record_the_photo_shows_is_accepted_and_another_called_wrong() -> None:
    verdict = verdict_of(policy().decide(cases(sure_of(3), 3)), 0)
    assert (verdict.outcome, verdict.count, verdict.promised, verdict.kind) == ("match", 3, 0.02, "photo")
    assert verdict.right is not None
    assert verdict.prior_right is not None
    assert verdict.right > verdict.prior_right
    assert "the photo shows 3 (97%), 3 recorded" in verdict.reasons
    wrong = verdict_of(policy().decide(cases(sure_of(3, 0.9999), 2)), 0)
    assert (wrong.outcome, wrong.count) == ("mismatch", 3)
    assert outcome(policy(), np.full(7, 1 / 7), 3) == "uncertain"


@pytest.mark.parametrize("bar", [Bar.NO_BIN, Bar.UNCOUNTABLE, Bar.UNREADABLE, Bar.NO_PHOTO])
def test_what_bars_a_record_is_never_overruled(bar: Bar) -> None:
    for recorded in (3, 2):
        verdict = verdict_of(policy().decide(cases(sure_of(3), recorded, bar=bar)), 0)
        assert verdict.outcome == "uncertain"
        assert verdict.score is None


def test_stale_records_are_not_judged() -> None:
    assert outcome(policy(), sure_of(3), 3, bar=Bar.STALE) == "stale"


def test_kinds_without_calibration_are_never_accepted() -> None:
    verdict = verdict_of(policy().decide(cases(sure_of(3), 3, kind="followed")), 0)
    assert verdict.outcome == "uncertain"
    assert any("bintally policy fit" in reason for reason in verdict.reasons)
    assert outcome(Policy(PolicySettings(), None), sure_of(3), 3) == "uncertain"
    assert outcome(policy(), sure_of(3), 3, kind="none") == "uncertain"


def test_records_in_an_open_top_are_not_accepted_however_rarely_records_are_wrong() -> None:
    found = verdict_of(policy().decide(cases(sure_of(9, 0.9999), 9, wrong=0.0001)), 0)
    assert found.outcome == "uncertain"
    assert "can't be told from other counts of 6+" in found.reasons[1]


def test_where_many_records_are_wrong_nothing_is_accepted() -> None:
    verdict = verdict_of(policy(promised_escape=0.001).decide(cases(sure_of(3), 3, wrong=0.9)), 0)
    assert (verdict.outcome, verdict.threshold) == ("uncertain", None)


def test_a_record_that_follows_from_the_history_needs_the_photo_to_speak() -> None:
    history = sure_of(3)
    assert outcome(policy(), history, 3, prior=history) == "match"
    assert outcome(policy(), history, 3, prior=history, derived=True) == "uncertain"
    assert outcome(policy(), sure_of(3, 0.9999), 3, prior=sure_of(3, 0.9), derived=True) == "match"
    found = policy().decide(cases(history, 3, prior=sure_of(3, 0.6), derived=True))
    assert found.prior_right_n[0] == pytest.approx(0.6)


def test_a_record_that_follows_is_wrong_more_often_where_such_records_were_found_wrong() -> None:
    guess = PolicySettings().wrong_records
    told = [
        policy().decide(cases(sure_of(3), 3, prior=sure_of(3, 0.9), derived=True, wrong=guess * times)).prior_right_n[0]
        for times in (0.5, 1.0, 2.0, 9.0)
    ]
    assert told == pytest.approx([0.9474, 0.9, 0.8182, 0.5], abs=1e-3)


def test_a_count_behind_an_open_top_that_the_history_knows_is_neither_accepted_nor_called_wrong() -> None:
    many = sure_of(6)
    verdict = verdict_of(policy().decide(cases(many, 8, prior=many, derived=True, said=0.97)), 0)
    assert verdict.outcome == "uncertain"
    assert verdict.prior_right == pytest.approx(0.97)


def test_tolerance_is_the_strictest_that_is_given() -> None:
    settings = {"tolerance": {"A": {"units": 2, "percent": 50.0, "value": 3.0}}}
    found = policy(**settings).decide(cases(sure_of(3), 4, value=3.0))
    assert found.tolerance_n.tolist() == [1]
    assert verdict_of(found, 0).outcome == "match"
    assert policy(**settings).decide(cases(sure_of(3), 4, value=4.0)).tolerance_n.tolist() == [0]
    assert policy(**settings).decide(cases(sure_of(3), 4)).tolerance_n.tolist() == [0]
    assert policy(**settings).decide(cases(sure_of(3), 1, value=1.0)).tolerance_n.tolist() == [0]
    assert outcome(policy(tolerance={"A": {"units": 3}}), sure_of(3), 3) == "uncertain"


def test_promise_is_the_strictest_of_class_and_value() -> None:
    settings = {
        "promised_escape_by_class": {"A": 0.01},
        "value_bands": [{"above": 100.0, "promised_escape": 0.005}],
    }
    known = policy(**settings)
    assert known.decide(cases(sure_of(3), 3, value=1.0)).promised_n[0] == 0.01
    assert known.decide(cases(sure_of(3), 3, value=1.0, abc_class=1)).promised_n[0] == 0.02
    assert known.decide(cases(sure_of(3), 3, value=50.0, abc_class=1)).promised_n[0] == 0.005
    assert known.decide(cases(sure_of(3), 3, abc_class=1)).promised_n[0] == 0.005  # of unknown value


def test_bands_that_promise_less_for_more_value_are_refused() -> None:
    bands = [{"above": 10.0, "promised_escape": 0.01}, {"above": 20.0, "promised_escape": 0.02}]
    with pytest.raises(ConfigError, match="promises less"):
        PolicySettings.of({"value_bands": bands})


def test_valuable_corrections_need_two_people() -> None:
    known = policy(second_approval_above=10.0)
    assert known.decide(cases(sure_of(5), 2, value=4.0)).second_approval_n[0]
    assert not known.decide(cases(sure_of(5), 2, value=3.0)).second_approval_n[0]
    assert known.decide(cases(sure_of(5), 2)).second_approval_n[0]  # of unknown worth
    assert not known.decide(cases(sure_of(5), 5, value=100.0)).second_approval_n[0]


def test_a_share_of_the_accepted_is_recounted_blindly() -> None:
    found = policy(recount_share=0.1).decide(cases(np.tile(sure_of(3), (1000, 1)), [3] * 500 + [2] * 500))
    assert found.blind_recount_n.sum() in (100, 101)  # draws are even, and the accepted ones the lower half
    assert not found.blind_recount_n[500:].any()
    assert draw_of("case 1") == draw_of("case 1") != draw_of("case 2")
    share = drawn(np.array([draw_of(str(n)) for n in range(20_000)], np.uint64), 0.02).mean()
    assert 0.015 < share < 0.025


def test_a_file_for_other_errors_is_refused() -> None:
    with pytest.raises(ConfigError, match="acceptance file is for the errors"):
        Policy(PolicySettings(errors=ErrorMix(one=1.0, two=0.0, anything=0.1)), acceptance())


def test_the_same_mix_in_percent_is_the_same() -> None:
    """Once 60, 35 and 5 were another mix than 0.6, 0.35 and 0.05, though shares are scaled."""
    percent = {name: 100.0 * share for name, share in ErrorMix().model_dump().items()}
    assert outcome(policy(errors=percent), sure_of(3), 3) == "match"


def test_rows_that_do_not_fit_are_refused() -> None:
    known = cases(sure_of(3), 3)
    with pytest.raises(DataError, match="wrong_n"):
        type(known)(**(vars(known) | {"wrong_n": np.zeros(2)}))


def test_no_case_is_no_decision() -> None:
    assert len(policy().decide(cases(sure_of(3), 3).rows(slice(0, 0)))) == 0


def test_many_at_once_are_decided_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(7, 0.3), 70_000)
    recorded = rng.integers(0, 9, 70_000)
    found = policy().decide(cases(shares, recorded))
    for n in (0, 65_535, 65_536, 69_999):
        alone = policy().decide(cases(shares[n], int(recorded[n])))
        assert alone.outcome_n[0] == found.outcome_n[n]
        assert alone.score_n[0] == pytest.approx(found.score_n[n])


@given(
    st.integers(0, 5),
    st.integers(0, 2**32 - 1),
    st.floats(1.0, 100.0),
    st.floats(0.001, 0.3),
    st.floats(1.0, 10.0),
    st.booleans(),
)
def test_more_evidence_never_accepts_a_worse_record(
    record: int, seed: int, times: float, wrong: float, lower: float, derived: bool
) -> None:
    """Whoever is accepted stays so with more probability, at a lower rate of wrong records, and at a laxer promise."""
    shares = np.random.default_rng(seed).dirichlet(np.full(7, 0.3))
    more = shares.copy()
    more[record] *= times
    more /= more.sum()
    strict, lax = policy(promised_escape=0.02), policy(promised_escape=0.05)

    def accepted(of: Policy, row: Any, rate: float) -> bool:
        return outcome(of, row, record, wrong=rate, derived=derived) == "match"

    if accepted(strict, shares, wrong):
        assert accepted(strict, more, wrong)
        assert accepted(strict, shares, wrong / lower)
        assert accepted(lax, shares, wrong)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1e4), st.floats(1.0, 100.0), st.integers(0, 2))
def test_more_value_never_accepts_more(seed: int, value: float, times: float, abc_class: int) -> None:
    known = policy(
        promised_escape_by_class={"A": 0.01, "C": 0.05},
        value_bands=[{"above": 50.0, "promised_escape": 0.01}, {"above": 1000.0, "promised_escape": 0.001}],
    )
    rng = np.random.default_rng(seed)
    shares, recorded = rng.dirichlet(np.full(7, 0.2), 20), rng.integers(0, 6, 20)
    cheap, dear = (
        known.decide(cases(shares, recorded, value=worth, abc_class=abc_class)).outcome_n == 0
        for worth in (value, value * times)
    )
    assert not (dear & ~cheap).any()
