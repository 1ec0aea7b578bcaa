"""Records and what was seen of their bins, brought together and judged: a row a bin.

Outcomes are those of a verdict and two more: "no_photo", a record whose bin was not seen, and "no_record".

`expected_off` is how many items the record is expected to be off, P(wrong) times the mean distance if it is wrong, and
`expected_value` that in money: what a look at the bin is worth. Where nothing could be seen, one item is reckoned with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.bundle import Card
from bintally.counting.pair_figures import blind, normalised
from bintally.inventory.policy.cases import CLASSES, KINDS, Bar, Cases, Decisions, draw_of
from bintally.inventory.policy.decide import Policy
from bintally.inventory.policy.scores import top_of, values_of
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.reconcile.seen import Seen
from bintally.inventory.reconcile.stock import Stock
from bintally.inventory.reconcile.words import Reasons
from bintally.inventory.verdict import OUTCOMES

ALL_OUTCOMES: Final = (*OUTCOMES, "no_photo", "no_record")

_APART: Final = "\x1f"  # ASCII's unit separator, which no sentence holds
_NONE, _PHOTO, _CHANGE = (KINDS.index(kind) for kind in ("none", "photo", "change"))


@dataclass(frozen=True)
class Judged:
    """A row a bin: those with a record and a photo or count first, in the order of the counts."""

    table: pl.DataFrame
    reasons: Reasons
    keys: tuple[str, ...]
    shares_nk: NDArray[np.float32]  # of the first rows
    untimed: int
    photos: int

    def rows(self, start: int, stop: int) -> pl.DataFrame:
        """Rows with `reasons`, a list of sentences."""
        part = self.table.slice(start, stop - start)
        # Split again by polars: ten times as fast as a series made of lists.
        said = pl.Series("reasons", map(_APART.join, self.reasons.of(start, start + part.height)), dtype=pl.String)
        return part.with_columns(said.str.split(_APART))


def judge(stock: Stock, seen: Seen, policy: Policy, card: Card, wrong: float) -> Judged:
    """Judges each record whose bin was seen; `wrong` is the share of records that are wrong, one for all.

    Files tell no outcomes that a bin's own share could be learnt from, as a ledger does.
    """
    records = stock.table.with_columns(has_record=pl.lit(value=True))
    joined = seen.table.with_columns(place=pl.int_range(pl.len(), dtype=pl.UInt32)).join(
        records, on="bin", how="left", maintain_order="left"
    )
    both = joined.filter(pl.col("has_record"))
    shares_nk = seen.shares_nk[both["place"].to_numpy()]
    known_n = shares_nk.any(axis=1) if len(seen.keys) else np.zeros(both.height, np.bool_)
    cases = _cases(both, shares_nk, known_n, seen.keys or card.count_keys, card, policy.settings, wrong)
    decisions = policy.decide(cases)
    judged = _judged(both, decisions, shares_nk, known_n, card)
    alone = joined.filter(pl.col("has_record").is_null())
    unseen = records.join(seen.table.select("bin"), on="bin", how="anti", maintain_order="left")
    table = pl.concat([judged, _rest(unseen, "no_photo"), _rest(alone, "no_record")], how="diagonal").select(_ORDER)
    rejected = alone["bin"].is_in(stock.rejected_bins.implode()).to_list()
    reasons = Reasons(decisions, both, known_n, unseen=unseen.height, rejected=rejected)
    return Judged(table, reasons, seen.keys, shares_nk, seen.untimed, seen.photos)


def bars(both: pl.DataFrame, known_n: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """[N] why a record can't be judged by its photo."""
    stale_n = (both["as_of"] > both["taken_at"]).fill_null(value=False).to_numpy()
    bar_n = np.where(stale_n, Bar.STALE, Bar.NONE)
    bar_n = np.where(both["abstain"].is_not_null().to_numpy(), Bar.NO_BIN, bar_n)
    bar_n = np.where(both["error"].is_not_null().to_numpy() & ~known_n, Bar.UNREADABLE, bar_n)
    return bar_n.astype(np.uint8)


