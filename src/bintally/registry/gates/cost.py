"""What a version costs beside the champion: time for a photo, measured side by side, and bytes.

Both models are loaded and count the same photos in turn, so that whatever else the machine does meets both alike.
Shapes: N photos timed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Figure
from bintally.counting.counter import Counter
from bintally.counting.intervals import bootstrap_all
from bintally.registry.gates.outcome import GateResult, Part
from bintally.registry.gates.settings import SpeedSettings

if TYPE_CHECKING:
    from bintally.registry.gates.case import Case

WORSE: Final = 1.05
"""A ratio up to here is "not worse": clocks differ by that much from run to run."""

_WARM_UP: Final = 3
_TURNS: Final = 3  # what else a machine does only ever adds time
_TRIES: Final = 3
_RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Times:
    """Milliseconds of each photo, decoding and inference; of the champion None where there is none."""

    mine_n: NDArray[np.float64]
    champions_n: NDArray[np.float64] | None

    def figures(self, seed: int) -> dict[str, Figure]:
        """`p50_ms` and `p95_ms`, and beside a champion `p50` and `p95`, as multiples of the champion's."""
        mine_n, champions_n = self.mine_n, self.champions_n

        def told(chosen: NDArray[np.intp]) -> list[float]:
            mine = np.percentile(mine_n[chosen], [50, 95])
            if champions_n is None:
                return list(mine)
            return [*mine, *(mine / np.percentile(champions_n[chosen], [50, 95]))]

        names = ("p50_ms", "p95_ms", "p50", "p95")
        figures = bootstrap_all(told, len(mine_n), resamples=_RESAMPLES, seed=seed)
        return dict(zip(names, figures, strict=False))


def measure(photos: Sequence[bytes], mine: Counter, champions: Counter | None) -> Times:
    """Counts each of the photos with both, in turns; of a photo's `_TURNS` times with a model, the shortest counts."""
    counters = [mine] if champions is None else [mine, champions]
    spent_nc = np.full((len(photos), len(counters)), np.inf)
    for photo in photos[:_WARM_UP]:
        for counter in counters:
            counter.count(photo)
    for n, photo in enumerate(photos):
        for c in _TURNS * list(range(len(counters))):
            started = time.perf_counter()
            counters[c].count(photo)
            spent_nc[n, c] = min(spent_nc[n, c], 1000 * (time.perf_counter() - started))
    return Times(spent_nc[:, 0], None if champions is None else spent_nc[:, 1])


def measure_until_fast(once: Callable[[], Times], settings: SpeedSettings, seed: int) -> Times:
    """Times within the limits, if one of `_TRIES` has them: a slow model is slow each time, a busy machine is not."""
    for _ in range(_TRIES):
        times = once()
        if all(part.passed for part in _parts(times.figures(seed), settings)):
            break
    return times


def speed(case: "Case") -> GateResult:
    """A photo takes not much longer than with the champion, nor than is allowed."""
    figures, settings = case.times.figures(case.settings.seed), case.settings.speed
    parts = _parts(figures, settings)
    median = f"A median photo takes {figures['p50_ms'].value:.1f} ms"
    beside = f", {figures['p50'].value:.2f} times as long as the champion's" if "p50" in figures else ""
    slow = [part for part in parts if not part.passed]
    told = f": {'; '.join(part.says for part in slow)}." if slow else "."
    return GateResult(
        gate="speed",
        passed=not slow,
        reason=median + beside + told,
        figure=figures.get("p50", figures["p50_ms"]),
        limit=settings.slower if "p50" in figures else settings.p50_ms,
        photos=len(case.times.mine_n),
        parts=parts,
    )


def size(case: "Case") -> GateResult:
    """The bundle is not much larger than the champion's, nor than is allowed."""
    settings, bytes_ = case.settings.size, case.version.bundle_bytes
    reason, too_large = f"{_mb(bytes_)}", []
    ratio = size_ratio(case)
    if ratio is not None:
        reason += f", {ratio:.2f} times the champion's"
        if ratio > settings.larger:
            too_large.append(f"at most {settings.larger:g} times is allowed")
    if settings.most_mb is not None and bytes_ > 1e6 * settings.most_mb:
        too_large.append(f"at most {settings.most_mb:g} MB are allowed")
    value = bytes_ / 1e6 if ratio is None else ratio
    return GateResult(
        gate="size",
        passed=not too_large,
        reason=f"{': '.join([reason, *([' and '.join(too_large)] if too_large else [])])}.",
        figure=Figure(value, value, value),
        limit=settings.most_mb if ratio is None else settings.larger,
    )


def size_ratio(case: "Case") -> float | None:
    """The bundle's bytes as a multiple of the champion's; None without a champion."""
    return None if case.against is None else case.version.bundle_bytes / case.against.bundle_bytes


def cheaper(case: "Case", share: float) -> str | None:
    """By what the candidate is cheaper than the champion, in words; None: it is not."""
    bytes_ratio = size_ratio(case)
    if bytes_ratio is None:
        return None
    took = case.times.figures(case.settings.seed)["p50"]
    if took.high <= 1 - share and bytes_ratio <= WORSE:
        return f"takes {took.value:.2f} times as long ({took.low:.2f} to {took.high:.2f})"
    if bytes_ratio <= 1 - share and took.value <= WORSE:
        return f"is {bytes_ratio:.2f} times as large"
    return None


def _parts(figures: dict[str, Figure], settings: SpeedSettings) -> tuple[Part, ...]:
    limits = {
        "p50": settings.slower,
        "p95": settings.slower_p95,
        "p50_ms": settings.p50_ms,
        "p95_ms": settings.p95_ms,
    }
    return tuple(
        _part(name, figures[name], limit) for name, limit in limits.items() if limit is not None and name in figures
    )


def _part(name: str, figure: Figure, limit: float) -> Part:
    unit, of = (" ms", "") if name.endswith("_ms") else ("", " times the champion's")
    which = "median" if name.startswith("p50") else "95th percentile"
    says = f"the {which} is {figure.value:.3g}{unit}{of}, at most {limit:g}{unit} is allowed"
    return Part(name=name, passed=figure.value <= limit, figure=figure, limit=limit, says=says)


def _mb(bytes_: int) -> str:
    return f"{bytes_ / 1e6:.1f} MB" if bytes_ >= 1e5 else f"{bytes_ / 1e3:.1f} kB"
