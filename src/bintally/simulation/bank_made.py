"""Makes a photo bank: every photo of a split is looked at, and those of pairs beside each other and taken again.

Only photos that the model did not learn from are used: those of the split `test`, unless another one is named. Two
photos are a pair where they follow each other in a group and their records share a product, as in training.

Shapes: N photos, P pairs, K count keys, D the largest change told apart.
"""

from collections.abc import Mapping, Set
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.artifacts import fingerprint, one_at_a_time
from bintally.bundle import Card
from bintally.counting.ahead import decoded_ahead
from bintally.counting.bins_seen import SeenPhotos, compare, neighbours
from bintally.counting.counter import Counter
from bintally.counting.decode import decode
from bintally.counting.network import MAX_BATCH
from bintally.counting.remade import remade
from bintally.errors import DataError
from bintally.inventory.judging.how import How
from bintally.manifest import Manifest
from bintally.photos import open_image, read_photo
from bintally.progress import SILENT, Progress
from bintally.records import Timings
from bintally.settings import cache_folder, cpu_count
from bintally.simulation.bank import KINDS, PhotoBank

SHIPPED: Final = Path(__file__).parent / "champion.bank.parquet"
"""What the bundled model saw on the test photos of the Amazon Bin Image Dataset: numbers and counts, no photos.

CC BY-NC-SA 3.0 US, as the photos and the model's weights; `benchmarks/simulation.py bank` makes it anew.
"""

_FORMAT: Final = 1
_SEED: Final = 0
_UNTIMED: Final = Timings(decode_ms=0.0, inference_ms=0.0)

Floats = NDArray[np.float32]


def bank_of(how: How, data: Path | None, *, split: str = "test", progress: Progress = SILENT) -> PhotoBank:
    """The bank of a model: of the photos of `data`, made once and then found in the cache; None: the shipped one.

    Raises:
        DataError: nothing is known of this model without `data`, or `data` has no pair of photos.
        ManifestError: no usable data folder.
    """
    if data is None:
        bank = PhotoBank.read(SHIPPED)
        if bank.model_sha256 != how.card.model_sha256:
            raise DataError(
                f"No photo bank of the model {how.card.name!r} is shipped, only one of {bank.model!r}.",
                hint="Give photos that it did not learn from: --data FOLDER.",
            )
        return bank
    manifest = Manifest.read(data)
    known = [_FORMAT, _SEED, how.card.model_sha256, _beside(how.card), manifest.fingerprint(), split]
    path = cache_folder() / "simulation" / f"{fingerprint(known)[:32]}.parquet"
    with one_at_a_time(path):
        if not path.is_file():
            make_bank(how.counter, data, split=split, progress=progress).write(path)
    return PhotoBank.read(path)


def make_bank(counter: Counter, data: Path, *, split: str, progress: Progress = SILENT) -> PhotoBank:
    """Looks at all usable photos of a split.

    Raises:
        DataError: it has no two photos of one bin, or the model does not compare photos.
        ManifestError: no usable data folder.
    """
    table, pairs = _planned(counter.card, data, split)
    seen, abstain = _look(counter, data, table, {*pairs["earlier_id"], *pairs["later_id"]}, progress)
    table = table.filter(pl.col("bin_image_id").is_in(list(seen.raw)))
    readable = pl.col("earlier_id").is_in(list(seen.raw)) & pl.col("later_id").is_in(list(seen.raw))
    pairs = pairs.filter(readable)
    forwards_pd, backwards_pd = (
        compare(counter, seen, each, progress)
        for each in (pairs, pairs.rename({"earlier_id": "later_id", "later_id": "earlier_id"}))
    )
    compared = table.filter(pl.col("bin_image_id").is_in(list(seen.maps)))
    again_nk, again_nd = _again(counter, data, compared, seen, progress)
    rows = _Rows(table, seen, abstain, forwards_pd.shape[1])
    rows.beside(pairs, forwards_pd)
    rows.backwards(pairs, backwards_pd)
    rows.again(compared["bin_image_id"], again_nk, again_nd)
    about = f"{table.height:,} {split} photos and {pairs.height:,} pairs of {data.name}"
    return rows.bank(counter.card, about)


class _Parts(NamedTuple):
    """Columns of the bank, a part a kind."""

    probabilities: list[Floats]
    counts: list[NDArray[np.int64]]
    groups: list[NDArray[np.int64]]
    previous: list[NDArray[np.int64]]
    evidence: list[Floats]


