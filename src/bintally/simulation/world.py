"""What really happens in the site: items come, go, and get lost, by what the stock system asks for and by chance.

The robots' photo of a touch is taken at the bin that the stock system names. Who takes or puts things elsewhere leaves
the other bin wrong, too, and nobody looks there. A picker who finds too little reports it, and the record becomes what
is left, nothing: so do sites correct records without any counting, each time at the price of a short pick.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import numpy as np

from bintally.simulation.draws import PICKS, Draws
from bintally.simulation.erp import SimulatedErp
from bintally.simulation.settings import Errors

FIRST_DAY: Final = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday


BEFORE: Final = FIRST_DAY - timedelta(days=1)
"""When the site is made ready."""


class Touch(NamedTuple):
    """A pick (below 0) or stow as it was booked. `corrected`: the picker found too little; the record is 0 now."""

    at: datetime
    slot: int
    bin: int
    booked: int
    corrected: bool = False


class Flow(msgspec.Struct):
    """Items since day one, as they really moved."""

    came: int = 0
    went: int = 0
    lost: int = 0


class World:
    """The truth of one site under one arm."""

    def __init__(self, draws: Draws, errors: Errors, *, most_stowed: int) -> None:
        site = draws.site
        self.truth_s = site.truth_s.copy()
        self.flow = Flow()
        self.short_picks = self.missed_orders = 0
        self._draws, self._errors, self._site, self._lot = draws, errors, site, most_stowed
        self._ordered_s = np.zeros(site.slots, np.int64)
        self._slots_b = [np.flatnonzero(site.bin_s == number).tolist() for number in range(site.bins)]

    def slots_of(self, bin_number: int) -> list[int]:
        """The products of a bin."""
        return self._slots_b[bin_number]

    def in_bin(self, bin_number: int) -> int:
        """Items in a bin."""
        return int(sum(self.truth_s[slot] for slot in self._slots_b[bin_number]))

    def night(self, day: int) -> None:
        """What is stolen or lost before the day begins: an item of a product at most."""
        stays_s = (1.0 - self._errors.loss_per_item_day) ** self.truth_s
        for slot in np.flatnonzero(self._draws.loss_ds[day] >= stays_s).tolist():
            self._lose(slot)

    def work(self, day: int, erp: SimulatedErp) -> Iterator[Touch]:
        """The day's stows and picks in order of time; after each, what there is and what is recorded stand as of it."""
        for second, slot, chance in sorted(self._due(day)):
            at = FIRST_DAY + timedelta(days=day, seconds=second)
            touch = self._stow(day, slot, at, erp) if chance < 0 else self._pick(day, slot, chance, at, erp)
            if touch is not None:
                yield touch
        self._order(erp)

    def count(self, bin_number: int, day: int, wrong_counts: float) -> dict[int, int]:
        """What a person finds in a bin, by slot: rarely one item off."""
        counted = {slot: int(self.truth_s[slot]) for slot in self._slots_b[bin_number]}
        if self._draws.count_luck_db[day, bin_number] < wrong_counts:
            slot = self._slots_b[bin_number][-1]
            up = counted[slot] == 0 or self._draws.count_side_db[day, bin_number] < 0.5
            counted[slot] += 1 if up else -1
        return counted

    def _due(self, day: int) -> Iterator[tuple[int, int, int]]:
        """(second, slot, which pick; -1: a stow)."""
        draws = self._draws
        for slot in np.flatnonzero(self._ordered_s).tolist():
            yield int(draws.stow_second_ds[day, slot]), slot, -1
        for slot in np.flatnonzero(draws.picks_ds[day]).tolist():
            for chance in range(min(int(draws.picks_ds[day, slot]), PICKS)):
                yield int(draws.pick_second_dsk[day, slot, chance]), slot, chance

    def _pick(self, day: int, slot: int, chance: int, at: datetime, erp: SimulatedErp) -> Touch | None:
        draws, errors = self._draws, self._errors
        wanted = int(draws.pick_many_dsk[day, slot, chance])
        if erp.on_hand_s[slot] < wanted:
            self.missed_orders += int(self.truth_s[slot]) >= wanted
            return None
        luck, side = float(draws.pick_luck_dsk[day, slot, chance]), float(draws.pick_side_dsk[day, slot, chance])
        number = int(self._site.bin_s[slot])
        luck, kind = _which(luck, errors.pick_bin, errors.pick_product, errors.pick_quantity, errors.damage)
        other = self._beside(number, side) if kind == 0 else self._in_bin_beside(slot)
        if kind in (0, 1) and other is not None and self.truth_s[other] >= wanted:
            self._take(other, wanted)
        elif self.truth_s[slot] < wanted:
            return self._fall_short(slot, number, at, erp)
        else:
            off = (1 if side < 0.5 else -1) if kind == 2 else 0
            self._take(slot, min(wanted + off, int(self.truth_s[slot])))
            if kind == 3 and self.truth_s[slot]:
                self._lose(slot)
        erp.book(slot, -wanted, at)
        return Touch(at, slot, number, -wanted)

    def _fall_short(self, slot: int, number: int, at: datetime, erp: SimulatedErp) -> Touch:
        """The picker takes what there is, and says so."""
        found = int(self.truth_s[slot])
        self.short_picks += 1
        self._take(slot, found)
        erp.book(slot, -found, at)
        erp.set(slot, 0, at)
        return Touch(at, slot, number, -found, corrected=True)

    def _stow(self, day: int, slot: int, at: datetime, erp: SimulatedErp) -> Touch:
        many, number = int(self._ordered_s[slot]), int(self._site.bin_s[slot])
        self._ordered_s[slot] = 0
        errors, side = self._errors, float(self._draws.stow_side_ds[day, slot])
        _, kind = _which(float(self._draws.stow_luck_ds[day, slot]), errors.stow_bin, errors.stow_quantity)
        into = self._beside(number, side) if kind == 0 else slot
        off = (1 if side < 0.5 else -1) if kind == 1 else 0
        self.truth_s[into] += many + off
        self.flow.came += many + off
        erp.book(slot, many, at)
        return Touch(at, slot, number, many)

    def _order(self, erp: SimulatedErp) -> None:
        """Orders, for the next day, what is low by the record."""
        site = self._site
        low_s = (erp.on_hand_s <= site.reorder_s) & (self._ordered_s == 0)
        lot_s = np.minimum(site.par_s - erp.on_hand_s, self._lot)
        self._ordered_s = np.where(low_s, lot_s, self._ordered_s)

    def _beside(self, number: int, side: float) -> int:
        """The first product of the bin to the left or to the right."""
        step = 1 if side < 0.5 else -1
        return self._slots_b[(number + step) % self._site.bins][0]

    def _in_bin_beside(self, slot: int) -> int | None:
        return next((other for other in self._slots_b[int(self._site.bin_s[slot])] if other != slot), None)

    def _take(self, slot: int, many: int) -> None:
        self.truth_s[slot] -= many
        self.flow.went += many

    def _lose(self, slot: int) -> None:
        self.truth_s[slot] -= 1
        self.flow.lost += 1


def _which(luck: float, *shares: float) -> tuple[float, int | None]:
    """Which of several exclusive chances `luck` hits; None: none of them."""
    for number, share in enumerate(shares):
        if luck < share:
            return luck, number
        luck -= share
    return luck, None
