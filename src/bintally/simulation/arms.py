"""Ways to keep a site's records right: nothing, a calendar, hand counts, each photo alone (`with_ledger`: bintally).

Each morning people count, each evening the day's photos are judged. All have the same people, hours and luck.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import numpy as np

from bintally.inventory.judging.how import How
from bintally.inventory.policy.cases import KINDS, Bar, Cases, draw_of
from bintally.inventory.policy.words import verdict_of
from bintally.inventory.review.queue import worth_of
from bintally.inventory.verdict import Verdict
from bintally.simulation.bank import PhotoBank
from bintally.simulation.camera import Camera, Shown
from bintally.simulation.draws import Draws
from bintally.simulation.erp import SimulatedErp
from bintally.simulation.settings import SimulationSettings
from bintally.simulation.tally import Tally, capacity
from bintally.simulation.world import BEFORE, FIRST_DAY, Touch, World

TIMES_A_YEAR: Final = (4, 2, 1)
"""Counts a year of A, B and C (Piasecki 2003, Inventory Accuracy)."""

_YEAR: Final = 365
_SPREAD: Final = 0.618_034  # the golden ratio's part: counts of the year before, evenly spread over bins


@dataclass
class Yard:
    """A site under one arm: what is, what is recorded, who looks."""

    draws: Draws
    settings: SimulationSettings
    world: World
    erp: SimulatedErp
    tally: Tally

    @classmethod
    def new(cls, draws: Draws, settings: SimulationSettings) -> "Yard":
        """Day one."""
        world = World(draws, settings.errors, most_stowed=settings.stock.most_stowed)
        tally = Tally(draws.site, world)
        erp = SimulatedErp(draws.site.bin_s, draws.site.record_s, BEFORE, adjusted=tally.adjusted)
        return cls(draws, settings, world, erp, tally)

    def count(self, number: int, day: int) -> dict[int, int]:
        """A person counts a bin; by slot."""
        self.tally.counted()
        return self.world.count(number, day, self.settings.people.wrong_counts)

    def count_and_correct(self, number: int, day: int, at: datetime) -> None:
        """A person counts a bin, and the record becomes what was counted."""
        with self.tally.counting():
            for slot, counted in self.count(number, day).items():
                self.erp.set(slot, counted, at)

    def take_stock(self) -> None:
        """Before day one, everything is counted."""
        with self.tally.pausing():
            for number in range(self.draws.site.bins if self.settings.stock.counted_at_start else 0):
                for slot, counted in self.world.count(number, 0, self.settings.people.wrong_counts).items():
                    self.erp.set(slot, counted, BEFORE)

    def is_right(self, number: int) -> bool:
        """Whether a bin's record has the right total."""
        slots = self.world.slots_of(number)
        return bool(self.erp.on_hand_s[slots].sum() == self.world.truth_s[slots].sum())

    def class_of(self, number: int) -> int:
        """The strictest class of a bin's products, of `CLASSES`."""
        return int(self.draws.site.class_s[self.world.slots_of(number)].min())


class Arm(Protocol):
    """A way to control records."""

    def begin(self) -> None:
        """The site is made ready."""

    def morning(self, day: int) -> None:
        """People count."""

    def touched(self, day: int, touch: Touch) -> None:
        """A bin was picked from or stowed into, just now."""

    def evening(self, day: int) -> None:
        """The day's photos are judged."""

    def told(self) -> dict[str, int]:
        """What the arm's own books say at the end."""


