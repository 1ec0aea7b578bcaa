"""Where a training's time went, from its run folder's rows: what a report shows, and the main cost in a sentence."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bintally.training.run_log import PHASES, StepRow, read_steps

_SLOWEST: Final = 10
_POINTS: Final = 100  # of photos a second
_START: Final = "other:start"
_WARM_UP: Final = "other:warm-up"
_COMPUTING: Final = ("forward", "backward", "optimizer")

_MUCH: Final = 0.2
"""From this share of the time on, what is no computing is the main cost."""

_COSTS: Final = {
    "data": ("waits for data", "raise loop.workers, or lower input.cache_px and augmentations"),
    "transfer": ("copies batches to the device", "see that photos travel as bytes, from pinned memory"),
    "logging": ("goes into watching the training", "save (loop.checkpoint_minutes), watch and report less often"),
    "validation": ("goes into validation", "judge on fewer photos of val, or make it a smaller share of the split"),
    "other": ("goes into other things", "see what they are made of"),
}
"""What a phase is to people, and what to do where it is the main cost; computing is the work itself."""


class Part(msgspec.Struct, frozen=True):
    """A named piece of the time, of a phase or of the whole."""

    name: str
    seconds: float
    share: float
    """Of the whole training's time, 0..1."""


class SlowStep(msgspec.Struct, frozen=True):
    """One of the slowest steps, and what it did longer than usual."""

    step: int
    seconds: float
    typical_s: float
    why: str


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """A training's time. `phases` sum to `seconds`; the `parts` of a phase sum to it."""

    steps: int
    seconds: float
    typical_s: float
    """Median step, without validation."""
    phases: tuple[Part, ...]
    """Longest first: data, transfer, forward, backward, optimizer, logging, validation, other."""
    parts: dict[str, tuple[Part, ...]]
    """What a phase is made of, longest first; only phases that are split up (other, logging, validation)."""
    slowest: tuple[SlowStep, ...]
    """Longest first, validation left out."""
    photos_per_s: tuple[tuple[float, float], ...]
    """(Unix time, photos a second) over about a hundredth of the training each, validation left out."""
    sentence: str
    """The main cost, and what to do about it."""


def breakdown(run: Path) -> Breakdown:
    """What the time of `run` (finished or running) was spent on; all zero where it has no step yet."""
    return breakdown_of(read_steps(run))


def breakdown_of(steps: Sequence[StepRow]) -> Breakdown:
    """What the time of these steps, in order, was spent on."""
    totals = _totals(steps)
    whole = sum(totals[phase] for phase in PHASES)
    phases = _ranked({phase: totals[phase] for phase in PHASES if totals[phase]}, whole)
    parts = {phase: _parts_of(phase, totals, whole) for phase in PHASES}
    return Breakdown(
        steps=len(steps),
        seconds=whole,
        typical_s=median(row.duration_s for row in steps) if steps else 0.0,
        phases=phases,
        parts={phase: found for phase, found in parts.items() if found},
        slowest=_slowest(steps),
        photos_per_s=_rates(steps),
        sentence=_sentence(phases, parts),
    )


def _totals(steps: Sequence[StepRow]) -> defaultdict[str, float]:
    """Seconds by name. A session's first step is compared with the others: what it computes longer is its warm-up.

    That is compilation, the allocator's first memory, the choice of algorithms: work of no step, but of the start.
    """
    totals: defaultdict[str, float] = defaultdict(float)
    typical = {name: median(row.seconds.get(name, 0.0) for row in steps) if steps else 0.0 for name in _COMPUTING}
    for row in steps:
        seconds = defaultdict(float, row.seconds)
        if _START in row.seconds and len(steps) > 1:
            for name in _COMPUTING:
                excess = max(seconds[name] - typical[name], 0.0)
                seconds[name] -= excess
                seconds["other"] += excess
                seconds[_WARM_UP] += excess
        for name, value in seconds.items():
            totals[name] += value
    return totals


def _parts_of(phase: str, totals: Mapping[str, float], whole: float) -> tuple[Part, ...]:
    """A phase's parts, with what had too little of each step to be named; none where it is one thing."""
    named = {name.partition(":")[2]: seconds for name, seconds in totals.items() if name.startswith(f"{phase}:")}
    if not named:
        return ()
    rest = totals[phase] - sum(named.values())
    return _ranked({**named, "small pieces": rest} if rest > 1e-6 else named, whole)


def _ranked(seconds: dict[str, float], whole: float) -> tuple[Part, ...]:
    parts = [Part(name, value, value / whole if whole else 0.0) for name, value in seconds.items()]
    return tuple(sorted(parts, key=lambda part: -part.seconds))


def _slowest(steps: Sequence[StepRow]) -> tuple[SlowStep, ...]:
    if not steps:
        return ()
    typical = median(row.duration_s for row in steps)
    names = {name for row in steps for name in row.seconds} - {"validation", _START}
    usual = {name: median(row.seconds.get(name, 0.0) for row in steps) for name in names}
    slow = sorted(steps, key=lambda row: -row.duration_s)[:_SLOWEST]
    return tuple(SlowStep(row.step, row.duration_s, typical, _why(row, usual)) for row in slow)


def _why(row: StepRow, usual: dict[str, float]) -> str:
    """What the step did longer than usual, by the smallest name that tells most of it."""
    excess = {name: row.seconds.get(name, 0.0) - seconds for name, seconds in usual.items()}
    phase = max((name for name in excess if ":" not in name), key=lambda name: excess[name], default="other")
    parts = [name for name in excess if name.startswith(f"{phase}:") and excess[name] > excess[phase] / 2]
    name = max(parts, key=lambda name: excess[name], default=phase)
    if excess.get(name, 0.0) <= 0:
        return "nothing in particular"
    return f"{name.replace(':', ': ')} took {1000 * excess[name]:.0f} ms more than usual"


def _rates(steps: Sequence[StepRow]) -> tuple[tuple[float, float], ...]:
    size = max(len(steps) // _POINTS, 1)
    chunks = [steps[start : start + size] for start in range(0, len(steps), size)]
    return tuple(
        (chunk[-1].at, sum(row.photos for row in chunk) / seconds)
        for chunk in chunks
        if (seconds := sum(row.duration_s for row in chunk)) > 0
    )


def _sentence(phases: Sequence[Part], parts: dict[str, tuple[Part, ...]]) -> str:
    if not phases:
        return "There is no step yet."
    computing = [part for part in phases if part.name in _COMPUTING]
    share = sum(part.share for part in computing)
    main = next((part for part in phases if part.name not in _COMPUTING), None)
    if main is None or main.share < min(_MUCH, share):
        shares = ", ".join(f"{part.name} {part.share:.0%}" for part in computing)
        return f"{share:.0%} of the time is computing ({shares}): nothing holds it up."
    what, remedy = _COSTS[main.name]
    made_of = parts[main.name]
    if main.name in ("other", "logging") and made_of:
        what += f", most of it {made_of[0].name} ({made_of[0].share:.0%})"
    return f"{main.share:.0%} of the time {what}: {remedy}."
