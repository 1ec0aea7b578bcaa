"""Stock records judged by a photo each: which file names them, what its products measure, how well right is told.

Shapes: R records; K the counts a model knows; A attributes (`verification`).
"""

from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.bundle import Card
from bintally.counting import metrics
from bintally.counting.bins_report import AtThreshold, OfError, RecordFigures, RecordReport
from bintally.counting.bins_seen import SeenPhotos
from bintally.counting.facts import facts_of
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.ranked import ESCAPED, Resampling, curve, ranked
from bintally.counting.stock_record import StockRecord, read_record
from bintally.counting.verification import Shown, judged
from bintally.errors import DataError, UsageError
from bintally.metadata import parse_metadata
from bintally.records import Product

COLUMNS: Final = ("id", "split", "record_is_right", "error", "record")
_FORM: Final = f"It should have the columns {', '.join(COLUMNS)}, the record as JSON: product -> quantity."
_UNSEEN: Final = 0.5  # a kind of record that train never has counts as so many
_NO_METADATA: Final = "train has no metadata: every record is as usual as another"


class Claim(msgspec.Struct, frozen=True):
    """A record as the file has it: of which photo, and whether it is right."""

    photo: str
    right: bool
    error: str
    record: StockRecord


def read_claims(path: Path, split: str) -> list[Claim]:
    """The records of a file that are of `split`; "all": whatever their split.

    Raises:
        UsageError: there is no such file.
        DataError: it is no such table, or has no record of the split.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}.", hint="Look at --verification.") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is no CSV: {error}.", hint=_FORM) from error
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise DataError(f"{path} lacks {', '.join(missing)}.", hint=_FORM)
    chosen = table if split == "all" else table.filter(pl.col("split") == split)
    if not chosen.height:
        raise DataError(f"{path} has no record of split {split!r}.", hint="Choose another --split.")
    return [_claim(row, path) for row in chosen.iter_rows(named=True)]


def _claim(row: Mapping[str, str | None], path: Path) -> Claim:
    right = _TRUE.get((row["record_is_right"] or "").lower())
    if right is None or row["id"] is None:
        raise DataError(f"{path}: of record_is_right {row['record_is_right']!r} no one can tell if it is.", hint=_FORM)
    record = read_record((row["record"] or "").encode())
    return Claim(row["id"], right, row["error"] or ("right" if right else "wrong"), record)


_TRUE: Final = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True)
class Shelf:
    """The products that a data folder's metadata names. `table` is its manifest's."""

    data: Path
    table: pl.DataFrame

    def measured(self, claim: Claim) -> StockRecord:
        """The record with names and measures: as the photo's own metadata has them, else as any photo's has."""
        own = {product.asin: product for product in self._of.get(claim.photo, ())}
        known = [
            own.get(product.asin) or self._anywhere.get(product.asin) or product for product in claim.record.products
        ]
        quantities = [product.quantity for product in claim.record.products]
        return StockRecord(
            tuple(
                msgspec.structs.replace(product, quantity=quantity)
                for product, quantity in zip(known, quantities, strict=True)
            ),
            claim.record.name,
        )

    @cached_property
    def usual(self) -> "Tally[tuple[int, int]]":
        """How often each number of items and of products stands in a record of train."""
        train = self.table.filter(pl.col("split") == "train")["bin_image_id"].to_list()
        return Tally(_kind(self._of[name]) for name in train if name in self._of)

    @cached_property
    def _of(self) -> dict[str, tuple[Product, ...]]:
        """Each photo's products."""
        return dict(self._read())

    @cached_property
    def _anywhere(self) -> dict[str, Product]:
        """Each product as the first photo has it that has all its measures, else as the first has it."""
        found: dict[str, Product] = {}
        for product in (each for products in self._of.values() for each in products):
            if product.asin not in found or (_is_measured(product) and not _is_measured(found[product.asin])):
                found[product.asin] = product
        return found

    def _read(self) -> Iterator[tuple[str, tuple[Product, ...]]]:
        known = self.table.filter(pl.col("metadata_path").is_not_null()).sort("bin_image_id")
        for name, path in known.select("bin_image_id", "metadata_path").iter_rows():
            try:
                data = (self.data / path).read_bytes()
            except OSError:  # a record without measures is still one
                continue
            if products := parse_metadata(data).products:
                yield name, products


def _is_measured(product: Product) -> bool:
    return None not in (product.height_in, product.length_in, product.width_in, product.weight_lb)


def _kind(products: Sequence[Product]) -> tuple[int, int]:
    facts = facts_of(products)
    return facts.items, facts.products


