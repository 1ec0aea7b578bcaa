"""How fast `bintally count` is: one photo as a whole process, and photos/s of decoding and of the network alone.

    python benchmarks/count.py [--bundle FOLDER] [--photos FOLDER]

Without `--photos` it takes the real ones of `../shared` where they are, else rendered noise of the same size. Wall time
is what a person waits; CPU time beside it tells how much of that was somebody else's work on the same cores.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bintally.counting.batch import estimates
from bintally.counting.counter import Counter
from bintally.counting.decode import decode
from bintally.settings import champion_folder, cpu_count

SHARED_PHOTOS = Path(__file__).parents[2] / "shared" / "abid" / "native"
REPEATS = 5


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=champion_folder())
    parser.add_argument("--photos", type=Path, default=SHARED_PHOTOS if SHARED_PHOTOS.is_dir() else None)
    parser.add_argument("--limit", type=int, default=100)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        photos = sorted((asked.photos or _noise(Path(folder))).glob("*.jpg"))[: asked.limit]
        print(f"{len(photos)} photos of {asked.photos or 'noise'}, model {asked.bundle}, {cpu_count()} cores, ", end="")
        print(f"load average {os.getloadavg()[0]:.1f} (figures hold for a quiet machine)")
        processes(asked.bundle, photos[0])
        throughput(asked.bundle, photos)


def processes(bundle: Path, photo: Path) -> None:
    """Whole processes, median of 5 after one that warms the disk cache."""
    program = [sys.executable, "-m", "bintally"]
    for label, command in {
        "bintally --help": [*program, "--help"],
        "bintally count one.jpg": [*program, "count", str(photo), "--bundle", str(bundle)],
    }.items():
        runs = [_timed_process(command) for _ in range(REPEATS + 1)][1:]
        wall_s, cpu_s = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{label:<32} {wall_s:6.2f} s wall   {cpu_s:6.2f} s CPU")


def throughput(bundle: Path, photos: Sequence[Path]) -> None:
    """Photos/s of each part alone and of both together."""
    counter = Counter(bundle)
    decoded = partial(decode, height_px=counter.card.height_px, width_px=counter.card.width_px)
    data = [photo.read_bytes() for photo in photos]
    pixels_nhwc = np.stack([decoded(each) for each in data])

    def decode_in_threads() -> None:
        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(decoded, data))

    _report("decode, one thread", len(data), lambda: [decoded(each) for each in data])
    _report(f"decode, {cpu_count()} threads", len(data), decode_in_threads)
    for batch in (1, 2, 4, 8, 16):
        _report(f"network, batch {batch}", len(data), partial(_in_batches, counter, pixels_nhwc, batch))
    _report("both, as `bintally count` does", len(data), lambda: list(estimates(counter, map(str, photos))))


def _in_batches(counter: Counter, pixels_nhwc: NDArray[np.uint8], batch: int) -> None:
    for start in range(0, len(pixels_nhwc), batch):
        counter.distribution(pixels_nhwc[start : start + batch])


def _report(label: str, photos: int, work: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{label:<32} {photos / wall_s:8.1f} photos/s   {1000 * cpu_s / photos:7.2f} ms CPU a photo")


def _timed_process(command: Sequence[str]) -> tuple[float, float]:
    started, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu_s


def _noise(folder: Path) -> Path:
    for index in range(20):
        buffer = io.BytesIO()
        pixels_hwc = np.random.default_rng(index).integers(40, 200, (427, 501, 3), dtype=np.uint8)  # ABID's median size
        Image.fromarray(pixels_hwc).resize((501, 427)).save(buffer, "JPEG", quality=85)
        (folder / f"{index:02}.jpg").write_bytes(buffer.getvalue())
    return folder


if __name__ == "__main__":
    main()
