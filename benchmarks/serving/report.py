"""What rounds add up to: the table, the goals with their ratios, the cost, the plot."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from benchmarks.serving.measure import LOAD, Limits, Measured

from bintally.pages import ACCENT, INK, MUTED, SECOND, axes_row

Round = tuple[Limits, Sequence[Measured]]

NO_LESS_MS: Final = 0.01
"""On a busy machine an overhead can come out below 0, and a ratio to that would flatter."""

HEAD: Final = (
    "system",
    "photos/s",
    "of the bare loop",
    "CPU ms a photo",
    "one photo, ms",
    "overhead, ms",
    f"p50 / p99 (at least) at {LOAD:.0%}, ms",
    "failed",
    "memory, MB",
    "start, s",
)


class Goal(msgspec.Struct, frozen=True):
    """What was aimed at, and how it came out: median, smallest and largest of the rounds."""

    what: str
    wanted: str
    median: float
    low: float
    high: float
    met: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.median:.2f} ({self.low:.2f}-{self.high:.2f}), {'met' if self.met else 'MISSED'}"


def table(rounds: Sequence[Round]) -> str:
    """Markdown: a line for each system, medians of the rounds."""
    lines = [HEAD, ("---",) * len(HEAD)]
    bare = _spread([limits.best_bare_per_s for limits, _ in rounds])
    bare_cpu_ms = statistics.median([limits.best_bare_cpu_ms for limits, _ in rounds])
    lines.append(("bare loop: decoding and model alone", bare, "1", f"{bare_cpu_ms:.1f}", *[""] * 6))
    for place, name in enumerate(_names(rounds)):
        of = [sorted(systems, key=lambda each: _names(rounds).index(each.system))[place] for _, systems in rounds]
        shares = [each.photos_per_s / limits.best_bare_per_s for each, (limits, _) in zip(of, rounds, strict=True)]
        lines.append(
            (
                name,
                _spread([each.photos_per_s for each in of]),
                f"{statistics.median(shares):.2f}",
                f"{_median(of, lambda each: each.cpu_ms):.1f}",
                f"{_median(of, lambda each: each.single_ms):.1f}",
                _spread([each.overhead_ms for each in of], digits=2),
                f"{_median(of, lambda each: each.p50_ms):.0f} / {_median(of, lambda each: each.p99_ms):.0f} "
                f"({_median(of, lambda each: each.least_p99_ms):.0f})",
                str(sum(each.failed for each in of)),
                f"{_median(of, lambda each: each.memory_mb):.0f}",
                f"{_median(of, lambda each: each.started_s):.1f}",
            )
        )
    resnet = _spread([limits.resnet_per_s for limits, _ in rounds])
    lines.append(("ResNet-50, fp32, eager PyTorch, one photo at a time", resnet, *[""] * 8))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goals(rounds: Sequence[Round]) -> list[Goal]:
    """The goals, for the first of our systems; ratios are taken within a round. Rivals: each figure's best of them."""
    per_s, overhead, of_bare, tail, of_resnet = [], [], [], [], []
    for limits, systems in rounds:
        ours = next(each for each in systems if each.is_ours)
        rivals = [each for each in systems if not each.is_ours]
        of_bare.append(ours.photos_per_s / limits.best_bare_per_s)
        tail.append(ours.p99_ms / ours.single_ms)
        of_resnet.append(ours.photos_per_s / limits.resnet_per_s)
        if rivals:
            per_s.append(ours.photos_per_s / max(each.photos_per_s for each in rivals))
            best_ms = min(each.overhead_ms for each in rivals)
            overhead.append(ours.overhead_ms / max(best_ms, NO_LESS_MS))
    told = [
        _goal("photos/s against the best rival's", per_s, at_least=1),
        _goal("overhead a request against the best rival's", overhead, at_most=0.5),
        _goal("photos/s against the bare loop's", of_bare, at_least=0.9),
        _goal(f"p99 at {LOAD:.0%} load against one photo's time", tail, at_most=3),
        _goal("photos/s against ResNet-50's", of_resnet, at_least=8),
    ]
    return [goal for goal in told if goal is not None]


