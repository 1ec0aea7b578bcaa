"""The simulated site's stock system: what it believes of each bin, in memory, behind the protocol of all connectors.

It allocates picks and orders stows by what it believes, books them as they were meant, and takes corrections as any
other stock system does: drafts under keys, carried out once.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

import numpy as np

from bintally.inventory.erp.protocol import About, Answer, Draft, Posting, Stock
from bintally.simulation.draws import Ints

KIND: Final = "simulated"

Adjusted = Callable[[int, int, int], None]
"""Told of each correction: the slot, what was recorded, what is recorded now."""


class SimulatedErp:
    """A stock system in memory: a `Connector`. Bins and products go by `bin_code` and `sku`."""

    def __init__(self, bin_s: Ints, record_s: Ints, at: datetime, *, adjusted: Adjusted) -> None:
        self.on_hand_s = record_s.copy()
        self.commits: dict[str, int] = {}
        """How often each posting was carried out, by its key."""
        self._bin_s, self._adjusted = bin_s, adjusted
        self._as_of = dict.fromkeys(range(int(bin_s[-1]) + 1), at)
        self._drafts: dict[str, tuple[Draft, Posting]] = {}
        self._clock = at
        self._changed: set[int] = set()

    def changed(self) -> list[str]:
        """Bins whose record has changed since it was last asked."""
        numbers = sorted(self._changed)
        self._changed.clear()
        return [bin_code(number) for number in numbers]

    def book(self, slot: int, quantity: int, at: datetime) -> None:
        """A pick (below 0) or a stow, as it was meant."""
        self.on_hand_s[slot] += quantity
        self._stamp(slot, at)

    def set(self, slot: int, count: int, at: datetime) -> None:
        """Somebody in the site corrects a record by hand."""
        before = int(self.on_hand_s[slot])
        if before == count:
            return
        self.on_hand_s[slot] = count
        self._stamp(slot, at)
        self._adjusted(slot, before, count)

    def tell_time(self, at: datetime) -> None:
        """What time it is, for what is posted from now on."""
        self._clock = at

    def about(self) -> About:
        """What answers."""
        return About("simulated stock system")

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        """What it believes."""
        for number in range(len(self._as_of)) if bins is None else map(bin_number, bins):
            slots = np.flatnonzero(self._bin_s == number)
            lines = {sku(int(slot)): int(self.on_hand_s[slot]) for slot in slots}
            yield Stock(bin=bin_code(number), lines=lines, as_of=self._as_of[number])

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        """What has become of postings."""
        return {key: self._drafts[key][0] for key in keys if key in self._drafts}

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Drafts; no stock changes."""
        for posting in postings:
            held = self._drafts.get(posting.key)
            draft = held[0] if held else Draft(posting.key, f"D{len(self._drafts) + 1}")
            if draft.fate == "draft":  # told again, it is the lines of now that count
                self._drafts[posting.key] = draft, posting
        return {posting.key: self._drafts[posting.key][0] for posting in postings}

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """Carries drafts out, each once."""
        return {draft.key: self._commit(draft) for draft in drafts}

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Throws drafts away."""
        for draft in drafts:
            if self._drafts[draft.key][0].fate == "draft":
                del self._drafts[draft.key]

    def close(self) -> None:
        """Nothing is open."""

    def _stamp(self, slot: int, at: datetime) -> None:
        number = int(self._bin_s[slot])
        self._as_of[number] = at
        self._changed.add(number)

    def _commit(self, draft: Draft) -> Answer:
        held, posting = self._drafts[draft.key]
        if held.fate == "done":
            return Answer(draft.key, "done", held.reference)
        slots = {line.product: slot_number(line.product) for line in posting.lines if line.product is not None}
        if any(self.on_hand_s[slots[line.product]] != line.before for line in posting.lines if line.product):
            return Answer(draft.key, "stale", held.reference, "stock has moved")
        for line in posting.lines:
            if line.product is not None:
                self.set(slots[line.product], line.after, self._clock)
        self.commits[draft.key] = self.commits.get(draft.key, 0) + 1
        self._drafts[draft.key] = Draft(draft.key, held.reference, "done"), posting
        return Answer(draft.key, "done", held.reference)


def bin_code(number: int) -> str:
    """A bin's code: twenty bays an aisle, five levels a bay."""
    bay, level = divmod(number, 5)
    return f"{1 + bay // 20:02}-{1 + bay % 20:02}-{'ABCDE'[level]}"


def bin_number(code: str) -> int:
    """The number of `bin_code`."""
    aisle, bay, level = code.split("-")
    return ((int(aisle) - 1) * 20 + int(bay) - 1) * 5 + "ABCDE".index(level)


def sku(slot: int) -> str:
    """A product's name."""
    return f"SKU-{slot:05}"


def slot_number(name: str) -> int:
    """The number of `sku`."""
    return int(name.removeprefix("SKU-"))
