"""How many times the photos/s of one bundle another one has: the fast variant beside the champion, in turns.

    python benchmarks/fast.py [--bundle FOLDER_OR_NAME --bundle FOLDER_OR_NAME ...] [--photos FOLDER]

The first bundle is the one the others are measured against. Each round runs every bundle once, so that whatever else
the machine does meets all of them, and a ratio is taken within its round: the median is printed with the smallest and
the largest. Wall time is what a person waits; CPU time beside it hardly notices other work on the same cores. Without
`--photos` it takes the real ones of `../shared` where they are, else rendered ones.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from bintally.counting.batch import estimates
from bintally.counting.counter import Counter
from bintally.counting.decode import decode
from bintally.data.rendered.source import render_source
from bintally.settings import BUNDLED, cpu_count

SHARED_PHOTOS = Path(__file__).parents[2] / "shared" / "abid" / "native"
BATCHES = (1, 16)


@dataclass(frozen=True)
class Contender:
    """A loaded bundle and the photos at its size, uint8 [N, H, W, 3]."""

    name: str
    counter: Counter
    pixels_nhwc: NDArray[np.uint8]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="append", help="repeat it; default: the models that ship")
    parser.add_argument("--photos", type=Path, default=SHARED_PHOTOS if SHARED_PHOTOS.is_dir() else None)
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cpu_count())
    asked = parser.parse_args()
    bundles = asked.bundle or [name for name, place in BUNDLED.items() if place.is_dir()]
    with TemporaryDirectory() as folder:
        source = asked.photos or render_source(Path(folder), photos=asked.limit) / "bin-images"
        photos = sorted(source.glob("*.jpg"))[: asked.limit]
        print(f"{len(photos)} photos of {asked.photos or 'the rendered sample'}, ", end="")
        print(f"{asked.threads} of {cpu_count()} cores, load average {os.getloadavg()[0]:.1f} ", end="")
        print("(ratios hold on a busy machine, figures do not)")
        contenders = [_loaded(bundle, photos, asked.threads) for bundle in bundles]
        for batch in BATCHES:
            work = [partial(_in_batches, each, batch) for each in contenders]
            compare(f"network, batch {batch}", contenders, work, photos=len(photos), rounds=asked.rounds)
        names = [str(photo) for photo in photos]
        work = [partial(_whole, each, names) for each in contenders]
        compare("both, as `bintally count` does", contenders, work, photos=len(photos), rounds=asked.rounds)
    if len(bundles) < 2:
        print("One bundle alone has no ratio: name others with --bundle.")


def compare(
    label: str, contenders: Sequence[Contender], work: Sequence[Callable[[], object]], *, photos: int, rounds: int
) -> None:
    """Runs `work` of all contenders in turns and prints photos/s and ratios to the first."""
    times = np.array([[_timed(each) for each in work] for _ in range(rounds + 1)])[1:]  # [rounds, contenders, 2]
    for place, contender in enumerate(contenders):
        wall_s, cpu_s = (statistics.median(times[:, place, kind].tolist()) for kind in (0, 1))
        print(f"{label:<32} {contender.name:<24} {photos / wall_s:8.1f} photos/s ", end="")
        print(f"{1000 * cpu_s / photos:8.2f} ms CPU a photo", end="")
        if place:
            wall, cpu = (_spread(times[:, 0, kind] / times[:, place, kind]) for kind in (0, 1))
            print(f"   {wall} the photos/s; by CPU time {cpu}", end="")
        print(flush=True)


def _loaded(bundle: str, photos: Sequence[Path], threads: int) -> Contender:
    wall, cpu = time.perf_counter(), time.process_time()
    counter = Counter(bundle, threads=threads)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    card, size = counter.card, counter.bundle.model_path.stat().st_size
    views = 1 + card.flip_averaging
    print(f"{card.name:<32} {size / 1e6:5.1f} MB, {card.width_px} x {card.height_px} px, {views} view(s), ", end="")
    print(f"loaded in {wall_s:.2f} s wall, {cpu_s:.2f} s CPU")
    pixels = [decode(each.read_bytes(), height_px=card.height_px, width_px=card.width_px) for each in photos]
    return Contender(card.name, counter, np.stack(pixels))


def _in_batches(contender: Contender, batch: int) -> None:
    for start in range(0, len(contender.pixels_nhwc), batch):
        contender.counter.distribution(contender.pixels_nhwc[start : start + batch])


def _whole(contender: Contender, photos: Sequence[str]) -> None:
    list(estimates(contender.counter, photos))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _spread(ratios: NDArray[np.float64]) -> str:
    return f"{np.median(ratios):.1f}x ({ratios.min():.1f}-{ratios.max():.1f})"


if __name__ == "__main__":
    main()
