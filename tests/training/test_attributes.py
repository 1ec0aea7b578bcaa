"""The stock record as a teacher."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from bintally.counting.facts import MEASURES
from bintally.counting.verification import PRODUCTS
from bintally.metadata import metadata_json
from bintally.records import BinRecord, Product
from bintally.training.attributes import (
    OUTPUTS,
    Attributes,
    attributes_loss,
    measure_scales,
    recorded_products,
    served_attributes,
)


@pytest.fixture
def table(tmp_path: Path) -> pl.DataFrame:
    """Three photos: a whole record, one whose quantities don't add up, and none."""
    ink = Product("A", "Ink", 2, 1.0, 2.0, 3.0, 0.5)
    tea = Product("B", "Tea", 1, 2.0, 2.0, 2.0, None)
    for name, record in (
        ("1", BinRecord("1", 3, (ink, tea))),
        ("2", BinRecord("2", 9, (ink,))),
        ("4", BinRecord("4", 2, (ink,))),
    ):
        (tmp_path / f"{name}.json").write_bytes(metadata_json(record))
    return pl.DataFrame({"metadata_path": ["1.json", "2.json", None, "4.json"], "recorded_count": [3, 9, 1, 2]}).filter(
        pl.col("recorded_count") > 0
    )


def test_only_records_that_add_up_teach(table: pl.DataFrame, tmp_path: Path) -> None:
    table = table.with_columns(recorded_count=pl.Series([3, 8, 1, 2]))
    known = recorded_products(tmp_path, table)
    assert [None if held is None else len(held) for held in known] == [2, None, None, 1]
    attributes = Attributes.read(tmp_path, table)
    assert attributes.products_n.tolist() == [2, -1, -1, 1]
    assert np.isnan(attributes.measures_nm).tolist() == [
        [False, False, True],  # tea has no weight
        [True, True, True],
        [True, True, True],
        [False, False, False],
    ]
    volumes_n = attributes.measures_nm[[0, 3], 0]
    assert volumes_n == pytest.approx([1, -1])  # standardised: two known values
    mean, _ = measure_scales(tmp_path, table)["volume"]
    assert mean == pytest.approx((np.log(1 + 12 + 8) + np.log(1 + 12)) / 2)


def test_what_is_unknown_costs_nothing() -> None:
    attributes_na = torch.zeros(2, len(OUTPUTS), requires_grad=True)
    unknown = attributes_loss(attributes_na, torch.tensor([-1, -1]), torch.full((2, len(MEASURES)), torch.nan))
    assert unknown.item() == 0
    unknown.backward()  # type: ignore[no-untyped-call]
    loss = attributes_loss(attributes_na, torch.tensor([2, -1]), torch.full((2, len(MEASURES)), torch.nan))
    assert loss.item() == pytest.approx(np.log(len(PRODUCTS)))


def test_a_bundle_tells_probabilities_and_measures() -> None:
    told_na = served_attributes(torch.randn(3, len(OUTPUTS)))
    torch.testing.assert_close(told_na[:, : len(PRODUCTS)].sum(dim=1), torch.ones(3))
