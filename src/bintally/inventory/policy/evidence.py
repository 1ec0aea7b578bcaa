"""What is known of bins whose counts are told: every case that a policy can be fitted to or checked on, counted once.

Kinds: "photo", a photo alone; "change", a photo beside its bin's earlier one, whose recorded count is taken for
confirmed; "followed", up to three photos of a bin in the filter over time (`counting.following`), from the first one's
recorded count on. The prior of each is what would be said without the photos: the card's mix, its table of changes, and
the filter told nothing.

Counting takes long, so that the table can be kept: `evidence.parquet`, one row a case.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.artifacts import write_bytes
from bintally.bundle import Card
from bintally.counting.bins_over_time import LONGEST, settings_of
from bintally.counting.bins_seen import SeenPhotos, compare, look, neighbours
from bintally.counting.change import change_tables, told_by_pairs
from bintally.counting.counter import Counter
from bintally.counting.events import AnyEvent, Counted, Photo
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.following import History
from bintally.counting.pair_figures import blind, normalised
from bintally.errors import DataError
from bintally.manifest import Manifest
from bintally.progress import SILENT, Progress

FILE: Final = "evidence.parquet"
_DAY_S: Final = 86_400.0  # photos are taken to be a day apart, as `bins_over_time` does
_SCHEMA: Final[dict[str, Any]] = {
    "id": pl.String,
    "group": pl.String,
    "kind": pl.String,
    "recorded": pl.Int64,
    "keys": pl.String,  # separated by spaces
    "probabilities": pl.List(pl.Float64),
    "prior": pl.List(pl.Float64),
}


@dataclass(frozen=True)
class Kind:
    """All cases of one kind of evidence. Shapes: N cases, K keys."""

    keys: tuple[str, ...]
    probabilities_nk: NDArray[np.float64]
    prior_nk: NDArray[np.float64]
    recorded_n: NDArray[np.int64]
    group_n: NDArray[np.int64]  # cases of one number depend on each other

    def __len__(self) -> int:
        return len(self.recorded_n)

    def rows(self, rows: NDArray[Any]) -> "Kind":
        """Some of them."""
        parts = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "keys"}
        return Kind(keys=self.keys, **parts)


@dataclass(frozen=True)
class Evidence:
    """A model's cases on a split of photos it did not learn from."""

    model: str
    model_sha256: str
    split: str
    table_sha256: str
    photos: int
    cases: pl.DataFrame

    def of(self, kind: str) -> Kind | None:
        """The cases of a kind; None: there are none."""
        part = self.cases.filter(pl.col("kind") == kind)
        if not part.height:
            return None
        _, group_n = np.unique(part["group"].to_numpy(), return_inverse=True)
        return Kind(
            keys=tuple(part["keys"][0].split()),
            probabilities_nk=np.array(part["probabilities"].to_list(), np.float64),
            prior_nk=np.array(part["prior"].to_list(), np.float64),
            recorded_n=part["recorded"].to_numpy().astype(np.int64),
            group_n=group_n.astype(np.int64),
        )

    def write(self, path: Path) -> None:
        """As Parquet, whose metadata say of which model and photos it is."""
        known = {
            name: str(getattr(self, name)) for name in ("model", "model_sha256", "split", "table_sha256", "photos")
        }
        buffer = io.BytesIO()
        self.cases.write_parquet(buffer, metadata=known)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """A table that was kept.

        Raises:
            DataError: no such table.
        """
        try:
            known = pl.read_parquet_metadata(path)
            cases = pl.read_parquet(path)
            photos = int(known["photos"])
            told = {name: known[name] for name in ("model", "model_sha256", "split", "table_sha256")}
        except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path} is no table of evidence: {error}.", hint="Leave it out to count anew.") from error
        if cases.schema != _SCHEMA:
            raise DataError(f"{path} has other columns than a table of evidence.", hint="Leave it out to count anew.")
        return cls(**told, photos=photos, cases=cases)


def gather(counter: Counter, data: Path, split: str, progress: Progress = SILENT) -> Evidence:
    """Looks at all photos of a split and makes their cases.

    Raises:
        DataError: the split has no photo that can be read.
        ManifestError: no usable data folder.
    """
    manifest, card = Manifest.read(data), counter.card
    table = manifest.usable(None if split == "all" else split).sort("group", "bin_image_id")
    pairs = neighbours(table) if card.change is not None else neighbours(table).clear()
    compared = {*pairs["earlier_id"], *pairs["later_id"]}
    paths = {name: data / path for name, path in table.select("bin_image_id", "path").iter_rows()}
    seen = look(counter, paths, compared, progress)
    table = table.filter(pl.col("bin_image_id").is_in(list(seen.raw)))
    if not table.height:
        raise DataError(f"{data} has no readable photo in split {split!r}.", hint="Choose another --split.")
    readable = [
        earlier in seen and later in seen for earlier, later in pairs.select("earlier_id", "later_id").iter_rows()
    ]
    pairs = pairs.filter(pl.Series(readable, dtype=pl.Boolean))
    rows = list(_photos(table, seen, card))
    if pairs.height:
        evidence_pd = compare(counter, seen, pairs, progress)
        rows += _changes(pairs, seen, card, evidence_pd)
        rows += _followed(table, pairs, seen, card, evidence_pd)
    cases = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return Evidence(card.name, card.model_sha256, split, manifest.fingerprint(), table.height, cases)


