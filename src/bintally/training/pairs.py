"""Which photos show one bin at two times, and batches that hold whole bins.

A `group` is only said never to cross splits, and may hold photos of different bins (ABID's photos without records are
grouped by their ids). For training, two photos of a group are one bin's where their records share a product: of 3,995
neighbours in ABID's train split 3,431 are, and of 482 in groups that were made by ids, none.

Shapes: D the largest change told apart; table_bd float [B, 2D+1], P(change | earlier count b), the last row for that
count and above; tensors of a batch of N photos and P pairs: `Beside`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Final, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from bintally.counting import bins_seen
from bintally.data.balance import BalanceSettings, balanced_indices
from bintally.training.attributes import Attributes
from bintally.training.dataset import seed_of
from bintally.training.heads import MAX_CHANGE
from bintally.training.recipe import PairSettings

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

EARLIER_COUNTS: Final = 8
"""Rows of a table of changes: 0..6, and 7 or more."""

LONGEST: Final = 6
"""Photos of one bin in a batch: a longer history is cut."""

_PHOTOS_A_LOOK: Final = 10  # one photo in so many of a batch is seen a second time
_CROWDED: Final = 0.3  # weight of a pair with more items than the table tells apart
_NEVER: Final = 1e-6

_PRIOR_PAIRS: Final = 5.0  # a row of a table starts as so many pairs of all earlier counts together


BinIndex = tuple[int, tuple[tuple[int, ...], ...]]
"""The seed of a batch's random choices, and its bins, each the rows of its photos; a row that follows itself is a
second look at the same photo."""


class Beside(NamedTuple):
    """What a batch knows beside its counts."""

    earlier_p: Tensor  # int64 [P], photos of the batch
    later_p: Tensor
    changes_p: Tensor  # int64 [P], columns 0..2D
    log_prior_pd: Tensor  # float32 [P, 2D+1]: what is known without any photo
    pair_weights_p: Tensor  # float32 [P]
    photo_weights_n: Tensor  # float32 [N]
    products_n: Tensor  # int64 [N], -1 unknown
    measures_nm: Tensor  # float32 [N, M], NaN unknown


@dataclass(frozen=True)
class History:
    """The photos of a table that stand beside another one of their bin. Rows are those of the table."""

    counts_n: Indices
    runs: tuple[Indices, ...]  # rows of one bin each, in order, at most LONGEST
    alike: frozenset[tuple[int, int]]  # (earlier, later) rows that are known to be one bin's

    @classmethod
    def of(cls, table: pl.DataFrame, settings: PairSettings) -> Self:
        """Pairs within groups, ordered by id, whose records share a product."""
        rows = table.with_row_index("row").sort("bin_image_id")
        products = [frozenset(ids or ()) for ids in table["product_ids"].to_list()]
        runs: list[Indices] = []
        alike: set[tuple[int, int]] = set()
        for (group,), part in rows.filter(pl.len().over("group") > 1).group_by("group", maintain_order=True):
            if group is None:
                continue
            members = part["row"].to_numpy().astype(np.int64)
            found = [
                (int(earlier), int(later))
                for place, earlier in enumerate(members)
                for later in members[place + 1 : place + 1 + settings.reach]
                if products[earlier] & products[later]
            ]
            if found:
                alike.update(found)
                paired = np.array(sorted({row for pair in found for row in pair}, key=members.tolist().index))
                runs += [paired[start : start + LONGEST] for start in range(0, len(paired), LONGEST)]
        return cls(table["recorded_count"].to_numpy().astype(np.int64), tuple(runs), frozenset(alike))

    @cached_property
    def paired(self) -> Indices:
        """All rows that stand in a run."""
        return np.concatenate(self.runs) if self.runs else np.empty(0, np.int64)

    def table(self, *, backwards: bool = False) -> Floats:
        """P(change | earlier count) [B, 2D+1] of neighbours; `backwards`: of those taken the other way round."""
        found_bd = np.zeros((EARLIER_COUNTS, 2 * MAX_CHANGE + 1))
        for run in self.runs:
            for first, second in zip(run[:-1].tolist(), run[1:].tolist(), strict=True):
                if (first, second) in self.alike:
                    earlier, later = (second, first) if backwards else (first, second)
                    row = min(self.counts_n[earlier], EARLIER_COUNTS - 1)
                    found_bd[row, change_column(self.counts_n[later] - self.counts_n[earlier])] += 1
        pooled_d = found_bd.sum(axis=0) + 0.5
        table_bd = found_bd + _PRIOR_PAIRS * pooled_d / pooled_d.sum()
        for earlier in range(min(MAX_CHANGE, EARLIER_COUNTS - 1)):
            table_bd[earlier, : MAX_CHANGE - earlier] = 0.0
        shares: Floats = table_bd / table_bd.sum(axis=1, keepdims=True)
        return shares


def change_column(change: int | np.integer) -> int:
    """Where a change of the count stands among -D..D; beyond them, at their end."""
    return int(np.clip(change, -MAX_CHANGE, MAX_CHANGE)) + MAX_CHANGE


def with_unchanged(table_bd: Floats, unchanged: float) -> Floats:
    """The table of a world where a share `unchanged` of the pairs shows an untouched bin."""
    nothing_d = np.zeros(table_bd.shape[-1])
    nothing_d[MAX_CHANGE] = 1.0
    mixed: Floats = (1.0 - unchanged) * table_bd + unchanged * nothing_d
    return mixed


def unchanged_weight(unchanged: float, alike: int, looks: int) -> float:
    """Weight of a second look, so that in an epoch they are a share `unchanged` of all pairs' weight."""
    return unchanged / (1 - unchanged) * max(alike, 1) / looks if looks else 0.0


