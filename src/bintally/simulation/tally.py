"""What is known of an arm at the end because the truth is: figures of each day, of errors, of corrections, of money."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from bintally.simulation.draws import Site
from bintally.simulation.settings import Money, SimulationSettings
from bintally.simulation.world import World

By: TypeAlias = Literal["count", "picker", "start"]
WEEK: Final = 7


class Days(msgspec.Struct):
    """A figure a day. Right and wrong are as the day's work begins, after the counts of the morning."""

    right_bins: list[float] = []  # share of bins whose record is exact, product by product
    gross_units: list[int] = []  # sum of |record - truth|
    gross_money: list[float] = []
    counts: list[int] = []  # by people
    photos: list[int] = []
    short_picks: list[int] = []
    missed_orders: list[int] = []
    accepted: list[int] = []  # records accepted without a person
    escaped: list[int] = []  # of them, those whose total was wrong


class Corrections(msgspec.Struct):
    """Records that were corrected, by what became of them."""

    found: int = 0  # wrong before, right after
    nearer: int = 0  # wrong before and after
    false: int = 0  # right before, wrong after
    by_pickers: int = 0  # at the price of a short pick each


class ArmResult(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of one site. `truth`: items as they were, moved, and are, so that anybody can add them up."""

    arm: str
    seed: int
    days: Days
    corrections: Corrections
    errors: int  # that stood at some morning
    error_days: int  # mornings at which they stood, summed
    cost: dict[str, float]  # by what it was spent on
    truth: dict[str, int]
    told: dict[str, int]  # what the arm's own books say: photos by where they were drawn from, postings ...

    @property
    def total_cost(self) -> float:
        """All of it."""
        return sum(self.cost.values())


class Tally:
    """Keeps count while an arm runs."""

    def __init__(self, site: Site, world: World) -> None:
        self.days, self.corrections = Days(), Corrections()
        self._by: By = "picker"
        self.errors = self.error_days = 0
        self._site, self._world = site, world
        self._was_wrong_s = np.zeros(site.slots, np.bool_)
        self._counts = self._photos = self._accepted = self._escaped = 0
        self._shorts = self._missed = 0
        self._start = int(world.truth_s.sum())

    def adjusted(self, slot: int, before: int, after: int) -> None:
        """A record was corrected."""
        truth, told = int(self._world.truth_s[slot]), self.corrections
        if self._by == "start":
            return
        if self._by == "picker":
            told.by_pickers += 1
        elif after == truth:
            told.found += 1
        elif before == truth:
            told.false += 1
        else:
            told.nearer += 1

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Records that are corrected meanwhile are so because people counted."""
        with self._doing("count"):
            yield

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Before day one: what is corrected meanwhile is not told."""
        with self._doing("start"):
            yield

    @contextmanager
    def _doing(self, by: By) -> Iterator[None]:
        before, self._by = self._by, by
        yield
        self._by = before

    def counted(self) -> None:
        """A person counted a bin."""
        self._counts += self._by != "start"

    def photographed(self, many: int = 1) -> None:
        """Photos were taken."""
        self._photos += many

    def accepted(self, *, is_right: bool) -> None:
        """A record was accepted without a person."""
        self._accepted += 1
        self._escaped += not is_right

    def morning(self, record_s: np.typing.NDArray[np.int64]) -> None:
        """The day's work begins."""
        site, days = self._site, self.days
        off_s = np.abs(record_s - self._world.truth_s)
        wrong_s = off_s > 0
        wrong_bins = len(np.unique(site.bin_s[wrong_s]))
        days.right_bins.append(1.0 - wrong_bins / site.bins)
        days.gross_units.append(int(off_s.sum()))
        days.gross_money.append(round(float(off_s @ site.value_s), 2))
        self.errors += int((wrong_s & ~self._was_wrong_s).sum())
        self.error_days += int(wrong_s.sum())
        self._was_wrong_s = wrong_s

    def evening(self) -> None:
        """The day is over."""
        days, world = self.days, self._world
        days.counts.append(self._counts)
        days.photos.append(self._photos)
        days.accepted.append(self._accepted)
        days.escaped.append(self._escaped)
        days.short_picks.append(world.short_picks - self._shorts)
        days.missed_orders.append(world.missed_orders - self._missed)
        self._counts = self._photos = self._accepted = self._escaped = 0
        self._shorts, self._missed = world.short_picks, world.missed_orders

    def cost(self, money: Money) -> dict[str, float]:
        """What was spent, and what errors cost."""
        days = self.days
        return {
            "counts": money.count * sum(days.counts),
            "photos": money.photo * sum(days.photos),
            "short picks": money.short_pick * sum(days.short_picks),
            "missed orders": money.missed_order * sum(days.missed_orders),
            "wrong records": money.wrong_record_day * self.error_days,
        }

    def truth(self) -> dict[str, int]:
        """Items: on day one, what moved, and now."""
        flow = self._world.flow
        now = int(self._world.truth_s.sum())
        return {"start": self._start, "came": flow.came, "went": flow.went, "lost": flow.lost, "end": now}


def capacity(day: int, per_day: float) -> int:
    """How many of something a day has time for; parts of one add up over days."""
    return int((day + 1) * per_day) - int(day * per_day)


def result_of(arm: str, seed: int, tally: Tally, settings: SimulationSettings, told: dict[str, int]) -> ArmResult:
    """All that was counted."""
    return ArmResult(
        arm=arm,
        seed=seed,
        days=tally.days,
        corrections=tally.corrections,
        errors=tally.errors,
        error_days=tally.error_days,
        cost=tally.cost(settings.money),
        truth=tally.truth(),
        told=told,
    )