class _Rows:
    """The bank's rows as they come together: photos, pairs backwards, photos taken again."""

    def __init__(self, table: pl.DataFrame, seen: SeenPhotos, abstain: dict[str, str | None], width: int) -> None:
        names = table["bin_image_id"].to_list()
        self._place = {name: row for row, name in enumerate(names)}
        raw_nk = np.array([seen.raw[name] for name in names], np.float32)
        count_n = table["recorded_count"].to_numpy().astype(np.int64)
        _, group_n = np.unique(table["group"].fill_null("").to_numpy(), return_inverse=True)
        nothing_nd = np.zeros((len(names), width), np.float32)
        self._parts = _Parts([raw_nk], [count_n], [group_n], [np.full(len(names), -1)], [nothing_nd])
        self._abstain = [abstain[name] for name in names]
        self._kinds = [KINDS.index("photo")] * len(names)

    def beside(self, pairs: pl.DataFrame, evidence_pd: Floats) -> None:
        """Later photos of pairs know the earlier ones."""
        later = self._rows_of(pairs["later_id"])
        self._parts.previous[0][later] = self._rows_of(pairs["earlier_id"])
        self._parts.evidence[0][later] = evidence_pd

    def backwards(self, pairs: pl.DataFrame, evidence_pd: Floats) -> None:
        """Earlier photos of pairs, after the later ones."""
        self._add(self._rows_of(pairs["earlier_id"]), self._rows_of(pairs["later_id"]), evidence_pd, "backwards")

    def again(self, names: pl.Series, raw_nk: Floats, evidence_nd: Floats) -> None:
        """Photos taken again."""
        rows = self._rows_of(names)
        self._add(rows, rows, evidence_nd, "again", raw_nk)

    def bank(self, card: Card, about: str) -> PhotoBank:
        """All of them."""
        parts = self._parts
        return PhotoBank(
            model=card.name,
            model_sha256=card.model_sha256,
            about=about,
            probabilities_nk=np.concatenate(parts.probabilities),
            count_n=np.concatenate(parts.counts).astype(np.int32),
            group_n=np.concatenate(parts.groups).astype(np.int32),
            kind_n=np.array(self._kinds, np.uint8),
            abstain=tuple(self._abstain),
            previous_n=np.concatenate(parts.previous).astype(np.int32),
            evidence_nd=np.concatenate(parts.evidence),
        )

    def _rows_of(self, names: pl.Series) -> NDArray[np.int64]:
        return np.array([self._place[name] for name in names], np.int64)

    def _add(
        self,
        rows: NDArray[np.int64],
        previous: NDArray[np.int64],
        evidence_nd: Floats,
        kind: str,
        raw_nk: Floats | None = None,
    ) -> None:
        first = self._parts
        first.probabilities.append(first.probabilities[0][rows] if raw_nk is None else raw_nk)
        first.counts.append(first.counts[0][rows])
        first.groups.append(first.groups[0][rows])
        first.previous.append(previous)
        first.evidence.append(evidence_nd)
        self._abstain += [self._abstain[row] for row in rows.tolist()]
        self._kinds += [KINDS.index(kind)] * len(rows)


def _planned(card: Card, data: Path, split: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Photos and pairs of a split."""
    if card.change is None:
        raise DataError(f"The model {card.name!r} does not compare photos.", hint="Use one that does.")
    table = Manifest.read(data).usable(None if split == "all" else split).sort("group", "bin_image_id")
    products = dict(table.select("bin_image_id", "product_ids").iter_rows())
    pairs = neighbours(table)
    shares = [
        bool(set(products[earlier] or ()) & set(products[later] or ()))
        for earlier, later in pairs.select("earlier_id", "later_id").iter_rows()
    ]
    pairs = pairs.filter(pl.Series(shares, dtype=pl.Boolean))
    if not pairs.height:
        raise DataError(
            f"{data} has no two photos of one bin in split {split!r}.", hint="Choose another folder or --split."
        )
    return table, pairs


def _look(
    counter: Counter, data: Path, table: pl.DataFrame, compared: Set[str], progress: Progress
) -> tuple[SeenPhotos, dict[str, str | None]]:
    """What is seen of each photo, with the maps of those `compared`; why it is not taken for a bin (None: it is)."""
    seen, abstain = SeenPhotos(), dict[str, str | None]()
    photos = [(name, str(data / path)) for name, path in table.select("bin_image_id", "path").iter_rows()]
    coming = decoded_ahead(photos, lambda row: (row[1],), counter.card, batch_size=MAX_BATCH, workers=cpu_count())
    with progress.task("look", total=len(photos), unit="photos") as task, closing(coming):
        for batch in coming:
            pixels = {name: photo.pixels_hwc for (name, _), [photo] in batch if photo.pixels_hwc is not None}
            if pixels:
                _keep(counter, seen, abstain, pixels, compared)
            task.advance(len(batch))
    return seen, abstain


def _again(
    counter: Counter, data: Path, table: pl.DataFrame, seen: SeenPhotos, progress: Progress
) -> tuple[Floats, Floats]:
    """What is seen of photos taken again, and of what changed meanwhile, which is nothing."""
    chance, card = np.random.default_rng(_SEED), counter.card
    raw, evidence = [], []
    with progress.task("retake", total=table.height, unit="photos") as task:
        for part in table.iter_slices(MAX_BATCH):
            files = [remade(open_image(read_photo(data / path)), chance) for path in part["path"]]
            pixels = [decode(file, height_px=card.height_px, width_px=card.width_px) for file in files]
            told = counter.network.see(np.stack(pixels), beside=True)
            raw.append(told.raw_nk)
            evidence.append(counter.network.evidence(seen.told(part["bin_image_id"].to_list(), maps=True), told))
            task.advance(part.height)
    return np.concatenate(raw), np.concatenate(evidence)


def _keep(
    counter: Counter,
    seen: SeenPhotos,
    abstain: dict[str, str | None],
    pixels: Mapping[str, NDArray[np.uint8]],
    compared: Set[str],
) -> None:
    pixels_nhwc = np.stack(list(pixels.values()))
    told = counter.network.see(pixels_nhwc, beside=True)
    estimates = counter.read(pixels_nhwc, told, [_UNTIMED] * len(pixels))
    for place, (name, estimate) in enumerate(zip(pixels, estimates, strict=True)):
        seen.raw[name], abstain[name] = told.raw_nk[place], estimate.abstain
        if told.maps is not None and name in compared:
            seen.maps[name] = told.maps[place].astype(np.float16)


def _beside(card: Card) -> str | None:
    return None if card.beside is None else card.beside.model_sha256