def neighbours(table: pl.DataFrame) -> tuple[Indices, Indices]:
    """Rows of each two photos that follow each other in a group, ordered by id: (earlier [P], later [P])."""
    row = {name: index for index, name in enumerate(table["bin_image_id"])}
    pairs = bins_seen.neighbours(table)  # those that a bundle is judged on
    earlier_p, later_p = ([row[name] for name in pairs[side]] for side in ("earlier_id", "later_id"))
    return np.array(earlier_p, np.int64), np.array(later_p, np.int64)


class BinBatches(Sampler[BinIndex]):
    """Batches of whole bins, of about `batch_size` photos; goes on after a kill like `EpochBatches`.

    Photos that stand alone are drawn as `balance.keep` says. Those that have neighbours always come (a history with
    holes would be none), and the loss weighs them instead.
    """

    def __init__(
        self,
        labels_n: Indices,
        keys: tuple[str, ...],
        history: History,
        *,
        batch_size: int,
        balance: BalanceSettings,
        unchanged: float,
        seed: int,
    ) -> None:
        self._labels_n, self._keys, self._history = labels_n, keys, history
        self._batch_size, self._balance, self._seed = batch_size, balance, seed
        self._looks = max(1, batch_size // _PHOTOS_A_LOOK) if unchanged else 0
        self._epoch, self._first = 0, 0
        self._batches = len(self._of(0))

    def start_at(self, step: int) -> None:
        """Goes on after `step` batches since the start of the training."""
        self._epoch, self._first = divmod(step, self._batches)

    def __len__(self) -> int:
        return self._batches

    @property
    def looks(self) -> int:
        """Second looks in an epoch."""
        return self._looks * self._batches

    def __iter__(self) -> Iterator[BinIndex]:
        # Counted on before the first batch, as in `EpochBatches`.
        epoch, first = self._epoch, self._first
        self._epoch, self._first = epoch + 1, 0
        batches = self._of(epoch)
        # Every epoch must have as many as the first: where there are too few, it begins again.
        for batch in range(first, self._batches):
            yield seed_of(self._seed, epoch, batch), batches[batch % len(batches)]

    def _of(self, epoch: int) -> list[tuple[tuple[int, ...], ...]]:
        """An epoch's batches; a few more or fewer than another epoch's."""
        drawn = balanced_indices(self._labels_n, keys=self._keys, settings=self._balance, seed=self._seed, epoch=epoch)
        alone = np.setdiff1d(drawn, self._history.paired)
        bins = [(int(row),) for row in alone] + [tuple(run.tolist()) for run in self._history.runs]
        rng = np.random.default_rng((self._seed, epoch))
        batches: list[tuple[tuple[int, ...], ...]] = []
        batch: list[tuple[int, ...]] = []
        for place in rng.permutation(len(bins)).tolist():
            batch.append(bins[place])
            if sum(map(len, batch)) + self._looks >= self._batch_size:
                batches.append(self._looked_again(batch, rng))
                batch = []
        return batches or [self._looked_again(batch, rng)]

    def _looked_again(self, batch: list[tuple[int, ...]], rng: np.random.Generator) -> tuple[tuple[int, ...], ...]:
        chosen = set(rng.permutation(len(batch))[: self._looks].tolist())
        return tuple((*rows, rows[-1]) if place in chosen else rows for place, rows in enumerate(batch))


@dataclass(frozen=True)
class Pairing:
    """What is known beside the counts of any batch of bins."""

    history: History
    attributes: Attributes
    photo_weights_n: NDArray[np.float32]  # of each row of the table
    unchanged: float
    unchanged_weight: float  # of a pair that is a second look

    @cached_property
    def _log_priors_wbd(self) -> Floats:
        """For pairs forwards and backwards."""
        tables = [self.history.table(backwards=backwards) for backwards in (False, True)]
        priors_wbd: Floats = np.log(with_unchanged(np.stack(tables), self.unchanged) + _NEVER)
        return priors_wbd

    def beside(self, bins: tuple[tuple[int, ...], ...], seed: int) -> Beside:
        """What a batch of these bins, one after the other, knows beside its counts; which way a pair goes is drawn."""
        rng = np.random.default_rng(seed)
        rows_n = np.concatenate([np.array(rows, np.int64) for rows in bins])
        pairs = []
        start = 0
        for rows in bins:
            for (i, first), (j, second) in combinations(enumerate(rows, start), 2):
                if first == second or (first, second) in self.history.alike:
                    pairs.append((i, j, first == second))
            start += len(rows)
        places_p2 = np.array([(i, j) for i, j, _ in pairs], np.int64).reshape(-1, 2)
        same_p = np.array([same for *_, same in pairs], bool)
        backwards_p = rng.random(len(pairs)) < 0.5
        places_p2[backwards_p] = places_p2[backwards_p][:, ::-1]
        counts_p2 = self.history.counts_n[rows_n[places_p2]]
        known_p = np.minimum(counts_p2[:, 0], EARLIER_COUNTS - 1)
        changes_p = np.clip(counts_p2[:, 1] - counts_p2[:, 0], -MAX_CHANGE, MAX_CHANGE) + MAX_CHANGE
        # Many items in a bin hardly change what is to be seen of it.
        crowded_p = (counts_p2 >= EARLIER_COUNTS).any(axis=1)
        weights_p = np.where(same_p, self.unchanged_weight, np.where(crowded_p, _CROWDED, 1.0))
        return Beside(
            earlier_p=torch.from_numpy(places_p2[:, 0].copy()),
            later_p=torch.from_numpy(places_p2[:, 1].copy()),
            changes_p=torch.from_numpy(changes_p),
            log_prior_pd=torch.from_numpy(self._log_priors_wbd[backwards_p.astype(int), known_p].astype(np.float32)),
            pair_weights_p=torch.from_numpy(weights_p.astype(np.float32)),
            photo_weights_n=torch.from_numpy(self.photo_weights_n[rows_n]),
            products_n=torch.from_numpy(self.attributes.products_n[rows_n]),
            measures_nm=torch.from_numpy(self.attributes.measures_nm[rows_n]),
        )
