"""The limit: decoding and the model in one process, no network between.

    python benchmarks/serving/bare.py --bundle fast --photos DIR --seconds 5

Prints JSON: `photos_per_s` and `cpu_ms` a photo by way.
"""

import argparse
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bintally.counting.counter import Counter
from bintally.counting.decode import decode
from bintally.settings import cpu_count


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(asked.photos.glob("*.jpg"))]
    cores = cpu_count()
    photos_per_s, cpu_ms = {}, {}
    for threads in {1, cores}:
        count = counting(asked.bundle, threads)
        for photo in photos[:3]:
            count(photo)
        loops = cores // threads
        way = f"{loops} loop(s), {threads} thread(s) an inference"
        photos_per_s[way], cpu_ms[way] = _together(count, photos, loops, asked.seconds)
    print(json.dumps({"photos_per_s": photos_per_s, "cpu_ms": cpu_ms}))


def counting(bundle: str, threads: int) -> Callable[[bytes], object]:
    """Decoding and the model of one photo, `threads` to an inference."""
    counter = Counter(bundle, threads=threads)
    card = counter.card

    def count(photo: bytes) -> object:
        pixels_hwc = decode(photo, height_px=card.height_px, width_px=card.width_px)
        return counter.network.see(pixels_hwc[None])

    return count


def _together(
    count: Callable[[bytes], object], photos: Sequence[bytes], loops: int, seconds: float
) -> tuple[float, float]:
    """Photos/s, and CPU milliseconds a photo, of so many loops in threads."""
    counted, started, cpu_s = [0] * loops, time.perf_counter(), time.process_time()

    def loop(place: int) -> None:
        for photo in itertools.islice(itertools.cycle(photos), place, None):
            if time.perf_counter() >= started + seconds:
                return
            count(photo)
            counted[place] += 1

    threads = [threading.Thread(target=loop, args=(place,)) for place in range(loops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu_s = time.process_time() - cpu_s
    return sum(counted) / (time.perf_counter() - started), 1000 * cpu_s / sum(counted)


if __name__ == "__main__":
    main()
