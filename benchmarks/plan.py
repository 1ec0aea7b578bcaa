"""What a plan is worth: wrong records found in 100 counts, beside the ABC calendar and counting at random.

    python benchmarks/plan.py [--seeds 20] [--bins 2000] [--days 180] [--counts 10] [--photos 100] [--draw FILE]

A site of its own, whose errors arise otherwise than the planner believes: every bin has a rate of its own that goes
with nothing it knows (lognormal), a bad shift makes one aisle six times worse for a day, thieves come in raids and take
what is dear, some errors cancel out, pickers mend some that they run into without telling, and one count in fifty is
wrong itself. All plans see the same events. A photo answers as the bundled model's photos of val did (acceptance.json),
and another one of an untouched bin answers the same. Rates are learnt anew each week from what the plan's own counts
found.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student

from bintally.bundle import CARD, read_card
from bintally.inventory.planning.choose import choose
from bintally.inventory.planning.learn import Learnt, factors, learn
from bintally.inventory.planning.settings import YEAR_DAYS, Capacity, PlanSettings
from bintally.inventory.policy.acceptance import Acceptance
from bintally.pages import ACCENT, INK, MUTED, SECOND, axes_row
from bintally.settings import BUNDLED_CHAMPION

AISLES: Final = 20
BEFORE_DAYS: Final = 120  # that errors have had to arise in before the first plan
MISCOUNT: Final = 0.02
WEEK: Final = 7
PRIOR: Final = 0.05  # share of wrong records that the photos' P(right) reckons with

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Events(NamedTuple):
    """What happens at the site, whoever counts: all arrays are [days, bins]."""

    touches: Ints
    off: Ints  # by how many items records go wrong that day
    mended: Bools  # whether a picker would notice a wrong record
    drawn: Floats  # what a photo of that day would answer, as a quantile


class Site(NamedTuple):
    """Bins: class 0 to 2 for A to C, value of an item, items."""

    abc_b: Ints
    value_b: Floats
    units_b: Ints
    events: Events


class Outcome(NamedTuple):
    """Of one plan on one site."""

    per_100: float  # wrong records found in 100 counts
    found_value: float  # money that their items are worth, in 100 counts
    wrong_share_d: Floats  # of all records, at the end of each day


def site_of(seed: int, bins: int, days: int) -> Site:
    """A site and everything that will happen there."""
    chance = np.random.default_rng(seed)
    value_b = np.round(chance.lognormal(2.5, 1.0, bins), 2)
    demand_b = 0.15 * chance.lognormal(-0.72, 1.2, bins)  # movements a day
    turnover = value_b * demand_b
    order = np.argsort(-turnover)
    share = np.cumsum(turnover[order]) / turnover.sum()
    abc_b = np.empty(bins, np.int64)
    abc_b[order] = np.searchsorted([0.8, 0.95], share - 1e-12)
    whole = BEFORE_DAYS + days
    touches = chance.poisson(demand_b, (whole, bins))
    worse = np.ones((whole, bins))
    aisle_b = np.arange(bins) * AISLES // bins
    for day in np.flatnonzero(chance.random(whole) < 0.05):
        worse[day, aisle_b == chance.integers(AISLES)] = 6.0
    error_b = 0.008 * chance.lognormal(-0.5, 1.0, bins)
    errors = chance.binomial(touches, np.minimum(worse * error_b, 1.0)) > 0
    dear = np.flatnonzero(value_b >= np.quantile(value_b, 0.8))
    for day in np.flatnonzero(chance.random(whole) < 0.04):  # a raid
        errors[day, chance.choice(dear, max(bins // 200, 1), replace=False)] = True
    off = np.where(errors, chance.choice([-2, -1, -1, 1, 1, 2], errors.shape), 0)
    mended = chance.random((whole, bins)) < 1.0 - 0.95**touches
    return Site(
        abc_b, value_b, chance.integers(1, 12, bins), Events(touches, off, mended, chance.random((whole, bins)))
    )


@dataclass
class Known:
    """What a plan's people know: when each bin was counted and photographed, and what that said."""

    site: Site
    seed: int
    counted_b: Ints = field(init=False)
    seen_b: Ints = field(init=False)
    right_b: Floats = field(init=False)
    moves_b: Ints = field(init=False)
    drawn_b: Floats = field(init=False)
    before_b: Ints = field(init=False)  # movements from the last count to the last photo
    history: list[tuple[int, int, int, int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        bins = len(self.site.abc_b)
        self.counted_b, self.seen_b = np.full(bins, -1), np.full(bins, -1)
        self.right_b, self.drawn_b = np.full(bins, np.nan), np.full(bins, np.nan)
        self.moves_b = self.site.events.touches[:BEFORE_DAYS].sum(axis=0)
        self.before_b = np.zeros(bins, np.int64)

    def touched(self, day: int) -> None:
        """Movements of a day."""
        touches_b = self.site.events.touches[day]
        self.moves_b += touches_b
        self.drawn_b[touches_b > 0] = np.nan  # the next photo is another one

    def counted(self, chosen: Ints, wrong: Bools, day: int) -> None:
        """What counts found."""
        for place, is_wrong in zip(chosen.tolist(), wrong.tolist(), strict=True):
            before = int(self.counted_b[place])
            touches = int(self.before_b[place] + self.moves_b[place])
            self.history.append((place, touches, day - before if before >= 0 else -1, day, is_wrong))
        self.counted_b[chosen] = day
        self.moves_b[chosen] = self.before_b[chosen] = 0
        self.right_b[chosen] = np.nan

    def photographed(self, chosen: Ints, wrong: Bools, day: int) -> None:
        """What photos said."""
        fresh = np.isnan(self.drawn_b[chosen])
        self.drawn_b[chosen] = np.where(fresh, self.site.events.drawn[day, chosen], self.drawn_b[chosen])
        self.right_b[chosen] = _right(self.drawn_b[chosen], wrong)
        self.seen_b[chosen] = day
        self.before_b[chosen] += self.moves_b[chosen]
        self.moves_b[chosen] = 0


Plan = Callable[[Known, int], tuple[Ints, Ints]]
"""Which bins to count and which to photograph, of what is known at the end of a day."""


def at_random(counts: int) -> Plan:
    """Any bins."""

    def plan(known: Known, day: int) -> tuple[Ints, Ints]:
        chance = np.random.default_rng([known.seed, day])
        return chance.choice(len(known.counted_b), counts, replace=False), np.empty(0, np.int64)

    return plan


def by_calendar(counts: int) -> Plan:
    """The longest overdue by the ABC calendar, A before B before C of those never counted."""
    period_k = YEAR_DAYS / np.array([4.0, 2.0, 1.0])

    def plan(known: Known, day: int) -> tuple[Ints, Ints]:
        late_b = (day - known.counted_b) / period_k[known.site.abc_b]
        never_b = known.counted_b < 0
        return np.lexsort((known.site.abc_b, -late_b * ~never_b, ~never_b))[:counts], np.empty(0, np.int64)

    return plan


def by_worth(counts: int, photos: int) -> Plan:
    """What `choose` says. Robots photograph as much as they can."""
    settings = PlanSettings(fill_photos=True)
    names = np.array(["A", "B", "C"])
    state: dict[str, Any] = {}

    def plan(known: Known, day: int) -> tuple[Ints, Ints]:
        bins = pl.DataFrame(
            {
                "bin": np.arange(len(known.counted_b)).astype(str),
                "abc": names[known.site.abc_b],
                "units": known.site.units_b,
                "unit_value": known.site.value_b,
                "right": known.right_b,
                "days_since_count": _since(known.counted_b, day),
                "days_since_photo": _since(known.seen_b, day),
                "moves_since": known.moves_b,
                "prior": np.where(np.isnan(known.right_b), np.nan, 1.0 - PRIOR),
                "moves_before": known.before_b,
            }
        )
        if day % WEEK == 0 or not state:
            state["learnt"], state["rate"] = _learnt(known, settings)
        learnt: Learnt = state["learnt"]
        levels = bins.select("abc", product=pl.col("bin").cast(pl.Int64), bin=pl.col("bin").cast(pl.Int64))
        bins = bins.with_columns(factor=factors(levels, learnt), rate=pl.lit(state["rate"]))
        now = settings.model_copy(update={"hazard": learnt.hazard})
        chosen = choose(bins, Capacity(counts, photos), now).select("look", pl.col("bin").cast(pl.Int64))
        looks = [chosen.filter(look=look)["bin"].to_numpy() for look in ("count", "photo")]
        return looks[0], looks[1]

    return plan


def _learnt(known: Known, settings: PlanSettings) -> tuple[Learnt, float]:
    rows = [each for each in known.history if each[2] >= 0]
    first = [each[4] for each in known.history if each[2] < 0]
    places = np.array([each[0] for each in rows], np.int64)
    counted = pl.DataFrame(
        {
            "abc": np.array(["A", "B", "C"])[known.site.abc_b[places]],
            "product": places,
            "bin": places,
            "touches": np.array([each[1] for each in rows], np.int64),
            "days": np.array([each[2] for each in rows], np.int64),
            "wrong": np.array([each[4] for each in rows], np.bool_),
            "propensity": np.ones(len(rows)),
        }
    )
    return learn(counted, settings), (50 * settings.wrong_records + sum(first)) / (50 + len(first))


def run(site: Site, plan: Plan, *, seed: int) -> Outcome:
    """One plan, day by day."""
    events, known = site.events, Known(site, seed)
    chance = np.random.default_rng([seed, 99])
    off_b = np.zeros(len(site.abc_b), np.int64)
    found, counts, money, shares = 0, 0, 0.0, []
    for day in range(len(events.off)):
        off_b[events.mended[day]] = 0
        off_b += events.off[day]
        if day < BEFORE_DAYS:
            continue
        known.touched(day)
        chosen, seen = plan(known, day)
        wrong = off_b[chosen] != 0
        found, counts = found + int(wrong.sum()), counts + len(chosen)
        money += float((np.abs(off_b[chosen]) * site.value_b[chosen]).sum())
        missed = chance.random(len(chosen)) < MISCOUNT  # these counts are wrong themselves
        off_b[chosen] = np.where(missed, chance.choice([-1, 1], len(chosen)), 0)
        known.counted(chosen, wrong != missed, day)
        known.photographed(seen, off_b[seen] != 0, day)
        shares.append(float((off_b != 0).mean()))
    return Outcome(100 * found / counts, 100 * money / counts, np.array(shares))


def _since(moment_b: Ints, day: int) -> Floats:
    since_b: Floats = np.where(moment_b < 0, np.nan, day - moment_b).astype(np.float64)
    return since_b


def _answers() -> tuple[Floats, Floats]:
    """[2, K] how often right and wrong records reach each step of the score, summed up; [K] what that says, in nats."""
    acceptance = Acceptance.of_bundle(BUNDLED_CHAMPION, read_card(BUNDLED_CHAMPION / CARD))
    table = None if acceptance is None else acceptance.table("photo")
    if table is None:
        raise SystemExit("The champion has no acceptance file.")
    reach = np.array([[table.bins, *counts, 0] for counts in (table.right, table.wrong)]) / table.bins
    at = reach[:, :-1] - reach[:, 1:]
    return np.cumsum(at, axis=1), np.log((at[0] + 0.002) / (at[1] + 0.002))


_REACHED, _NATS = _answers()


def _right(drawn: Floats, wrong: Bools) -> Floats:
    """P(right) as a photo has it: steps of the score, likelier high ones for right records."""
    steps = np.where(wrong, *(np.searchsorted(_REACHED[which], drawn).clip(max=len(_NATS) - 1) for which in (1, 0)))
    right: Floats = 1.0 / (1.0 + np.exp(-(_NATS[steps] + math.log(1.0 / PRIOR - 1.0))))
    return right


def arms_of(counts: int, photos: int) -> dict[str, Plan]:
    """The plans that are compared."""
    return {
        "at random": at_random(counts),
        "ABC calendar": by_calendar(counts),
        "plan, no photos": by_worth(counts, 0),
        f"plan, {photos} photos a day": by_worth(counts, photos),
    }


def compare(seeds: range, *, bins: int, days: int, counts: int, photos: int) -> Iterator[tuple[str, list[Outcome]]]:
    """Each plan's outcomes, a seed each."""
    sites = [site_of(seed, bins, days) for seed in seeds]
    for name in arms_of(counts, photos):
        plans = (arms_of(counts, photos)[name] for _ in seeds)  # each learns for itself
        yield name, [run(site, plan, seed=seed) for site, plan, seed in zip(sites, plans, seeds, strict=True)]


def interval(values: Floats) -> tuple[float, float, float]:
    """Mean and its 95% interval (Student's t)."""
    mean, spread = float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
    half = float(student.ppf(0.975, len(values) - 1)) * spread
    return mean, mean - half, mean + half


def main() -> None:
    """Prints the table and draws the picture."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 20), ("bins", 2000), ("days", 180), ("counts", 10), ("photos", 100)):
        asked.add_argument(f"--{name}", type=int, default=default)
    asked.add_argument("--draw", type=Path)
    given = asked.parse_args()
    size = {name: getattr(given, name) for name in ("bins", "days", "counts", "photos")}
    print(", ".join(f"{value:,} {name}" for name, value in size.items()), f"(a day), {given.seeds} seeds")
    print("| plan | wrong records in 100 counts | beside the calendar | wrong in the end | value found in 100 counts |")
    print("|---|---|---|---|---|")
    told = dict(compare(range(given.seeds), **size))
    calendar = np.array([each.per_100 for each in told["ABC calendar"]])
    for name, outcomes in told.items():
        found = np.array([each.per_100 for each in outcomes])
        value = np.array([each.found_value for each in outcomes])
        last = 100 * np.array([each.wrong_share_d[-30:].mean() for each in outcomes])
        more = "" if name == "ABC calendar" else _cell(found - calendar)
        cells = [_cell(found), more, _cell(last, "%"), _cell(value)]
        print("|", " | ".join([name, *cells]), "|", flush=True)
    if given.draw:
        draw(told, given.draw)


def _cell(values: Floats, unit: str = "") -> str:
    mean, low, high = interval(values)
    return f"{mean:.1f}{unit} ({low:.1f} to {high:.1f})"


def draw(told: dict[str, list[Outcome]], path: Path) -> None:
    """Errors found by each plan, and what is left."""
    figure, (left, right) = axes_row(2, width_in=9.6, height_in=3.3)
    colours = dict(zip(told, (MUTED, SECOND, "#e3b17f", ACCENT), strict=True))
    for place, (name, outcomes) in enumerate(reversed(told.items())):
        found = np.array([each.per_100 for each in outcomes])
        mean, low, high = interval(found)
        left.plot(found, np.full(len(found), place), "o", color=colours[name], alpha=0.25, markersize=4)
        left.plot([low, high], [place, place], color=colours[name], linewidth=5, solid_capstyle="round")
        left.annotate(f"{mean:.1f}", (mean, place), xytext=(0, 9), textcoords="offset points", ha="center", color=INK)
    left.set_yticks(range(len(told)), list(reversed(told)), color=INK)
    left.set_xlim(left=0)
    left.set_ylim(-0.5, len(told) - 0.3)
    left.grid(visible=False, axis="y")
    left.set_title("Wrong records found in 100 counts", fontsize=10, color=INK, loc="left")
    for name, outcomes in told.items():
        shares = 100 * np.array([each.wrong_share_d for each in outcomes])
        right.plot(range(1, shares.shape[1] + 1), shares.mean(axis=0), color=colours[name], linewidth=2)
    ends = {name: 100 * np.mean([each.wrong_share_d[-1] for each in outcomes]) for name, outcomes in told.items()}
    _name_ends(right, ends, colours)
    right.set_title("Wrong records, % of all", fontsize=10, color=INK, loc="left")
    right.set_xlabel("day", fontsize=9)
    right.set_ylim(bottom=0)
    figure.savefig(path, dpi=150)


def _name_ends(plot: Any, ends: dict[str, Any], colours: dict[str, str]) -> None:
    """Each line's name beside its end, none over another."""
    days, below = plot.get_lines()[0].get_xdata()[-1], math.inf
    gap = 0.055 * max(float(end) for end in ends.values())
    for name, end in sorted(ends.items(), key=lambda each: -each[1]):
        below = min(float(end), below - gap)
        plot.annotate(name, (days, below), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8,
                      color=colours[name], annotation_clip=False)  # fmt: skip


if __name__ == "__main__":
    main()
