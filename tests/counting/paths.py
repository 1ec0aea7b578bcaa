"""The filter's model once more, in plain Python: weights of paths, summed. It shares nothing with `following`.

A path is what happened to a bin, event by event; its weight is the product of the chances of all that happened and was
seen. Paths that agree on all that still matters or is asked about are summed as they go, else no test could wait.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

from bintally.counting.events import AnyEvent, Counted, Emptied, Photo, Picked, Replaced
from bintally.counting.follow_settings import FollowSettings

Path = tuple[int | None, int, int | None, int | None]
"""Count at the last photo, count now; at the event asked about: the count after it, the items moved."""


class Paths:
    """All paths through `events` (in order of time), with their weights; `about` is the event asked about."""

    def __init__(self, events: Sequence[AnyEvent], settings: FollowSettings, about: int) -> None:
        self._settings, self._top = settings, settings.max_count
        self._weights: dict[Path, float] = {(None, x, None, None): p for x, p in enumerate(self._start(settings.start))}
        self._last_photo: str | None = None
        for index, event in enumerate(events):
            drift = self._drift(event.seconds - events[index - 1].seconds) if index else 0.0
            self._extend(event, drift, asked=index == about)
        self.total = math.fsum(self._weights.values())

    def counts(self) -> list[float]:
        """P(count after the event asked about | all events)."""
        shares = [0.0] * (self._top + 1)
        for (_, _, count, _), weight in self._weights.items():
            assert count is not None
            shares[count] += weight / self.total
        return shares

    def moved(self) -> dict[int, float]:
        """P(so many items moved at the event asked about | all events)."""
        shares: dict[int, float] = defaultdict(float)
        for (_, _, _, moved), weight in self._weights.items():
            assert moved is not None
            shares[moved] += weight / self.total
        return dict(shares)

    def _extend(self, event: AnyEvent, drift: float, *, asked: bool) -> None:
        longer: dict[Path, float] = defaultdict(float)
        for (seen, now, *answer), weight in self._weights.items():
            for x, p in self._drifted(now, drift):
                for y, moved, q in self._transition(event, x):
                    chance = p * q * self._evidence(event, seen, y)
                    last = y if isinstance(event, Photo) else seen
                    count, items = (y, moved) if asked else answer
                    longer[(last, y, count, items)] += weight * chance
        self._weights = {path: weight for path, weight in longer.items() if weight > 0.0}
        if isinstance(event, Photo):
            self._last_photo = event.id
        elif isinstance(event, Emptied | Replaced):
            self._last_photo = None

    def _drift(self, waited_s: float) -> float:
        stays = 1.0 - self._settings.drift_per_event
        return 1.0 - stays * math.exp(-self._settings.drift_per_day * waited_s / 86_400)

    def _drifted(self, x: int, drift: float) -> list[tuple[int, float]]:
        size = self._settings.drift_size
        others = {y: size ** (abs(y - x) - 1) for y in range(self._top + 1) if y != x}
        return [(x, 1.0 - drift)] + [(y, drift * w / sum(others.values())) for y, w in others.items()]

    def _transition(self, event: AnyEvent, x: int) -> list[tuple[int, int | None, float]]:
        if isinstance(event, Photo | Counted):
            return [(x, None, 1.0)]
        if isinstance(event, Emptied):
            return [(0, None, 1.0 - self._settings.not_emptied), (x, None, self._settings.not_emptied)]
        if isinstance(event, Replaced):
            return [(y, None, p) for y, p in enumerate(self._start(event.start or self._settings.start))]
        quantity = event.quantity * (-1 if isinstance(event, Picked) else 1)
        errors = self._settings.transactions
        right = 1.0 - errors.nothing - errors.one_off - errors.twice - errors.anything
        ends: list[tuple[int, int | None, float]] = []
        for moved, share in (
            (quantity, right),
            (0, errors.nothing),
            (quantity - 1, errors.one_off / 2),
            (quantity + 1, errors.one_off / 2),
            (2 * quantity, errors.twice),
        ):
            held = min(moved, self._top)
            if x + moved >= 0:
                ends.append((min(x + held, self._top), held, share))
        ends.extend((y, y - x, errors.anything / (self._top + 1)) for y in range(self._top + 1))
        return ends

    def _evidence(self, event: AnyEvent, earlier: int | None, y: int) -> float:
        if isinstance(event, Counted):
            if y == event.count:
                return 1.0 - self._settings.count_error
            weights = {z: self._settings.drift_size ** (abs(z - y) - 1) for z in range(self._top + 1) if z != y}
            return self._settings.count_error * weights[event.count] / sum(weights.values())
        if not isinstance(event, Photo):
            return 1.0
        told = self._alone(event, y)
        if event.change and event.previous == self._last_photo:
            assert earlier is not None
            told = self._together(event, earlier, y)
        return (1.0 - self._settings.misleading) * told + self._settings.misleading

    def _alone(self, photo: Photo, y: int) -> float:
        prior = photo.prior or dict.fromkeys(photo.probabilities, 1.0)
        key = self._key(y, prior) if photo.probabilities else None
        if key is None:
            return 1.0
        told = photo.probabilities.get(key, 0.0) / sum(photo.probabilities.values())
        return told / (prior[key] / sum(prior.values()))

    def _together(self, photo: Photo, x: int, y: int) -> float:
        earlier = self._key(x, photo.change)
        if earlier is None:
            return self._alone(photo, y)
        row, table = photo.change[earlier], photo.change_prior[earlier]
        new = self._key(y, table)
        if new is None:
            return self._alone(photo, y)
        fit = 0.0
        for key in table:
            members = [z for z in range(self._top + 1) if self._key(z, table) == key]
            fit += table[key] / sum(table.values()) * sum(self._alone(photo, z) for z in members) / len(members)
        told = (row.get(new, 0.0) / sum(row.values())) / (table[new] / sum(table.values()))
        return float(told * fit**self._settings.second_look)

    def _start(self, shares: dict[str, float]) -> list[float]:
        known = shares or {key: 1.0 for key in ("0", "1", "2", "3", "4", "5", "6+") if int(key[0]) <= self._top}
        start = [0.0] * (self._top + 1)
        for key, share in known.items():
            members = [y for y in range(self._top + 1) if self._key(y, {key: 1.0}) == key]
            weights = [self._settings.tail**step for step in range(len(members))]
            for y, weight in zip(members, weights, strict=True):
                start[y] += share * weight / sum(weights) / sum(known.values())
        return [(1.0 - self._settings.unlike_start) * p + self._settings.unlike_start / len(start) for p in start]

    @staticmethod
    def _key(y: int, keys: dict[str, float] | dict[str, dict[str, float]]) -> str | None:
        for key in keys:
            if key == str(y) or (key.endswith("+") and y >= int(key[:-1])):
                return key
        return None