def _photos(table: pl.DataFrame, seen: SeenPhotos, card: Card) -> Iterator[tuple[Any, ...]]:
    keys = card.count_keys
    prior_k = normalised(np.array([[card.target_prior[key] for key in keys]]))[0]
    for name, group, recorded in table.select("bin_image_id", "group", "recorded_count").iter_rows():
        shares_k = normalised(seen.raw[name][None])[0]
        yield _row(name, group, "photo", recorded, keys, shares_k, prior_k)


def _changes(
    pairs: pl.DataFrame, seen: SeenPhotos, card: Card, evidence_pd: NDArray[np.floating[Any]]
) -> Iterator[tuple[Any, ...]]:
    assert card.change is not None  # noqa: S101 - only bundles that compare photos have pairs
    keys, counts = card.count_keys, pairs["earlier_count"].to_list()
    later, earlier = (seen.told(pairs[name].to_list()).raw_nk for name in ("later_id", "earlier_id"))
    told_pk, _ = told_by_pairs(card, later, earlier, evidence_pd, counts)
    known = zip(normalised(told_pk), normalised(blind(card.change, counts, keys)), strict=True)
    rows = pairs.select("later_id", "group", "new_count").iter_rows()
    for (name, group, recorded), (told_k, prior_k) in zip(rows, known, strict=True):
        yield _row(name, group, "change", recorded, keys, told_k, prior_k)


def _followed(
    table: pl.DataFrame, pairs: pl.DataFrame, seen: SeenPhotos, card: Card, evidence_pd: NDArray[np.floating[Any]]
) -> Iterator[tuple[Any, ...]]:
    """One case a bin of two photos or more: what is known after the last of its first ones."""
    settings = settings_of(card)
    keys = tuple(str(count) for count in range(settings.max_count + 1))
    of_pair = dict(zip(pairs.select("earlier_id", "later_id").iter_rows(), evidence_pd, strict=True))
    for _, part in table.filter(pl.col("group").is_not_null()).group_by("group", maintain_order=True):
        first = part.head(LONGEST)
        names, counts = first["bin_image_id"].to_list(), first["recorded_count"].to_list()
        if len(names) < 2 or max(counts) > settings.max_count:
            continue
        evidence = [None, *(of_pair.get(pair) for pair in pairwise(names))]
        told = [_photo(place, names, seen, card, evidence[place], settings) for place in range(len(names))]
        untold = [_untold(place, name, card) for place, name in enumerate(names)]
        shares_c, prior_c = (_after(counts[0], photos, settings) for photos in (told, untold))
        yield _row(names[-1], first["group"][0], "followed", counts[-1], keys, shares_c, prior_c)


def _photo(
    place: int,
    names: Sequence[str],
    seen: SeenPhotos,
    card: Card,
    evidence_d: NDArray[np.floating[Any]] | None,
    settings: FollowSettings,
) -> Photo:
    raw_k = seen.raw[names[place]]
    pair: dict[str, Any] = {}
    if evidence_d is not None:
        change, change_prior = change_tables(card, evidence_d, raw_k, settings.max_count)
        pair = {"previous": names[place - 1], "change": change, "change_prior": change_prior}
    shares = dict(zip(card.count_keys, map(float, raw_k), strict=True))
    prior = dict(card.target_prior)
    return Photo(time=place * _DAY_S, id=names[place], probabilities=shares, prior=prior, **pair)


def _untold(place: int, name: str, card: Card) -> Photo:
    """A photo that tells nothing."""
    return Photo(time=place * _DAY_S, id=name, probabilities=dict(card.target_prior), prior=dict(card.target_prior))


def _after(confirmed: int, photos: Sequence[Photo], settings: FollowSettings) -> NDArray[np.float64]:
    events: list[AnyEvent] = [Counted(time=photos[0].time, count=confirmed), *photos]
    return np.array(History(events, settings).posteriors()[-1].probabilities)


def _row(
    name: str,
    group: str | None,
    kind: str,
    recorded: int,
    keys: Sequence[str],
    shares_k: NDArray[np.float64],
    prior_k: NDArray[np.float64],
) -> tuple[Any, ...]:
    of_group = f"photo {name}" if group is None else f"group {group}"
    return name, of_group, kind, recorded, " ".join(keys), shares_k.tolist(), prior_k.tolist()
