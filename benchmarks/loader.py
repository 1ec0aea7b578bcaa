"""How fast training gets its photos: the decoded cache against torchvision's ImageFolder + PIL, side by side.

    python benchmarks/loader.py [--photos FOLDER]

Both hand out batches of 32 photos at 224 x 224 px, bicubic, without augmentation, in the training process. Without
`--photos` it takes real ones as published (304-1100 px wide) from `../shared` where they are, else rendered bins. The
cache's own building is timed beside it: it is paid once, not every epoch.

The limit is memory: a photo is 150 kB, read once and written once.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from bintally.data.fetch import fetch
from bintally.data.rendered import render_source
from bintally.manifest import FETCHED, Manifest
from bintally.records import COUNT_KEYS
from bintally.training.cache import PhotoCache
from bintally.training.dataset import PhotoDataset, loader, plain_batches

SHARED_PHOTOS = Path(__file__).parents[2] / "shared" / "abid" / "native"
PX, BATCH, ROUNDS = 224, 32, 5
GOAL = 10.0  # times as fast


def main() -> None:
    """Prints photos/s of both, and the ratio round by round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=SHARED_PHOTOS if SHARED_PHOTOS.is_dir() else None)
    photos = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folder = photos or render_source(root / "rendered", photos=100) / "bin-images"
        (root / "classes").mkdir()
        (root / "classes" / "bins").symlink_to(folder.resolve())
        usual = _image_folder(root / "classes")
        ours = _cached(folder, root)
        rounds = [(_photos_per_s(usual), _photos_per_s(ours)) for _ in range(ROUNDS + 1)][1:]
    ratios = [fast / slow for slow, fast in rounds]
    for name, rates in zip(("ImageFolder + PIL", "decoded cache"), zip(*rounds, strict=True), strict=True):
        print(f"{name:<20} {statistics.median(rates):>10,.0f} photos/s (median of {ROUNDS})")
    print(f"ratio {statistics.median(ratios):.0f}x ({min(ratios):.0f}-{max(ratios):.0f}), goal {GOAL:.0f}x")


def _image_folder(folder: Path) -> Callable[[], Iterable[Any]]:
    transform = v2.Compose([v2.Resize((PX, PX), v2.InterpolationMode.BICUBIC), v2.PILToTensor()])
    dataset = ImageFolder(str(folder), transform)
    return lambda: DataLoader(dataset, batch_size=BATCH)


def _cached(folder: Path, root: Path) -> Callable[[], Iterable[Any]]:
    """The photos as a data folder of ours; their counts do not matter here."""
    listing = root / "photos.csv"
    paths = sorted(path.resolve() for path in folder.iterdir())
    listing.write_text("path,count\n" + "".join(f"{path},1\n" for path in paths))
    fetch(source=str(listing), out=root / "data")
    table = Manifest.read(root / "data", FETCHED).usable()
    started = time.perf_counter()
    cache = PhotoCache.build(root / "data", table, px=PX)
    print(f"building the cache: {table.height / (time.perf_counter() - started):,.0f} photos/s, once")
    dataset = PhotoDataset(cache, table, COUNT_KEYS, None)
    return lambda: loader(dataset, plain_batches(len(dataset), BATCH))


def _photos_per_s(batches: Callable[[], Iterable[Any]]) -> float:
    started, photos = time.perf_counter(), 0
    for pixels, _ in batches():
        photos += len(pixels)
    return photos / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
