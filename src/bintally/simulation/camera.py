"""Robots with cameras: which bins are photographed, and which photo of the bank each bin shows next."""

from collections import Counter
from typing import NamedTuple

from bintally.simulation.bank import Drawn, PhotoBank
from bintally.simulation.draws import PHOTOS, Draws
from bintally.simulation.settings import SimulationSettings
from bintally.simulation.tally import capacity
from bintally.simulation.world import World


class Shown(NamedTuple):
    """A photo of a bin: what the bank has for it, and the number there of the bin's photo before (None: none)."""

    drawn: Drawn
    before: int | None


class Camera:
    """Walks each bin through the bank; the same luck gives the same photos."""

    def __init__(self, bank: PhotoBank, draws: Draws, world: World, settings: SimulationSettings) -> None:
        self._bank, self._draws, self._world = bank, draws, world
        self._share, self._rounds = settings.robots.photographed, settings.rounds_per_day
        self._sources: Counter[str] = Counter()
        self._last: dict[int, tuple[int, int]] = {}  # photo, count then
        self._errors: dict[int, tuple[float, int]] = {}  # of a bin's photos: their sum, how many
        self._seen_b = [-1] * draws.site.bins  # day
        self._today: Counter[int] = Counter()

    def passes(self, day: int, number: int) -> bool:
        """Whether a robot photographs a bin after a touch."""
        at = min(self._today[number], PHOTOS - 1)
        return bool(self._draws.seen_dbk[day, number, at] < self._share)

    def shoot(self, day: int, number: int) -> Shown:
        """Photographs a bin as it is."""
        luck = float(self._draws.photo_dbk[day, number, min(self._today[number], PHOTOS - 1)])
        self._today[number] += 1
        count, last = self._world.in_bin(number), self._last.get(number)
        total, many = self._errors.get(number, (0.0, 0))
        lean = total / many if many else None
        drawn = self._bank.first(count, luck) if last is None else self._bank.next(*last, count, luck, lean=lean)
        self._errors[number] = total + float(self._bank.error_n[drawn.photo]), many + 1
        self._last[number] = (drawn.photo, count)
        self._seen_b[number] = day
        self._sources[drawn.source] += 1
        return Shown(drawn, None if last is None else last[0])

    def round(self, day: int) -> list[int]:
        """The bins of the evening's round: those that were not photographed for longest."""
        waiting = (number for number in range(len(self._seen_b)) if not self._today[number])
        longest = sorted(waiting, key=lambda number: (self._seen_b[number], number))
        return longest[: capacity(day, self._rounds)]

    def end(self) -> int:
        """The day is over: how many photos it had."""
        photos = self._today.total()
        self._today.clear()
        return photos

    def told(self) -> dict[str, int]:
        """Photos by where they were drawn from."""
        return {f"photos, {name}": many for name, many in sorted(self._sources.items())}
