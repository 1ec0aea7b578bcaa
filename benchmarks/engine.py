"""What the service's engine makes of a machine, beside the ways it chooses between and a bare loop, in turns.

    python benchmarks/engine.py [--bundle FOLDER_OR_NAME ...] [--photos FOLDER] [--clients 16]

Each round runs every way once over the same photos, decoding included; ratios are to the bare loop of the same round
(one photo after the other, all cores), as median, smallest and largest. Wall time is what a client waits, CPU time
beside it hardly notices other work on the same cores.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bintally.counting.counter import Counter
from bintally.counting.decode import decode
from bintally.counting.network import Network
from bintally.data.rendered.source import render_source
from bintally.serving.asked import Asked
from bintally.serving.engine.batching import BatchingEngine
from bintally.settings import BUNDLED, cpu_count

SHARED_PHOTOS = Path(__file__).parents[2] / "shared" / "abid" / "bin-images"
BATCH = 4
BARE = "bare loop, all cores a photo"


@dataclass(frozen=True)
class Way:
    """One way to count photos, in so many threads."""

    network: Network
    threads: int
    batch: int

    def run(self, photos: Sequence[bytes]) -> None:
        """Decodes and counts, without a queue, deadlines or answers."""
        card = self.network.card

        def some(start: int) -> None:
            part = [decode(each, height_px=card.height_px, width_px=card.width_px) for each in photos[start:][:BATCH]]
            for first in range(0, len(part), self.batch):
                self.network.see(np.stack(part[first : first + self.batch]))

        starts = range(0, len(photos), BATCH)
        if self.threads == 1:
            for start in starts:
                some(start)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(some, starts))


async def _clients(engine: BatchingEngine, photos: Sequence[bytes], clients: int) -> None:
    left = iter(photos)

    async def client() -> None:
        for photo in left:
            await engine.count(Asked(photo=photo), photo)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="append", help="repeat it; default: the models that ship")
    parser.add_argument("--photos", type=Path, default=SHARED_PHOTOS if SHARED_PHOTOS.is_dir() else None)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        source = asked.photos or render_source(Path(folder), photos=asked.limit) / "bin-images"
        photos = [path.read_bytes() for path in sorted(source.glob("*.jpg"))[: asked.limit]]
    print(f"{len(photos)} photos, {cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    for bundle in asked.bundle or [name for name, place in BUNDLED.items() if place.is_dir()]:
        _compare(Counter(bundle), photos, asked.clients, asked.rounds)


def _compare(counter: Counter, photos: Sequence[bytes], clients: int, rounds: int) -> None:
    cores = cpu_count()
    one = Network(counter.bundle, threads=1)
    engine = BatchingEngine(counter)
    ways: dict[str, Callable[[], None]] = {
        BARE: lambda: Way(counter.network, 1, 1).run(photos),
        f"bare loops side by side, {cores} x 1 core": lambda: Way(one, cores, 1).run(photos),
        f"bare loops side by side, batches of {BATCH}": lambda: Way(one, cores, BATCH).run(photos),
        "engine, 1 client": lambda: asyncio.run(_clients(engine, photos, 1)),
        f"engine, {clients} clients": lambda: asyncio.run(_clients(engine, photos, clients)),
    }
    rows = [{name: _timed(way) for name, way in ways.items()} for _ in range(rounds + 1)][1:]  # the first warms up
    times = {name: [row[name] for row in rows] for name in ways}
    print(f"{counter.card.name}, batches {engine.load().batches}")
    for name, measured in times.items():
        wall_s, cpu_s = (statistics.median(column) for column in zip(*measured, strict=True))
        ratios = [bare[0] / own[0] for bare, own in zip(times[BARE], measured, strict=True)]
        print(
            f"  {name:<40} {len(photos) / wall_s:7.1f} photos/s {1000 * cpu_s / len(photos):7.2f} ms CPU a photo ",
            end="",
        )
        print(f"{statistics.median(ratios):5.2f}x ({min(ratios):.2f}-{max(ratios):.2f})", flush=True)
    asyncio.run(engine.close())


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
