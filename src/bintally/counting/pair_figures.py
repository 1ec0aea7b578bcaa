"""What can be said of pairs of photos whose new counts were told: figures beside the blind table, the pairs to look at.

Shapes: P pairs judged, K counts asked about (`_pa`: all the model knows), D the largest change told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.bundle import Card, ChangeCard
from bintally.counting import metrics
from bintally.counting.bins_report import Beside, OfChange, PairReport, ShownPair, Unchanged
from bintally.counting.change import new_counts, prior_of, told_by_pairs
from bintally.counting.counter import Counter
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.network import Seen
from bintally.counting.ranked import Resampling, ranked, ranked_counts
from bintally.counting.sets import count_sets
from bintally.records import key_of

_NAMED: Final = 2  # changes beyond are taken together


@dataclass(frozen=True)
class Pairs:
    """Pairs row by row: `table` as `bins_seen.neighbours` has it, with the counts' keys in `key`."""

    table: pl.DataFrame
    keys: tuple[str, ...]
    values_k: NDArray[np.float64]
    told_pk: NDArray[np.float64]
    blind_pk: NDArray[np.float64]
    harder_pk: NDArray[np.float64]
    unchanged_p: NDArray[np.float64]  # P(nothing changed)
    blind_unchanged_p: NDArray[np.float64]

    @property
    def labels_p(self) -> NDArray[np.intp]:
        """Columns of the recorded new counts."""
        return np.array([self.keys.index(key) for key in self.table["key"]], np.intp)

    @property
    def changes_p(self) -> NDArray[np.int64]:
        """New count less earlier one."""
        return (self.table["new_count"] - self.table["earlier_count"]).to_numpy().astype(np.int64)

    @property
    def groups_p(self) -> NDArray[Any]:
        """The bin of each pair."""
        return self.table["group"].to_numpy()

    def only(self, chosen: NDArray[np.bool_]) -> "Pairs":
        """Some of the pairs."""
        rows = {
            name: getattr(self, name)[chosen]
            for name in ("told_pk", "blind_pk", "harder_pk", "unchanged_p", "blind_unchanged_p")
        }
        return replace(self, table=self.table.filter(pl.Series(chosen)), **rows)


def told(counter: Counter, pairs: pl.DataFrame, earlier: Seen, later: Seen, evidence_pd: NDArray[np.floating]) -> Pairs:
    """The new counts of `pairs` as the serving path tells them, and as one who sees no photo would.

    All are restricted to the counts asked about; even, where they give none of these any probability.
    """
    change = counter.card.change
    assert change is not None  # noqa: S101 - only bundles that compare photos come here
    known, counts = counter.card.count_keys, pairs["earlier_count"].to_list()
    raw_pa, unchanged_p = told_by_pairs(counter.card, later.raw_nk, earlier.raw_nk, evidence_pd, counts)
    asked = [known.index(key) for key in counter.keys]
    moved = msgspec.structs.replace(change, unchanged=0.0)
    return Pairs(
        table=pairs.with_columns(key=pl.Series([key_of(n, known) for n in pairs["new_count"]], dtype=pl.String)),
        keys=counter.keys,
        values_k=np.array([counter.card.count_values[key] for key in counter.keys]),
        told_pk=normalised(raw_pa[:, asked]),
        blind_pk=normalised(blind(change, counts, known)[:, asked]),
        harder_pk=normalised(blind(moved, counts, known)[:, asked]),
        unchanged_p=unchanged_p,
        blind_unchanged_p=np.array([prior_of(change, count)[change.max_change] for count in counts]),
    )


