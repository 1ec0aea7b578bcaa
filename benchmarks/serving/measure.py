"""What is measured of one system in one round, and of the limits beside it."""

import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from benchmarks.serving.bare import counting
from benchmarks.serving.client import moments, one_by_one, poisson, saturated
from benchmarks.serving.queueing import least_p99_ms
from benchmarks.serving.systems import Running, System, answer_of, running
from benchmarks.serving.venvs import venv_of

CONNECTIONS: Final = 16
LOAD: Final = 0.7
"""Share of its own saturated photos/s that a system is loaded with for its latencies."""

TOLERANCE: Final = 0.02
"""Probabilities of one photo may differ by this between batches: bf16 rounds (the bundle's test allows as much)."""

HERE: Final = Path(__file__).parent


class Asked(msgspec.Struct, frozen=True):
    """What every measurement of a run shares."""

    bundle: str
    photos: tuple[bytes, ...]
    right: tuple[dict[str, float], ...]  # probabilities of the first photos
    folder: Path  # where the photos are files
    seconds: float


class Limits(msgspec.Struct, frozen=True):
    """One round of what is measured without a network."""

    bare_per_s: dict[str, float]
    bare_cpu_ms: dict[str, float]
    resnet_per_s: float

    @property
    def best_bare_per_s(self) -> float:
        """Photos/s of the quickest bare loop."""
        return max(self.bare_per_s.values())

    @property
    def best_bare_cpu_ms(self) -> float:
        """CPU milliseconds a photo of the bare loop that takes least."""
        return min(self.bare_cpu_ms.values())


class Measured(msgspec.Struct, frozen=True):
    """One round of one system."""

    system: str
    is_ours: bool
    photos_per_s: float
    cpu_ms: float  # of the server's processes, a photo, while saturated
    single_ms: float  # median of one connection
    overhead_ms: float  # of `single_ms`, over the bare loop's in turns with it, with as many threads
    p50_ms: float  # at `LOAD`, as the next
    p99_ms: float
    least_p99_ms: float  # of any server with these photos/s, for the same arrivals
    failed: int
    memory_mb: float
    started_s: float


def limits(asked: Asked) -> Limits:
    """Runs the bare loop and the reports' model."""
    arguments = ["--photos", str(asked.folder), "--seconds", str(asked.seconds)]
    bare = _told(venv_of(""), "bare.py", "--bundle", asked.bundle, *arguments)
    resnet = _told(Path(sys.executable), "resnet.py", *arguments)
    return Limits(bare["photos_per_s"], bare["cpu_ms"], resnet["photos_per_s"])


def measure(system: System, asked: Asked, *, seed: int) -> Measured:
    """Starts a system, loads it, ends it.

    Raises:
        RuntimeError: it does not answer, or wrongly.
    """
    with running(system, bundle=asked.bundle, photos=asked.photos) as service:
        return asyncio.run(_measured(service, asked, seed))


async def _measured(service: Running, asked: Asked, seed: int) -> Measured:
    await _check(service, asked)
    system, port = service.system, service.port
    requests = system.requests(asked.photos, port)
    await saturated(port, requests, connections=CONNECTIONS, seconds=min(asked.seconds, 2))  # warms it
    cpu_s = service.cpu_s()
    full = await saturated(port, requests, connections=CONNECTIONS, seconds=asked.seconds)
    cpu_s = service.cpu_s() - cpu_s
    count = _bare(asked.bundle, system.threads)
    single, overheads_ms = await one_by_one(
        port, requests, beside=lambda place: count(asked.photos[place]), seconds=asked.seconds
    )
    rate_per_s = LOAD * full.photos_per_s
    open_loop = await poisson(port, requests, rate_per_s=rate_per_s, seconds=asked.seconds, seed=seed)
    return Measured(
        system=system.name,
        is_ours=system.is_ours,
        photos_per_s=full.photos_per_s,
        cpu_ms=1000 * cpu_s / max(len(full.latencies_ms), 1),
        single_ms=single.percentile_ms(50),
        overhead_ms=statistics.median(overheads_ms),
        p50_ms=open_loop.percentile_ms(50),
        p99_ms=open_loop.percentile_ms(99),
        least_p99_ms=least_p99_ms(moments(rate_per_s, asked.seconds, seed), photos_per_s=full.photos_per_s),
        failed=full.failed + single.failed + open_loop.failed,
        memory_mb=service.memory_bytes() / 2**20,
        started_s=service.started_s,
    )


async def _check(service: Running, asked: Asked) -> None:
    """What counts wrongly is not compared."""
    for photo, right in zip(asked.photos, asked.right, strict=False):
        told = (await answer_of(service, photo))["probabilities"]
        if told.keys() != right.keys() or any(abs(told[key] - right[key]) > TOLERANCE for key in right):
            raise RuntimeError(f"{service.system.name} counts {told}, not {right}.")


@cache
def _bare(bundle: str, threads: int) -> Callable[[bytes], object]:
    return counting(bundle, threads)


def _told(python: Path, script: str, *arguments: str) -> dict[str, Any]:
    command: Sequence[str | Path] = [python, HERE / script, *arguments]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return told
