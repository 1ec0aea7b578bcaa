"""Which photos are one bin's, and batches that hold whole bins."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from bintally.data.balance import BalanceSettings
from bintally.training.attributes import Attributes
from bintally.training.heads import MAX_CHANGE
from bintally.training.pairs import (
    LONGEST,
    BinBatches,
    History,
    Pairing,
    change_column,
    neighbours,
    unchanged_weight,
    with_unchanged,
)
from bintally.training.recipe import PairSettings

KEYS = ("0", "1", "2", "3", "4", "5", "6+")


def photos(*rows: tuple[str, str | None, int, list[str] | None]) -> pl.DataFrame:
    """A table of (id, group, count, products)."""
    return pl.DataFrame(
        rows,
        schema={
            "bin_image_id": pl.String,
            "group": pl.String,
            "recorded_count": pl.Int32,
            "product_ids": pl.List(pl.String),
        },
        orient="row",
    ).with_columns(path=pl.col("bin_image_id"))


def test_photos_of_a_group_are_one_bins_only_where_their_records_share_a_product() -> None:
    table = photos(
        ("00003", "g", 3, ["A", "B"]),
        ("00001", "g", 2, ["A"]),
        ("00002", "g", 1, ["C"]),  # another bin's: nothing in common
        ("00004", "h", 2, None),  # no records
        ("00005", "h", 2, None),
        ("00006", None, 2, ["A"]),  # of no group
    )
    history = History.of(table, PairSettings(reach=2))
    assert history.alike == {(1, 0)}  # 00001 before 00003, two apart
    assert [run.tolist() for run in history.runs] == [[1, 0]]
    assert History.of(table, PairSettings(reach=1)).alike == frozenset()
    earlier, later = neighbours(table)  # as they are judged: whatever their records say
    assert sorted(zip(earlier.tolist(), later.tolist(), strict=True)) == [(1, 2), (2, 0), (3, 4)]


def test_a_table_of_changes_knows_what_a_bin_can_lose() -> None:
    table = photos(("1", "g", 2, ["A"]), ("2", "g", 1, ["A"]), ("3", "g", 3, ["A"]), ("4", "g", 2, ["A"]))
    history = History.of(table, PairSettings(reach=1))
    forwards, backwards = history.table(), history.table(backwards=True)
    for shares in (forwards, backwards):
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        for count in range(MAX_CHANGE):
            assert not shares[count, : MAX_CHANGE - count].any()
    assert forwards[2].argmax() == change_column(-1)
    assert backwards[2].argmax() == change_column(+1)
    np.testing.assert_allclose(with_unchanged(forwards, 0.25)[3, MAX_CHANGE], 0.25 + 0.75 * forwards[3, MAX_CHANGE])
    assert (change_column(-40), change_column(40)) == (0, 2 * MAX_CHANGE)


@pytest.fixture
def history() -> History:
    rows = [(f"{each:03}{photo}", f"g{each}", photo % 7, ["A"]) for each in range(30) for photo in range(1 + each % 4)]
    rows += [(f"9{photo:03}", "long", photo % 7, ["L"]) for photo in range(15)]
    return History.of(photos(*rows), PairSettings())


def batches_of(history: History, **settings: Any) -> BinBatches:
    labels_n = np.minimum(history.counts_n, 6)
    usual: dict[str, Any] = {"batch_size": 16, "balance": BalanceSettings(), "unchanged": 0.2, "seed": 5}
    return BinBatches(labels_n, KEYS, history, **{**usual, **settings})


def test_an_epoch_shows_every_photo_and_keeps_bins_together(history: History) -> None:
    assert max(map(len, history.runs)) == LONGEST  # a long history is cut
    epoch = list(batches_of(history))
    for _, bins in epoch:
        assert 16 <= sum(map(len, bins)) < 16 + LONGEST + 2
        assert sum(rows[-1] == rows[-2] for rows in bins if len(rows) > 1) == 1  # one second look a batch
    seen = {row for _, bins in epoch for rows in bins for row in rows}
    assert len(seen) > 0.8 * len(history.counts_n)  # all but those of the last, unfilled batch
    runs = {tuple(run.tolist()) for run in history.runs}
    for _, bins in epoch:
        for rows in bins:
            kept = tuple(dict.fromkeys(rows))
            assert len(kept) == 1 or kept in runs


def test_a_killed_epoch_goes_on_with_the_same_batches(history: History) -> None:
    whole = batches_of(history)
    both = [*whole, *whole]
    resumed = batches_of(history)
    resumed.start_at(len(whole) + 1)
    assert list(resumed) == both[len(whole) + 1 :]
    assert both[0] != both[len(whole)]


def test_a_rare_draw_thins_only_photos_that_stand_alone(history: History) -> None:
    few = batches_of(history, balance=BalanceSettings(keep={"0": 0.01}), unchanged=0.0)
    seen = {row for _, bins in few for rows in bins for row in rows}
    alone = set(range(len(history.counts_n))) - set(history.paired.tolist())
    thinned = {row for row in alone if history.counts_n[row] == 0}
    assert len(seen & thinned) <= 1 < len(thinned)
    assert few.looks == 0


def test_what_a_batch_knows_agrees_with_its_photos(history: History) -> None:
    photos_n = len(history.counts_n)
    attributes = Attributes(np.arange(photos_n), np.zeros((photos_n, 3), np.float32))
    weight = unchanged_weight(0.2, 40, 10)
    assert weight * 10 / (weight * 10 + 40) == pytest.approx(0.2)
    pairing = Pairing(history, attributes, np.ones(photos_n, np.float32), unchanged=0.2, unchanged_weight=weight)
    run = tuple(history.runs[0].tolist())
    rows = [*run, run[-1]]
    known = pairing.beside(((*run, run[-1]), (3,)), seed=1)
    counts = [int(history.counts_n[row]) for row in [*rows, 3]]
    assert known.products_n.tolist() == [*rows, 3]
    assert len(known.photo_weights_n) == len(counts)
    assert len(known.changes_p) >= len(run)
    for earlier, later, change, prior_d, share in zip(*(each.tolist() for each in known[:5]), strict=True):
        assert change == change_column(counts[later] - counts[earlier])
        assert np.exp(prior_d).sum() == pytest.approx(1, abs=1e-3)
        assert share == pytest.approx(weight if ([*rows, 3])[earlier] == ([*rows, 3])[later] else 1.0)
    assert 0 < (known.earlier_p < known.later_p).sum() < len(known.earlier_p)  # taken both ways round
