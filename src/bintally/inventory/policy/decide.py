"""Which records are accepted without a person: many cases at once.

A record is accepted if its score (`scores`) reaches the threshold (`acceptance`) that keeps what is promised for its
value and ABC class at the rate at which such records are wrong. By construction a higher score, a lower rate or a laxer
promise never takes an acceptance back, and a higher value never gives one.

What bars a record is not overruled by any score: no bin in the photo, uncountable, unreadable, no photo, stale. Nor are
records accepted that lie in an open top such as "6+", whose counts no photo tells apart, or above all counts.

Shapes: N cases, K count keys.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bintally.errors import ConfigError
from bintally.inventory.policy import scores
from bintally.inventory.policy.acceptance import TOLERANCES, Acceptance, Thresholds
from bintally.inventory.policy.cases import CLASSES, KINDS, Bar, Cases, Decisions
from bintally.inventory.policy.settings import PolicySettings, ToleranceOfClass
from bintally.inventory.verdict import OUTCOMES

_AT_ONCE: Final = 1 << 16  # cases: a few tens of MB at a time
_MATCH, _MISMATCH, _UNCERTAIN, _STALE = (OUTCOMES.index(name) for name in ("match", "mismatch", "uncertain", "stale"))
_RATES: Final = (1e-6, 1.0 - 1e-6)


class Policy:
    """Settings and what was calibrated, ready to judge.

    `acceptance` None, or one that lacks a kind of evidence: no such record is accepted.

    Raises:
        ConfigError: the acceptance file was made for another mix of errors than the settings have.
    """

    def __init__(self, settings: PolicySettings, acceptance: Acceptance | None) -> None:
        if acceptance is not None and not acceptance.error_mix.is_like(settings.errors):
            raise ConfigError(
                f"The acceptance file is for the errors {acceptance.errors}, the settings have "
                f"{settings.errors.model_dump()}.",
                hint="Run `bintally policy fit --settings FILE` with these settings.",
            )
        self.settings = settings
        self.acceptance = acceptance
        self._thresholds: dict[tuple[str, bool, int], Thresholds] = {}
        if acceptance is not None:
            for table in acceptance.tables:
                known = Thresholds(acceptance.thresholds, table, settings.confidence)
                self._thresholds[table.kind, table.derived, table.tolerance] = known

    def decide(self, cases: Cases) -> Decisions:
        """Judges all of `cases`."""
        parts = [self._decide(cases.rows(slice(start, start + _AT_ONCE))) for start in range(0, len(cases), _AT_ONCE)]
        parts = parts or [self._decide(cases)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Decisions(cases=cases, settings=self.settings, **joined)

    def _decide(self, cases: Cases) -> dict[str, NDArray[Any]]:
        wrong_n = np.clip(np.nan_to_num(cases.wrong_n.astype(np.float64), nan=1.0), *_RATES)
        promised_n, tolerance_n = promised(self.settings, cases), tolerances(self.settings, cases)
        score_n, prior_right_n, apart_n = _scored(cases, wrong_n, tolerance_n, self.settings)
        rate_n = rates(cases, wrong_n, prior_right_n)
        threshold_n, calibrated_n = self._threshold(cases, promised_n, rate_n, tolerance_n)
        right_n = _sigmoid(score_n + _logit(1.0 - rate_n))
        seen_n = np.isin(cases.bar_n, (Bar.NONE, Bar.STALE)) & (cases.kind_n > 0)
        free_n = (cases.bar_n == Bar.NONE) & seen_n
        match_n = free_n & calibrated_n & apart_n & (score_n >= threshold_n)
        mismatch_n = free_n & calibrated_n & ~match_n & (right_n <= 1.0 - self.settings.mismatch_at)
        outcome_n = np.full(len(cases), _UNCERTAIN, np.uint8)
        outcome_n[match_n], outcome_n[mismatch_n] = _MATCH, _MISMATCH
        outcome_n[cases.bar_n == Bar.STALE] = _STALE
        count_n = np.where(seen_n, scores.values_of(cases.keys)[cases.probabilities_nk.argmax(axis=1)], -1)
        return {
            "outcome_n": outcome_n,
            "right_n": np.where(seen_n, right_n, np.nan),
            "prior_right_n": prior_right_n,
            "score_n": np.where(seen_n, score_n, np.nan),
            "threshold_n": threshold_n,
            "promised_n": promised_n,
            "count_n": count_n,
            "tolerance_n": tolerance_n,
            "calibrated_n": calibrated_n,
            "apart_n": apart_n,
            "second_approval_n": _second_approval(self.settings, cases, count_n, outcome_n),
            "blind_recount_n": match_n & drawn(cases.draw_n, self.settings.recount_share),
        }

    def _threshold(
        self, cases: Cases, promised_n: scores.Floats, wrong_n: scores.Floats, tolerance_n: scores.Ints
    ) -> tuple[scores.Floats, NDArray[np.bool_]]:
        threshold_n = np.full(len(cases), np.nan)
        calibrated_n = np.zeros(len(cases), np.bool_)
        for (kind, derived, tolerance), thresholds in self._thresholds.items():
            rows = np.flatnonzero(
                (cases.kind_n == KINDS.index(kind)) & (cases.derived_n == derived) & (tolerance_n == tolerance)
            )
            calibrated_n[rows] = True
            threshold_n[rows] = thresholds.of(promised_n[rows], wrong_n[rows])
        return threshold_n, calibrated_n


def rates(cases: Cases, wrong_n: scores.Floats, prior_right_n: scores.Floats) -> scores.Floats:
    """[N] share of wrong records among those like each.

    A record that follows from the history is wrong as often as the history says without the photos, at odds that are as
    many times higher as such records were found wrong more often than guessed.
    """
    rate_n: scores.Floats = np.clip(np.where(cases.derived_n, 1.0 - prior_right_n, wrong_n), *_RATES)
    return rate_n


def drawn(draw_n: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """[N] whether each lies in the lowest `share` of all draws."""
    if share >= 1.0:
        return np.ones(len(draw_n), np.bool_)
    chosen: NDArray[np.bool_] = draw_n.astype(np.uint64) < np.uint64(int(share * 2.0**64))
    return chosen


def promised(settings: PolicySettings, cases: Cases) -> scores.Floats:
    """[N] the strictest promise that holds for each record's class and value."""
    by_class = np.array([settings.promised_escape_by_class.get(name, settings.promised_escape) for name in CLASSES])
    promised_n: scores.Floats = by_class[cases.class_n]
    value_n = np.nan_to_num(cases.unit_value_n * cases.recorded_n, nan=np.inf)
    for band in settings.value_bands:
        promised_n = np.where(value_n >= band.above, np.minimum(promised_n, band.promised_escape), promised_n)
    return promised_n