def _cases(
    both: pl.DataFrame,
    shares_nk: NDArray[np.float32],
    known_n: NDArray[np.bool_],
    keys: tuple[str, ...],
    card: Card,
    settings: PolicySettings,
    wrong: float,
) -> Cases:
    many = both.height
    if shares_nk.shape[1] != len(keys):
        shares_nk = np.zeros((many, len(keys)), np.float32)
    kind_n = kinds(both, known_n)
    return Cases(
        keys=keys,
        probabilities_nk=shares_nk,
        prior_nk=_prior(both, kind_n, keys, card),
        recorded_n=both["recorded"].to_numpy(),
        kind_n=kind_n,
        wrong_n=np.broadcast_to(wrong, many),
        unit_value_n=both["unit_value"].fill_null(float("nan")).to_numpy(),
        class_n=both["abc"].replace_strict(CLASSES, range(len(CLASSES)), return_dtype=pl.UInt8).to_numpy(),
        derived_n=np.zeros(many, np.bool_),
        said_n=np.full(many, np.nan),
        bar_n=bars(both, known_n),
        draw_n=_draws(both, settings.recount_share),
    )


def kinds(both: pl.DataFrame, known_n: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """[N] what was seen: nothing that a promise could be made for where a pair's earlier count was not confirmed."""
    paired_n = both["previous"].is_not_null().to_numpy()
    confirmed_n = both["previous_count"].is_not_null().to_numpy()
    kind_n = np.where(paired_n, np.where(confirmed_n, _CHANGE, _NONE), _PHOTO)
    return np.where(known_n, kind_n, _NONE).astype(np.uint8)


def _prior(
    both: pl.DataFrame, kind_n: NDArray[np.uint8], keys: tuple[str, ...], card: Card
) -> NDArray[np.floating[Any]]:
    """[N, K] what would be said without the photos."""
    alone_k = np.array([[card.target_prior.get(key, 0.0) for key in keys]])
    alone_k = normalised(alone_k) if alone_k.any() else np.full((1, len(keys)), 1.0 / len(keys))
    if card.change is None or not (kind_n == _CHANGE).any():
        return np.broadcast_to(alone_k[0], (len(kind_n), len(keys)))
    prior_nk = np.repeat(alone_k, len(kind_n), axis=0)
    earlier_n = both["previous_count"].fill_null(0).to_numpy()
    for earlier in np.unique(earlier_n[kind_n == _CHANGE]).tolist():
        row_k = normalised(blind(card.change, [earlier], keys))[0]
        prior_nk[(kind_n == _CHANGE) & (earlier_n == earlier)] = row_k
    return prior_nk


def _draws(both: pl.DataFrame, share: float) -> NDArray[np.uint64]:
    """[N] whom the blind recount draws: by bin, photo and record, so that the same are drawn whoever asks again."""
    if share == 0.0:
        return np.zeros(both.height, np.uint64)
    named = both.select(pl.format("{} {} {}", "bin", pl.col("path").fill_null(""), "recorded")).to_series()
    return np.fromiter(map(draw_of, named.to_list()), np.uint64, both.height)


def _judged(
    both: pl.DataFrame,
    decisions: Decisions,
    shares_nk: NDArray[np.float32],
    known_n: NDArray[np.bool_],
    card: Card,
) -> pl.DataFrame:
    keys = decisions.cases.keys
    known_n = known_n & np.isin(decisions.cases.bar_n, (Bar.NONE, Bar.STALE))
    best_n = values_of(keys)[decisions.cases.probabilities_nk.argmax(axis=1)]
    told = pl.Series(np.where(known_n, best_n, -1))
    told = told.set(told < 0, None)
    plain = pl.Series(decisions.cases.kind_n == _NONE) & both["error"].is_null() & both["abstain"].is_null()
    count = told.fill_null(both["count"].set(~plain, None))
    off = pl.Series(_off(decisions, shares_nk, known_n, count, card))
    top = top_of(keys) if known_n.any() else None
    within_top = pl.lit(value=False) if top is None else (pl.col("count") >= top) & (pl.col("recorded_count") >= top)
    return both.select(
        "bin",
        "unit_value",
        "abc",
        "products",
        "as_of",
        "taken_at",
        recorded_count="recorded",
        photo="path",
        outcome=pl.Series(np.array(OUTCOMES)[decisions.outcome_n]).cast(pl.Enum(ALL_OUTCOMES)),
        count=count,
        right=pl.Series(decisions.right_n).fill_nan(None),
        prior_right=pl.Series(decisions.prior_right_n).fill_nan(None),
        score=pl.Series(decisions.score_n).fill_nan(None),
        threshold=pl.Series(decisions.threshold_n).fill_nan(None),
        promised=pl.Series(decisions.promised_n),
        evidence=pl.Series(np.array(KINDS)[decisions.cases.kind_n]),
        expected_off=off,
        second_approval=pl.Series(decisions.second_approval_n),
        blind_recount=pl.Series(decisions.blind_recount_n),
    ).with_columns(
        difference=pl.when(~within_top).then(pl.col("count") - pl.col("recorded_count")),
        expected_value=pl.col("expected_off") * pl.col("unit_value"),
    )


def _off(
    decisions: Decisions,
    shares_nk: NDArray[np.float32],
    known_n: NDArray[np.bool_],
    count: pl.Series,
    card: Card,
) -> NDArray[np.float64]:
    """[N] items that each record is expected to be off."""
    recorded_n = decisions.cases.recorded_n.astype(np.float64)
    wrong_n = np.where(np.isnan(decisions.right_n), decisions.cases.wrong_n, 1.0 - decisions.right_n)
    away_n = np.nan_to_num(np.abs(count.cast(pl.Float64).fill_null(float("nan")).to_numpy() - recorded_n), nan=1.0)
    if known_n.any():
        keys = decisions.cases.keys
        values_k = np.array([card.count_values.get(key, float(key.removesuffix("+"))) for key in keys])
        distance_nk = np.abs(values_k - recorded_n[:, None])
        top = top_of(keys)
        other_nk = values_of(keys) != recorded_n[:, None].astype(np.int64)
        if top is not None:
            other_nk[:, -1] &= recorded_n < top
        other_nk = other_nk * shares_nk
        total_n = other_nk.sum(axis=1)
        mean_n = (other_nk * distance_nk).sum(axis=1) / np.where(total_n > 0, total_n, 1.0)
        away_n = np.where(known_n, np.where(total_n > 0, mean_n, 1.0), away_n)
    return np.asarray(wrong_n * away_n)


def _rest(rows: pl.DataFrame, outcome: str) -> pl.DataFrame:
    """Bins with a record or a photo only."""
    names = {"recorded": "recorded_count", "path": "photo"}
    rows = rows.rename({old: new for old, new in names.items() if old in rows.columns})
    if outcome == "no_record":
        rows = rows.drop("recorded_count", "unit_value", "abc", "products", "as_of")
    kept = [name for name in _ORDER if name in rows.columns]
    return rows.select(kept).with_columns(outcome=pl.lit(outcome).cast(pl.Enum(ALL_OUTCOMES)))


_ORDER: Final = [
    "bin", "outcome", "recorded_count", "count", "difference", "right", "prior_right", "score", "threshold", "promised",
    "evidence", "products", "unit_value", "abc", "expected_off", "expected_value", "second_approval", "blind_recount",
    "photo", "taken_at", "as_of",
]  # fmt: skip


def worth_a_look(judged: Judged, number: int) -> Sequence[int]:
    """Rows of the doubtful bins that a look is worth most of, by money where it is known, else by items."""
    doubtful = pl.col("outcome").is_in(["mismatch", "uncertain"])
    by = [pl.col("expected_value").fill_null(-1.0), pl.col("expected_off")]
    rows = judged.table.with_row_index("row").filter(doubtful).top_k(number, by=by)
    return rows.sort([*by, "row"], descending=[True, True, False])["row"].to_list()
