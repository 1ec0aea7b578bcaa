"""What a simulation came to: figures of each arm with intervals over seeds, and what bintally changes on the same site.

Seeds are the sample: each is a site of its own. Intervals are Student's t of the seeds' means, 95%; differences between
arms are of one site and its luck each, so that what is common to both falls out (paired).
"""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any, Final

import msgspec
import numpy as np
from scipy.special import stdtrit

from bintally.simulation.likeness import Likeness
from bintally.simulation.settings import SimulationSettings
from bintally.simulation.tally import WEEK, ArmResult

FORMAT: Final = 1
OURS: Final = "bintally"
SETTLED: Final = 28
"""The last days, over which "at the end" is told: four weeks."""


class Figure(msgspec.Struct, frozen=True):
    """A mean over seeds and its 95% interval; None: with one seed there is none, or nothing to divide by."""

    value: float | None
    low: float | None = None
    high: float | None = None


class ArmFigures(msgspec.Struct, frozen=True):
    """One way of control: `FIGURES` by name, and of each week the share of bins with a right record."""

    arm: str
    figures: dict[str, Figure]
    right_by_week: tuple[Figure, ...]
    cost: dict[str, Figure]  # by what it was spent on


class Versus(msgspec.Struct, frozen=True):
    """bintally less another arm, of the same sites and luck."""

    arm: str
    figures: dict[str, Figure]


class SimulationReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; `report`: the page's path."""

    format: int
    model: str
    licence: str
    bank: str
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    likeness: Likeness
    arms: tuple[ArmFigures, ...]
    versus: tuple[Versus, ...]
    told: dict[str, dict[str, int]]  # each arm's own books, summed over seeds
    made_from: str  # SHA-256 of settings, model, bank and code
    report: str = ""


def _at_end(values: Sequence[float]) -> float:
    return float(np.mean(values[-SETTLED:]))


def _per(many: float, of: float) -> float | None:
    return many / of if of else None


FIGURES: Final[dict[str, Callable[[ArmResult], float | None]]] = {
    "right_bins": lambda told: float(np.mean(told.days.right_bins)),
    "right_bins_at_end": lambda told: _at_end(told.days.right_bins),
    "gross_units_at_end": lambda told: _at_end(told.days.gross_units),
    "gross_money_at_end": lambda told: _at_end(told.days.gross_money),
    "days_an_error_lives": lambda told: _per(told.error_days, told.errors),
    "counts": lambda told: sum(told.days.counts),
    "found": lambda told: told.corrections.found,
    "found_per_100_counts": lambda told: _per(100 * told.corrections.found, sum(told.days.counts)),
    "false_corrections": lambda told: told.corrections.false,
    "short_picks": lambda told: sum(told.days.short_picks),
    "missed_orders": lambda told: sum(told.days.missed_orders),
    "photos": lambda told: sum(told.days.photos),
    "accepted": lambda told: sum(told.days.accepted),
    "escape": lambda told: _per(sum(told.days.escaped), sum(told.days.accepted)),
    "cost": lambda told: told.total_cost,
}
"""Of a whole run; `escape`: of the records accepted without a person, the share whose total was wrong."""


def report_of(
    results: Sequence[ArmResult],
    settings: SimulationSettings,
    *,
    model: str,
    licence: str,
    bank: str,
    likeness: Likeness,
    made_from: str,
) -> SimulationReport:
    """The figures of all arms, in the order of `settings`, whatever order the results come in."""
    seeds = sorted({each.seed for each in results})
    by_arm = {
        arm: sorted((each for each in results if each.arm == arm), key=lambda each: each.seed) for arm in settings.arms
    }
    return SimulationReport(
        format=FORMAT,
        model=model,
        licence=licence,
        bank=bank,
        settings=settings.model_dump(mode="json"),
        seeds=tuple(seeds),
        likeness=likeness,
        arms=tuple(_arm(arm, told) for arm, told in by_arm.items()),
        versus=tuple(
            _versus(arm, by_arm[OURS], told) for arm, told in by_arm.items() if arm != OURS and OURS in by_arm
        ),
        told={arm: _summed([each.told for each in told]) for arm, told in by_arm.items()},
        made_from=made_from,
    )


def mean(values: Sequence[float | None]) -> Figure:
    """The mean of the seeds that have a value, and its interval."""
    known = np.array([value for value in values if value is not None], np.float64)
    if not len(known):
        return Figure(None)
    middle = float(known.mean())
    if len(known) == 1:
        return Figure(middle)
    half = float(stdtrit(len(known) - 1, 0.975)) * float(known.std(ddof=1)) / sqrt(len(known))
    return Figure(middle, middle - half, middle + half)


def _arm(arm: str, told: Sequence[ArmResult]) -> ArmFigures:
    return ArmFigures(
        arm=arm,
        figures={name: mean([of(each) for each in told]) for name, of in FIGURES.items()},
        right_by_week=tuple(
            mean([float(np.mean(each.days.right_bins[start : start + WEEK])) for each in told])
            for start in range(0, len(told[0].days.right_bins), WEEK)
        ),
        cost={part: mean([each.cost[part] for each in told]) for part in told[0].cost},
    )


def _versus(arm: str, ours: Sequence[ArmResult], theirs: Sequence[ArmResult]) -> Versus:
    return Versus(
        arm,
        {name: mean([_less(of(a), of(b)) for a, b in zip(ours, theirs, strict=True)]) for name, of in FIGURES.items()},
    )


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _summed(books: Sequence[dict[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for book in books for name in book)
    return {name: sum(book.get(name, 0) for book in books) for name in names}