def tolerances(settings: PolicySettings, cases: Cases) -> scores.Ints:
    """[N] items a count may be off."""
    by_class = [_tolerance(of, cases) for of in (settings.tolerance.A, settings.tolerance.B, settings.tolerance.C)]
    tolerance_n: scores.Ints = np.choose(cases.class_n, by_class)
    return tolerance_n


def _tolerance(of: ToleranceOfClass, cases: Cases) -> scores.Ints:
    limits = []
    if of.units is not None:
        limits.append(np.full(len(cases), of.units, np.float64))
    if of.percent is not None:
        limits.append(np.floor(cases.recorded_n * of.percent / 100.0 + 1e-9))
    if of.value is not None:
        known_n = cases.unit_value_n > 0
        limits.append(np.where(known_n, np.floor(of.value / np.where(known_n, cases.unit_value_n, 1.0) + 1e-9), 0.0))
    if not limits:
        return np.zeros(len(cases), np.int64)
    least_n: scores.Floats = np.minimum.reduce(limits)
    return np.minimum(least_n, float(np.iinfo(np.int32).max)).astype(np.int64)


def _scored(
    cases: Cases, wrong_n: scores.Floats, tolerance_n: scores.Ints, settings: PolicySettings
) -> tuple[scores.Floats, scores.Floats, NDArray[np.bool_]]:
    """[N] score, P(right) without the photos, and whether the record can be told from its neighbours."""
    score_n, prior_n = np.zeros(len(cases)), np.zeros(len(cases))
    apart_n = np.zeros(len(cases), np.bool_)
    for tolerance in np.unique(np.minimum(tolerance_n, TOLERANCES[-1] + 1)):
        part = np.flatnonzero(np.minimum(tolerance_n, TOLERANCES[-1] + 1) == tolerance)
        for derived in (False, True):
            rows = part[cases.derived_n[part] == derived]
            if len(rows):
                some, table = cases.rows(rows), scores.weights(cases.keys, settings.errors, int(tolerance))
                score_n[rows], prior_n[rows] = scored(
                    some, wrong_n[rows], wrong_n[rows] / settings.wrong_records, table, derived=derived
                )
                apart_n[rows] = scores.told_apart(cases.keys, some.recorded_n.astype(np.int64), table)
    beyond_n = scores.beyond(cases.keys, cases.recorded_n.astype(np.int64))
    score_n[beyond_n] = prior_n[beyond_n] = np.nan
    return score_n, prior_n, apart_n


def scored(
    cases: Cases, wrong_n: scores.Floats, worse_n: scores.Floats, table: scores.Weights, *, derived: bool
) -> tuple[scores.Floats, scores.Floats]:
    """[N] score and P(right) without the photos of cases of one tolerance, all derived or none.

    `worse_n`: how many times as often as guessed for the site such records were found wrong.
    """
    shares_nk, prior_nk = (shares.astype(np.float64) for shares in (cases.probabilities_nk, cases.prior_nk))
    recorded_n = cases.recorded_n.astype(np.int64)
    if derived:
        said_n = np.fmax(scores.right_share(prior_nk, recorded_n, table), cases.said_n)
        score_n = scores.photo_score_of(shares_nk, prior_nk, recorded_n, table)
        return score_n, _sigmoid(_logit(said_n) - np.log(worse_n))
    prior_score_n = scores.score_of(prior_nk, recorded_n, table)
    return scores.score_of(shares_nk, recorded_n, table), _sigmoid(prior_score_n + _logit(1.0 - wrong_n))


def _second_approval(
    settings: PolicySettings, cases: Cases, count_n: scores.Ints, outcome_n: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    if settings.second_approval_above is None:
        return np.zeros(len(cases), np.bool_)
    differs_n = (count_n >= 0) & (count_n != cases.recorded_n) & np.isin(outcome_n, (_MISMATCH, _UNCERTAIN))
    worth_n = np.nan_to_num(np.abs(count_n - cases.recorded_n) * cases.unit_value_n, nan=np.inf)
    return np.asarray(differs_n & (worth_n >= settings.second_approval_above))


def _logit(share_n: scores.Floats) -> scores.Floats:
    kept_n = np.clip(share_n, *_RATES)
    odds_n: scores.Floats = np.log(kept_n) - np.log1p(-kept_n)
    return odds_n


def _sigmoid(log_odds_n: scores.Floats) -> scores.Floats:
    share_n: scores.Floats = 1.0 / (1.0 + np.exp(-np.clip(log_odds_n, -60.0, 60.0)))
    return share_n