def judge_records(
    claims: Sequence[Claim], seen: SeenPhotos, shelf: Shelf, card: Card, source: str, how: Resampling
) -> RecordReport:
    """How well the records of photos that were `seen` are judged: with their products' measures, and without."""
    told = [claim for claim in claims if claim.photo in seen]
    if not told:
        raise DataError(f"{source} names no photo of the data folder that can be read.", hint="Choose another --data.")
    if len({claim.right for claim in told}) < 2:
        raise DataError(f"{source} has only right or only wrong records of these photos.", hint="Give some of both.")
    measured = [shelf.measured(claim) for claim in told]
    groups = dict(shelf.table.select("bin_image_id", "group").iter_rows())
    held = _Held(
        right_r=np.array([claim.right for claim in told]),
        errors=[claim.error for claim in told],
        groups_r=np.array([groups.get(claim.photo) or f"photo {claim.photo}" for claim in told]),
        how=how,
    )
    assert card.verification is not None  # noqa: S101 - only bundles that judge records come here
    threshold = card.verification.threshold
    as_told = [claim.record for claim in told]
    with_measures, alone = (
        np.array([score(card, seen, claim.photo, record) for claim, record in zip(told, of, strict=True)])
        for of in (measured, as_told)
    )
    return RecordReport(
        source=source,
        records=len(told),
        right=int(held.right_r.sum()),
        photos=len({claim.photo for claim in told}),
        without_photo=len(claims) - len(told),
        measured=sum(None not in facts_of(record.products).measures for record in measured),
        with_measures=held.figures(with_measures, threshold),
        quantities_alone=held.figures(alone, threshold),
        blind=held.figures(blind_scores(as_told, shelf.usual), None),
        blind_source=f"train's {shelf.usual.total():,} records" if shelf.usual else _NO_METADATA,
    )


def blind_scores(records: Sequence[StockRecord], usual: Mapping[tuple[int, int], int]) -> NDArray[np.float64]:
    """Log of how usual each record's number of items and products is, [R]: all that is to be said without a photo."""
    found_r = np.array([usual.get(_kind(record.products), 0) + _UNSEEN for record in records])
    scores_r: NDArray[np.float64] = np.log(found_r)
    return scores_r


def score(card: Card, seen: SeenPhotos, photo: str, record: StockRecord) -> float:
    """P(record right), as `Counter.verify` has it: a photo is looked at once for all its records."""
    assert card.verification is not None  # noqa: S101
    raw_k = seen.raw[photo]
    shares = dict(zip(card.count_keys, (raw_k / raw_k.sum()).tolist(), strict=True))
    return judged(card.verification, record.products, Shown(shares, card.target_prior, seen.attributes[photo]))[0]


@dataclass(frozen=True)
class _Held:
    """The records whose scores are held against what they are."""

    right_r: NDArray[np.bool_]
    errors: list[str]
    groups_r: NDArray[Any]
    how: Resampling

    def figures(self, scores_r: NDArray[np.float64], threshold: float | None) -> RecordFigures:
        """Everything to be said of one score; `threshold` was fixed beforehand."""
        auroc, accepted = ranked(scores_r, self.right_r, self.groups_r, self.how)
        found = metrics.roc(scores_r, self.right_r)
        hindsight = found.threshold_at(ESCAPED)
        kinds = sorted({error for error, right in zip(self.errors, self.right_r, strict=True) if not right})
        return RecordFigures(
            auroc=auroc,
            accepted=accepted,
            at_card=None if threshold is None else self._at(scores_r, threshold),
            by_error=tuple(self._of_error(kind, scores_r, hindsight, threshold) for kind in kinds),
            curve=curve(found),
        )

    def _at(self, scores_r: NDArray[np.float64], threshold: float) -> AtThreshold:
        accepted, escaped = (self._share(scores_r, part_r, threshold) for part_r in (self.right_r, ~self.right_r))
        return AtThreshold(threshold, escaped, accepted)

    def _of_error(
        self, error: str, scores_r: NDArray[np.float64], hindsight: float, threshold: float | None
    ) -> OfError:
        wrong_r = ~self.right_r & (np.array(self.errors) == error)
        part_r = self.right_r | wrong_r
        auroc, _ = ranked(scores_r[part_r], self.right_r[part_r], self.groups_r[part_r], self.how)
        escaped = self._share(scores_r, wrong_r, hindsight)
        at_card = None if threshold is None else self._share(scores_r, wrong_r, threshold)
        return OfError(error, int(wrong_r.sum()), auroc, escaped, at_card)

    def _share(self, scores_r: NDArray[np.float64], part_r: NDArray[np.bool_], threshold: float) -> Any:
        return bootstrap_mean(scores_r[part_r] >= threshold, **self.how.of(self.groups_r[part_r]))