def blind(change: ChangeCard, earlier_counts: Sequence[int], keys: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities [P, K] of the new counts, by the earlier ones alone."""
    rows = [new_counts(change, prior_of(change, count), count, keys) for count in earlier_counts]
    return np.array(rows, np.float64).reshape(len(rows), len(keys))


def normalised(shares_nk: NDArray[Any]) -> NDArray[np.float64]:
    """Rows that sum to 1; even where a row has nothing."""
    kept_nk = np.asarray(shares_nk, np.float64)
    total_n1 = kept_nk.sum(axis=1, keepdims=True)
    even_nk = np.full_like(kept_nk, 1.0 / max(kept_nk.shape[1], 1))
    return np.where(total_n1 > 0, kept_nk / np.where(total_n1 > 0, total_n1, 1.0), even_nk)


def pair_report(
    asked: Pairs, card: Card, *, other_counts: int, unchanged: Unchanged | None, gallery: int, how: Resampling
) -> PairReport:
    """Everything to be said of the pairs whose new count was asked about."""
    change = card.change
    assert change is not None  # noqa: S101
    sets = count_sets(asked.told_pk, asked.keys, change.set_threshold)
    held = [key in chosen for key, chosen in zip(asked.table["key"], sets, strict=True)]
    resampling = how.of(asked.groups_p)
    worst, surest = _gallery(asked, gallery)
    return PairReport(
        pairs=asked.table.height,
        bins=asked.table["group"].n_unique(),
        other_counts=other_counts,
        out_of_reach=int(np.count_nonzero(np.abs(asked.changes_p) > change.max_change)),
        figures=beside(*(figures(asked, shares_pk, how) for shares_pk in _answers(asked))),
        by_change=tuple(_by_change(asked, how)),
        promised=card.set_coverage,
        set_coverage=bootstrap_mean(np.array(held), **resampling),
        set_size=bootstrap_mean(np.array([len(chosen) for chosen in sets]), **resampling),
        unchanged=unchanged,
        worst=worst,
        surest=surest,
    )


def figures(pairs: Pairs, shares_pk: NDArray[np.float64], how: Resampling) -> dict[str, Any]:
    """Accuracy, RMSE and log loss of an answer to the pairs, and how well it tells right records from wrong ones."""
    all_of_them = metrics.headline(shares_pk, pairs.labels_p, pairs.values_k, **how.of(pairs.groups_p))
    headline = {name: all_of_them[name] for name in ("accuracy", "rmse", "log_loss")}
    return headline | ranked_counts(shares_pk, pairs.labels_p, pairs.groups_p, how)


def beside(model: dict[str, Any], blind: dict[str, Any], harder: dict[str, Any] | None = None) -> dict[str, Beside]:
    """The same figures of the model and of the blind, side by side."""
    return {name: Beside(figure, blind[name], harder[name] if harder else None) for name, figure in model.items()}


def unchanged_report(made: Pairs, told_pa: NDArray[np.float64], asked: Pairs, card: Card, how: Resampling) -> Unchanged:
    """How well untouched bins are recognised; `told_pa` are of all the counts the model knows."""
    assert card.change is not None  # noqa: S101
    known, counts = card.count_keys, made.table["earlier_count"].to_list()
    labels_p = np.array([known.index(key_of(count, known)) for count in counts], np.intp)
    resampling = how.of(made.groups_p)
    recognised, by_table = (
        bootstrap_mean(metrics.correct_terms(shares_pa, labels_p), **resampling)
        for shares_pa in (told_pa, blind(card.change, counts, known))
    )
    moved = asked.changes_p != 0
    apart = [
        _told_apart(*sides, made.groups_p, asked.groups_p[moved], how)
        for sides in (
            (made.unchanged_p, asked.unchanged_p[moved]),
            (made.blind_unchanged_p, asked.blind_unchanged_p[moved]),
        )
    ]
    return Unchanged(
        pairs=made.table.height,
        recognised=Beside(recognised, by_table),
        probability=bootstrap_mean(made.unchanged_p, **resampling),
        auroc=Beside(*apart),
    )


def _told_apart(
    same: NDArray[Any], moved: NDArray[Any], groups_same: NDArray[Any], groups_moved: NDArray[Any], how: Resampling
) -> Any:
    right = np.arange(len(same) + len(moved)) < len(same)
    return ranked(np.concatenate([same, moved]), right, np.concatenate([groups_same, groups_moved]), how)[0]


def _answers(pairs: Pairs) -> tuple[NDArray[np.float64], ...]:
    return pairs.told_pk, pairs.blind_pk, pairs.harder_pk


def _by_change(pairs: Pairs, how: Resampling) -> list[OfChange]:
    """Each change up to 2 either way, then those beyond."""
    changes_p = pairs.changes_p
    parts = {f"{-_NAMED - 1} and more": changes_p < -_NAMED}
    parts |= {f"{change:+d}" if change else "0": changes_p == change for change in range(-_NAMED, _NAMED + 1)}
    parts |= {f"+{_NAMED + 1} and more": changes_p > _NAMED}
    return [_of_change(name, pairs.only(chosen), how) for name, chosen in parts.items() if chosen.any()]


def _of_change(name: str, pairs: Pairs, how: Resampling) -> OfChange:
    resampling = how.of(pairs.groups_p)
    right, loss = (
        Beside(*(bootstrap_mean(terms(shares_pk, pairs.labels_p), **resampling) for shares_pk in _answers(pairs)))
        for terms in (metrics.correct_terms, metrics.log_loss_terms)
    )
    return OfChange(name, pairs.table.height, right, loss)


def _gallery(pairs: Pairs, shown: int) -> tuple[tuple[ShownPair, ...], tuple[ShownPair, ...]]:
    """The worst mistakes (furthest off, then surest), and for each change up to 2 the surest that were right."""
    told_p, sure_p = metrics.counted(pairs.told_pk), metrics.confidence(pairs.told_pk)
    off_p = np.abs(pairs.values_k[told_p] - pairs.values_k[pairs.labels_p])
    right_p = told_p == pairs.labels_p
    by_worst, by_surest = np.lexsort((-sure_p, -off_p)), np.argsort(-sure_p, kind="stable")
    each = -(-shown // (2 * _NAMED))
    surest = [
        row
        for change in range(-_NAMED, _NAMED + 1)
        if change
        for row in by_surest[(right_p & (pairs.changes_p == change))[by_surest]][:each]
    ]
    worst = by_worst[~right_p[by_worst]][:shown]
    return tuple(_shown(pairs, int(row)) for row in worst), tuple(_shown(pairs, int(row)) for row in surest)


def _shown(pairs: Pairs, row: int) -> ShownPair:
    of = pairs.table.row(row, named=True)
    named = ("earlier_id", "earlier_path", "later_id", "later_path", "earlier_count", "new_count")
    return ShownPair(
        **{name: of[name] for name in named},
        told_count=pairs.keys[int(np.argmax(pairs.told_pk[row]))],
        probabilities=dict(zip(pairs.keys, pairs.told_pk[row].tolist(), strict=True)),
        blind=dict(zip(pairs.keys, pairs.blind_pk[row].tolist(), strict=True)),
    )
