"""How fast bins are followed: posteriors/s of bins with a few events, of one event more, and of looking back.

    python benchmarks/follow.py

An event costs products of matrices of max_count + 1 counts, once over the pairs (count at the last photo, count now).
"""

import os
import time
from collections.abc import Callable

import numpy as np

from bintally.counting.events import AnyEvent, Counted, Photo, Picked, Stowed, change_shares
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.following import History, follow
from bintally.records import COUNT_KEYS

REPEATS = 5


def main() -> None:
    """Prints the figures."""
    print(f"one thread, load average {os.getloadavg()[0]:.1f} (CPU time is what is told; it hardly depends on others)")
    for max_count in (12, 30, 100):
        settings = FollowSettings(max_count=max_count)
        for events, bins in ((10, 100), (100, 10)):
            history = bin_of(events)
            label = f"{events} events, counts to {max_count}"
            _report(f"{label}: follow", events * bins, lambda: [follow(history, settings) for _ in range(bins)])  # noqa: B023
            known = History(history, settings)
            _report(f"{label}: look back", events * bins, lambda: [known.looking_back() for _ in range(bins)])  # noqa: B023


def bin_of(events: int, *, seed: int = 0) -> list[AnyEvent]:
    """A counted bin, then photos (each told with the one before) and transactions in turn."""
    chance = np.random.default_rng(seed)
    made: list[AnyEvent] = [Counted(time=0, count=4)]
    for moment in range(1, events):
        if moment % 2:
            own = dict(zip(COUNT_KEYS, chance.dirichlet(np.ones(7)).tolist(), strict=True))
            change, table = (change_shares(chance.dirichlet(np.ones(7), 7), COUNT_KEYS) for _ in range(2))
            previous = f"{moment - 2}" if moment > 2 else None
            pair = {"previous": previous, "change": change, "change_prior": table} if previous else {}
            made.append(Photo(time=moment, id=str(moment), probabilities=own, **pair))  # type: ignore[arg-type]
        else:
            made.append((Picked if chance.random() < 0.5 else Stowed)(time=moment, quantity=1))
    return made


def _report(label: str, posteriors: int, work: Callable[[], object]) -> None:
    best_s = min(_cpu_s(work) for _ in range(REPEATS))
    print(f"{label:<40} {posteriors / best_s:10,.0f} posteriors/s   {1e6 * best_s / posteriors:8.0f} us each")


def _cpu_s(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