def tail_limit(rounds: Sequence[Round]) -> str:
    """What the goal for the p99 can come to at best, by queueing alone."""
    ours = [next(each for each in systems if each.is_ours) for _, systems in rounds]
    ratios = [each.least_p99_ms / each.single_ms for each in ours]
    return (
        f"p99 at {LOAD:.0%} load: photos wait for each other. A server with our photos/s that loses no time has "
        f"{_spread([each.least_p99_ms for each in ours])} ms for the same arrivals, {_spread(ratios, digits=1)} times "
        "our time of one photo."
    )


def cost(rounds: Sequence[Round], *, cores: int, usd_per_vcpu_hour: float, usd_per_gb_hour: float, gb: float) -> str:
    """What a million counts cost, with the arithmetic. A vCPU is taken for a core of this machine."""
    ours = [next(each for each in systems if each.is_ours) for _, systems in rounds]
    rate = _median(ours, lambda each: each.photos_per_s)
    hours = 1e6 / rate / 3600
    usd = hours * (cores * usd_per_vcpu_hour + gb * usd_per_gb_hour)
    return (
        f"A million counts at {rate:.0f} photos/s on {cores} cores: 1,000,000 / {rate:.0f} / 3,600 = {hours:.2f} hours "
        f"x ({cores} vCPU x ${usd_per_vcpu_hour:g} + {gb:g} GB x ${usd_per_gb_hour:g}) = ${usd:.2f}; "
        f"at {LOAD:.0%} load ${usd / LOAD:.2f}."
    )


def plot(rounds: Sequence[Round], path: Path) -> None:
    """Photos/s, and the overhead of a request, of each system: bars for medians, whiskers for the range."""
    names = _names(rounds)[::-1]
    figure, (per_s, overhead) = axes_row(2, width_in=9, height_in=0.4 * len(names) + 1.1)
    shown: list[tuple[Any, Callable[[Measured], float]]] = [
        (per_s, lambda each: each.photos_per_s),
        (overhead, lambda each: each.overhead_ms),
    ]
    for axes, value in shown:
        values = [[value(each) for _, systems in rounds for each in systems if each.system == name] for name in names]
        medians = [statistics.median(each) for each in values]
        colours = [ACCENT if name.startswith("bintally") else SECOND for name in names]
        whiskers = [[m - min(each) for m, each in zip(medians, values, strict=True)]]
        whiskers += [[max(each) - m for m, each in zip(medians, values, strict=True)]]
        axes.barh(names, medians, xerr=whiskers, color=colours, ecolor=MUTED, height=0.62)
        axes.grid(visible=False, axis="y")
    bare = statistics.median(limits.best_bare_per_s for limits, _ in rounds)
    per_s.axvline(bare, color=INK, linewidth=1, linestyle=":")
    per_s.set_xlabel("photos/s, saturated (dotted: decoding and model alone)", fontsize=8)
    overhead.set_xlabel("overhead of a request, ms", fontsize=8)
    overhead.set_yticklabels([])
    if all(each.overhead_ms > 0 for _, systems in rounds for each in systems):
        overhead.set_xscale("log")  # batches that wait for more take many times as long
        overhead.set_xticks([1, 2, 5, 10, 20, 50, 100], labels=["1", "2", "5", "10", "20", "50", "100"])
        overhead.minorticks_off()
    figure.savefig(path, dpi=160)


def _goal(
    what: str, ratios: Sequence[float], *, at_least: float | None = None, at_most: float | None = None
) -> Goal | None:
    if not ratios:
        return None
    median = statistics.median(ratios)
    met = (at_least is None or median >= at_least) and (at_most is None or median <= at_most)
    wanted = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    return Goal(f"{what} ({wanted})", wanted, median, min(ratios), max(ratios), met)


def _names(rounds: Sequence[Round]) -> list[str]:
    """Systems in the order of the first round."""
    return [each.system for each in rounds[0][1]]


def _median(of: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return statistics.median(map(value, of))


def _spread(values: Sequence[float], *, digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
