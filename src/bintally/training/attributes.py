"""The stock record as a teacher, at training time only: what a network is taught beside the count.

How many different products a bin holds, and how large and heavy they are (`counting.facts`), says much of what is to be
seen in its photo; a photo is all the network gets. What it learns so judges records (`counting.verification`).

Shapes: products_n int64 [N], -1 unknown; measures_nm float32 [N, M], standardised, NaN unknown; attributes_na [N, A].
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bintally.counting.facts import MEASURES, facts_of
from bintally.counting.verification import MOST_PRODUCTS, PRODUCTS
from bintally.metadata import parse_metadata
from bintally.records import Product

OUTPUTS: Final = (*PRODUCTS, *MEASURES)
"""What each column of the attributes is: scores of 0, 1, ... products, then the standardised measures."""

_UNKNOWN: Final = -1
_MEASURES_SHARE: Final = 1.5  # a measure's loss is smaller than that of the number of products


@dataclass(frozen=True)
class Attributes:
    """What the records of a table's photos say, row by row."""

    products_n: NDArray[np.int64]
    measures_nm: NDArray[np.float32]

    @classmethod
    def read(cls, data: Path, table: pl.DataFrame, scales: dict[str, tuple[float, float]] | None = None) -> Self:
        """From the metadata files of `data`; a record whose quantities don't add up to the label tells nothing.

        `scales` are mean and deviation of each measure; without them, those of the table itself.
        """
        products_n, raw_nm = _measures(data, table)
        scales = scales or scales_of(raw_nm)
        mean_m, deviation_m = np.array([scales[name] for name in MEASURES]).T
        return cls(products_n, ((raw_nm - mean_m) / deviation_m).astype(np.float32))


def measure_scales(data: Path, table: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """Mean and deviation of each measure in a table's records."""
    return scales_of(_measures(data, table)[1])


def scales_of(raw_nm: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Mean and deviation of each measure; (0, 1) where too few are known."""
    scales = {}
    for name, column_n in zip(MEASURES, raw_nm.T, strict=True):
        known = column_n[~np.isnan(column_n)]
        deviation = float(known.std()) if len(known) > 1 else 0.0
        scales[name] = (float(known.mean()), deviation) if deviation > 0 else (0.0, 1.0)
    return scales


def _measures(data: Path, table: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of products [N], -1 unknown, and raw measures [N, M], NaN unknown."""
    products_n = np.full(table.height, _UNKNOWN, np.int64)
    raw_nm = np.full((table.height, len(MEASURES)), np.nan)
    for row, held in enumerate(recorded_products(data, table)):
        if held is not None:
            facts = facts_of(held)
            products_n[row] = min(facts.products, MOST_PRODUCTS)
            raw_nm[row] = [np.nan if value is None else value for value in facts.measures]
    return products_n, raw_nm


def attributes_loss(attributes_na: Tensor, products_n: Tensor, measures_nm: Tensor) -> Tensor:
    """Cross-entropy of the number of products, and a robust squared error of the measures; the unknown are left out."""
    attributes_na = attributes_na.float()
    known_n = products_n >= 0
    loss = attributes_na.sum() * 0
    if known_n.any():
        loss = loss + functional.cross_entropy(attributes_na[known_n, : len(PRODUCTS)], products_n[known_n])
    known_nm = ~measures_nm.isnan()
    if known_nm.any():
        measured_nm = attributes_na[:, len(PRODUCTS) :]
        loss = loss + _MEASURES_SHARE * functional.smooth_l1_loss(measured_nm[known_nm], measures_nm[known_nm])
    return loss


def served_attributes(attributes_na: Tensor) -> Tensor:
    """Attributes [N, A] as a bundle tells them: probabilities of the numbers of products, and the measures."""
    products = len(PRODUCTS)
    return torch.cat([attributes_na[:, :products].softmax(dim=1), attributes_na[:, products:]], dim=1)


def recorded_products(data: Path, table: pl.DataFrame) -> list[tuple[Product, ...] | None]:
    """The products of each photo's record; None where there is none, or its quantities don't add up to the label."""
    return [_recorded(data, path, count) for path, count in table.select("metadata_path", "recorded_count").rows()]


def _recorded(data: Path, metadata_path: str | None, recorded_count: int) -> tuple[Product, ...] | None:
    if metadata_path is None or not (data / metadata_path).is_file():
        return None
    metadata = parse_metadata((data / metadata_path).read_bytes())
    adds_up = sum(product.quantity for product in metadata.products) == recorded_count
    return metadata.products if adds_up and not metadata.problems else None
