"""Pairs made of a few words, for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from bintally.records import COUNT_KEYS
from bintally.registry.shadow.pairs import Begun, Kept, Pair, Told

MORNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def told(count: int, *, sure: float = 0.7, **more: Any) -> Told:
    """A model that gives `sure` to a count, and shares the rest among the others."""
    rest = (1 - sure) / (len(COUNT_KEYS) - 1)
    shares = dict.fromkeys(COUNT_KEYS, rest) | {COUNT_KEYS[count]: sure}
    expected = sum(k * share for k, share in enumerate(shares.values()))
    return Told(count=count, expected_count=expected, probabilities=shares, latency_ms=5.0, **more)


def pair(number: int, champion: Told, challenger: Told, **more: Any) -> Pair:
    """The `number`th pair, of a photo and a bin of its own."""
    about: dict[str, Any] = {"bin": f"B{number}", "photo_sha256": f"{number:064x}", "request_id": f"r{number}"}
    return Pair(
        **(about | {"at": MORNING + timedelta(seconds=number)} | more), champion=champion, challenger=challenger
    )


def kept(*pairs: Pair, begun: tuple[Begun, ...] = ()) -> Kept:
    """What was read of files with these lines."""
    return Kept(pairs=list(pairs), begun=list(begun), torn=0)


def two_models(photos: int, *, right: float, right_before: float, seed: int = 0) -> tuple[list[Pair], dict[str, int]]:
    """Pairs of two models that are right as often as that, independent of each other, and the true counts."""
    chance = np.random.default_rng(seed)
    pairs, counts = [], {}
    for number in range(photos):
        true = int(chance.integers(6))
        sides = [true if chance.random() < share else (true + 1) % 6 for share in (right_before, right)]
        pairs.append(pair(number, *(told(count) for count in sides)))
        counts[pairs[-1].photo_sha256] = true
    return pairs, counts
