"""Photos of bins looked at once each, and compared with their neighbours, through the path that serves.

Shapes: N photos, P pairs, K the counts a model knows, D the largest change told apart; maps float16 [N, V, C, h, w].
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.counting.ahead import decoded_ahead
from bintally.counting.counter import Counter
from bintally.counting.network import MAX_BATCH, Seen
from bintally.progress import Progress
from bintally.settings import cpu_count


@dataclass(frozen=True)
class SeenPhotos:
    """What the network tells of photos, by their ids. Maps, kept as float16, only of those that are compared."""

    raw: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # [K]
    attributes: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    maps: dict[str, NDArray[np.float16]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)  # why

    def __contains__(self, name: object) -> bool:
        return name in self.raw

    def told(self, names: Sequence[str], *, maps: bool = False) -> Seen:
        """What was told of photos, in the order of `names`."""
        kept = np.stack([self.maps[name] for name in names]).astype(np.float32) if maps and len(names) else None
        return Seen(np.array([self.raw[name] for name in names], np.float32), None, kept, None)


def look(
    counter: Counter, photos: Mapping[str, Path], compared: Set[str], progress: Progress, *, label: str = "look"
) -> SeenPhotos:
    """Looks at each of `photos` (id -> file); keeps the maps of those `compared`."""
    seen = SeenPhotos()
    coming = decoded_ahead(
        photos.items(), lambda row: (str(row[1]),), counter.card, batch_size=MAX_BATCH, workers=cpu_count()
    )
    with progress.task(label, total=len(photos), unit="photos") as task, closing(coming):
        for batch in coming:
            decoded = {name: photo for (name, _), [photo] in batch}
            seen.unreadable.update({name: photo.error for name, photo in decoded.items() if photo.error is not None})
            pixels = {name: photo.pixels_hwc for name, photo in decoded.items() if photo.pixels_hwc is not None}
            if pixels:
                _keep(seen, list(pixels), counter.network.see(np.stack(list(pixels.values())), beside=True), compared)
            task.advance(len(batch))
    return seen


def neighbours(table: pl.DataFrame) -> pl.DataFrame:
    """Each two photos that follow each other in a group, ordered by id; photos without a group have no neighbour."""
    before = {f"earlier_{name}": pl.col(of).shift(1).over("group") for name, of in _TOLD.items()}
    return (
        table.filter(pl.col("group").is_not_null())
        .sort("group", "bin_image_id")
        .select("group", **before, **{f"later_{name}": pl.col(of) for name, of in _TOLD.items()})
        .filter(pl.col("earlier_id").is_not_null())
        .rename({"later_count": "new_count"})
    )


_TOLD = {"id": "bin_image_id", "path": "path", "count": "recorded_count"}


def compare(counter: Counter, seen: SeenPhotos, pairs: pl.DataFrame, progress: Progress) -> NDArray[np.float32]:
    """Evidence [P, 2D+1] of the changes of `pairs`."""
    earlier, later = pairs["earlier_id"].to_list(), pairs["later_id"].to_list()
    parts = [counter.network.evidence(seen.told([]), seen.told([]))] if not earlier else []
    with progress.task("compare", total=len(earlier), unit="pairs") as task:
        for first, second in zip(_chunks(earlier), _chunks(later), strict=True):
            parts.append(counter.network.evidence(seen.told(first, maps=True), seen.told(second, maps=True)))
            task.advance(len(first))
    return np.concatenate(parts)


def _keep(seen: SeenPhotos, names: Sequence[str], told: Seen, compared: Set[str]) -> None:
    for place, name in enumerate(names):
        seen.raw[name] = told.raw_nk[place]
        if told.attributes_na is not None:
            seen.attributes[name] = told.attributes_na[place]
        if told.maps is not None and name in compared:
            seen.maps[name] = told.maps[place].astype(np.float16)


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + MAX_BATCH] for start in range(0, len(names), MAX_BATCH))