class Nothing:
    """Nobody looks; only short picks correct records."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    def begin(self) -> None:
        """Stock is taken."""
        self._yard.take_stock()

    def morning(self, day: int) -> None:
        """Nothing."""

    def touched(self, day: int, touch: Touch) -> None:
        """Nothing."""

    def evening(self, day: int) -> None:
        """Nothing."""

    def told(self) -> dict[str, int]:
        """Nothing."""
        return {}


class ByHand(Nothing):
    """People count bins by class, those first whose time is most overdue.

    `is_calendar`: as often as the calendar asks; else all the time that there is, in the same proportions.
    """

    def __init__(self, yard: Yard, *, is_calendar: bool) -> None:
        super().__init__(yard)
        self._is_calendar = is_calendar
        self._interval_b = np.array(
            [_YEAR / TIMES_A_YEAR[yard.class_of(number)] for number in range(yard.draws.site.bins)]
        )
        self._last_b = -self._interval_b * ((np.arange(len(self._interval_b)) * _SPREAD) % 1.0)

    def morning(self, day: int) -> None:
        """Counts."""
        yard = self._yard
        overdue_b = (day - self._last_b) / self._interval_b
        many = capacity(day, yard.settings.counts_per_day)
        for place, number in enumerate(np.argsort(-overdue_b, kind="stable")[:many].tolist()):
            if self._is_calendar and overdue_b[number] < 1.0:
                break
            yard.count_and_correct(number, day, counted_at(day, place))
            self._last_b[number] = day


class SinglePhoto(Nothing):
    """Each evening, each photographed bin's record is judged by its last photo alone; no history is kept.

    Judged by the same policy, promise and thresholds as the ledger does, and looked at in the same order of worth.
    """

    def __init__(self, yard: Yard, how: How, bank: PhotoBank) -> None:
        super().__init__(yard)
        self._how, self._bank = how, bank
        self._camera = Camera(bank, yard.draws, yard.world, yard.settings)
        self._last: dict[int, Shown] = {}
        self._queue: dict[int, float] = {}

    def begin(self) -> None:
        """Each bin is photographed, and stock is taken."""
        for number in range(self._yard.draws.site.bins):
            self._camera.shoot(0, number)
        self._camera.end()
        super().begin()

    def morning(self, day: int) -> None:
        """People look where a look saves more than it costs, the worthiest first."""
        yard = self._yard
        many = capacity(day, yard.settings.counts_per_day)
        worthwhile = (number for number, worth in self._queue.items() if worth > 0.0)
        worthiest = sorted(worthwhile, key=lambda number: (-self._queue[number], number))
        for place, number in enumerate(worthiest[:many]):
            yard.count_and_correct(number, day, counted_at(day, place))
            del self._queue[number]

    def touched(self, day: int, touch: Touch) -> None:
        """A robot takes a photo."""
        if self._camera.passes(day, touch.bin):
            self._last[touch.bin] = self._camera.shoot(day, touch.bin)

    def evening(self, day: int) -> None:
        """Judges."""
        for number in self._camera.round(day):
            self._last[number] = self._camera.shoot(day, number)
        self._yard.tally.photographed(self._camera.end())
        for number, (verdict, worth) in self._judged(day, self._last).items():
            self._queue.pop(number, None)
            if verdict.outcome == "match":
                self._yard.tally.accepted(is_right=self._yard.is_right(number))
            if verdict.outcome in ("mismatch", "uncertain") or verdict.blind_recount:
                self._queue[number] = worth
        self._last.clear()

    def told(self) -> dict[str, int]:
        """Photos by where they were drawn from."""
        return self._camera.told()

    def _judged(self, day: int, last: dict[int, Shown]) -> dict[int, tuple[Verdict, float]]:
        if not last:
            return {}
        settings = self._how.policy.settings
        decisions = self._how.policy.decide(self._cases(day, last))
        told = {}
        for row, number in enumerate(last):
            verdict = verdict_of(decisions, row)
            drawn = verdict.outcome == "match" and verdict.blind_recount
            told[number] = (
                verdict,
                worth_of(
                    verdict,
                    unit_value=float(decisions.cases.unit_value_n[row]),
                    costs=settings.costs,
                    propensity=settings.recount_share if drawn else 1.0,
                ),
            )
        return told

    def _cases(self, day: int, last: dict[int, Shown]) -> Cases:
        yard, card, many = self._yard, self._how.card, len(last)
        slots = [yard.world.slots_of(number) for number in last]
        record_s, value_s = yard.erp.on_hand_s, yard.draws.site.value_s
        photos = [shown.drawn.photo for shown in last.values()]
        bars = [Bar.NONE if self._bank.abstain[photo] is None else Bar.NO_BIN for photo in photos]
        prior_k = np.array([card.target_prior[key] for key in card.count_keys])
        return Cases(
            keys=card.count_keys,
            probabilities_nk=self._bank.probabilities_nk[photos].astype(np.float64),
            prior_nk=np.broadcast_to(prior_k / prior_k.sum(), (many, len(prior_k))),
            recorded_n=np.array([record_s[each].sum() for each in slots], np.int64),
            kind_n=np.full(many, KINDS.index("photo"), np.uint8),
            wrong_n=np.full(many, self._how.policy.settings.wrong_records),
            unit_value_n=np.array([value_s[each].mean() for each in slots]),
            class_n=np.array([yard.class_of(number) for number in last], np.uint8),
            derived_n=np.zeros(many, np.bool_),
            said_n=np.full(many, np.nan),
            bar_n=np.array(bars, np.uint8),
            draw_n=np.array([draw_of(f"{number} {day}") for number in last], np.uint64),
        )


def counted_at(day: int, place: int) -> datetime:
    """When the `place`th bin of a morning is counted."""
    return FIRST_DAY + timedelta(days=day, hours=6, seconds=20 * place)
