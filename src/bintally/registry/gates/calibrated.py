"""The gate about whether a version is right as often as it says."""

from typing import Final

import numpy as np

from bintally.bundle import Figure
from bintally.counting import metrics
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.sets import count_sets
from bintally.registry.gates.case import Case
from bintally.registry.gates.frozen import Answers
from bintally.registry.gates.outcome import GateResult, Part

_ROUNDING: Final = 1e-9


def calibration(case: Case) -> GateResult:
    """Calibration error within chance and limit, sets of counts that hold what they promise, and no more abstaining."""
    if case.obstacle:
        return case.not_judged("calibration")
    parts = (_error(case), _coverage(case), *([_abstained(case)] if case.answers_of_champion else []))
    bad = [part.says for part in parts if not part.passed]
    return GateResult(
        gate="calibration",
        passed=not bad,
        reason=f"{'; '.join(bad or [part.says for part in parts])}.",
        figure=parts[0].figure,
        limit=parts[0].limit,
        photos=parts[0].photos,
        parts=parts,
    )


def _error(case: Case) -> Part:
    told = case.pair.candidate
    value = metrics.ece(told.probabilities_nk, told.labels_n)
    chance = metrics.ece_if_calibrated(told.probabilities_nk, seed=case.settings.seed)
    limit = chance + case.settings.calibration.ece
    return Part(
        name="calibration error",
        passed=value <= limit,
        figure=Figure(value, value, value),  # resampling raises it (`metrics.ece`)
        limit=limit,
        photos=len(told),
        says=f"calibration error {value:.3f} (chance: up to {chance:.3f}; at most {limit:.3f} is allowed)",
    )


def _coverage(case: Case) -> Part:
    told, card = case.answers.told, case.version.card
    sets = count_sets(told.probabilities_nk, told.keys, card.set_threshold)
    held_n = np.array([told.keys[label] in chosen for label, chosen in zip(told.labels_n, sets, strict=True)])
    figure = bootstrap_mean(held_n, groups_n=told.groups_n, seed=case.settings.seed)
    limit = card.set_coverage - case.settings.calibration.coverage
    return Part(
        name="sets of counts",
        passed=figure.high >= limit - _ROUNDING,
        figure=figure,
        limit=limit,
        photos=len(told),
        says=f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%}) of recorded counts are in their sets "
        f"(promised: {card.set_coverage:.0%})",
    )


def _abstained(case: Case) -> Part:
    assert case.answers_of_champion is not None  # noqa: S101 - asked beside a champion only
    mine, champions = _share(case.answers), _share(case.answers_of_champion)
    limit = champions + case.settings.calibration.abstained
    return Part(
        name="not taken for bins",
        passed=mine <= limit + _ROUNDING,
        figure=Figure(mine, mine, mine),
        limit=limit,
        photos=case.answers.table.height,
        says=f"{mine:.1%} of photos are not taken for bins (champion: {champions:.1%})",
    )


def _share(answers: Answers) -> float:
    return float(answers.table["abstain"].is_not_null().mean() or 0.0)  # type: ignore[arg-type]  # of bools
