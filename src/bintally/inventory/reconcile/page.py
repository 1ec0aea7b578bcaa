"""A reconciliation as one self-contained page: totals, the promise, scores, and the doubtful bins with their photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from markupsafe import Markup

from bintally.counting.evaluation_page import amount, percent
from bintally.counting.pair_lines import place_of
from bintally.errors import PhotoError
from bintally.inventory.reconcile.judged import Judged
from bintally.inventory.reconcile.report import Doubtful, ReconcileReport, doubtful
from bintally.pages import ACCENT, BAD, GOOD, INK, MUTED, axes, data_uri, render, svg
from bintally.photos import open_image, read_photo
from bintally.records import key_of

_PHOTO_PX: Final = 260  # longest side: some 12 kB each
_COLOURS: Final = {"match": GOOD, "mismatch": BAD, "uncertain": ACCENT, "stale": MUTED}
_LISTED: Final = 20  # bins without a photo or a record that are named
_BINS: Final = 60

MEANS: Final = {
    "match": "accepted without a person",
    "mismatch": "the record is surely wrong: correct it",
    "uncertain": "a person looks",
    "stale": "the record changed after the photo",
    "no_photo": "a record, but no photo or count",
    "no_record": "a photo or count, but no record",
}


@dataclass(frozen=True)
class Card:
    """A doubtful bin in the gallery; `bars` has each count's probability."""

    bin: Doubtful
    uri: str
    recorded: str | None
    bars: list[tuple[str, float]]

    @property
    def largest(self) -> float:
        """The probability that the highest bar stands for."""
        return max((share for _, share in self.bars), default=1.0)


def reconcile_page(report: ReconcileReport, judged: Judged, rows: Sequence[int], folder: Path) -> str:
    """The page of `report`, with the bins of `rows`; photos named by relative paths may lie in `folder`."""
    cards = [_card(judged, row, folder) for row in rows]
    return render(
        "reconcile.html",
        report=report,
        cards=cards,
        means=MEANS,
        scores=_scores(judged.table),
        unseen=_named(judged.table, "no_photo"),
        unrecorded=_named(judged.table, "no_record"),
        percent=percent,
        amount=amount,
        money=money,
    )


def money(value: float | None, currency: str) -> str:
    """1234.5 as "1,234.50 USD"; a dash where no value is known."""
    return "-" if value is None else f"{value:,.2f} {currency}"


def _card(judged: Judged, row: int, folder: Path) -> Card:
    (told,) = doubtful(judged.rows(row, row + 1), judged.keys)
    shares = judged.shares_nk[row].tolist() if judged.keys else []
    return Card(
        bin=told,
        uri="" if told.photo is None else _uri(told.photo, folder),
        recorded=key_of(told.recorded_count, judged.keys) if judged.keys else None,
        bars=list(zip(judged.keys, shares, strict=True)) if any(shares) else [],
    )


def _uri(name: str, folder: Path) -> str:
    try:
        image = open_image(read_photo(Path(place_of(name, folder))), draft_px=(_PHOTO_PX, _PHOTO_PX))
        return data_uri(image, longest_px=_PHOTO_PX, quality=72)
    except PhotoError:  # counts outlive photos, and may come from another machine
        return ""


def _named(table: pl.DataFrame, outcome: str) -> tuple[int, list[str]]:
    """How many bins have this outcome, and the first of them."""
    bins = table.filter(pl.col("outcome") == outcome)["bin"]
    return len(bins), bins.head(_LISTED).to_list()


def _scores(table: pl.DataFrame) -> Markup | None:
    """Scores by outcome, and the thresholds they were held against; None: there are none."""
    scored = table.filter(pl.col("score").is_not_null()).select(
        "score", "threshold", outcome=pl.col("outcome").cast(pl.String)
    )
    if not scored.height:
        return None
    low, high = (float(bound) for bound in np.quantile(scored["score"].to_numpy(), (0.001, 0.999)))
    thresholds = scored["threshold"].drop_nulls().value_counts(sort=True).head(3)["threshold"].to_list()
    edges = np.linspace(min(low, 0.0), max([high, *thresholds]) + 0.5, _BINS)
    named = [name for name in _COLOURS if (scored["outcome"] == name).any()]
    scores_n, outcome_n = np.clip(scored["score"].to_numpy(), edges[0], edges[-1]), scored["outcome"].to_numpy()
    parts = [scores_n[outcome_n == name] for name in named]
    figure, plot = axes(9.6, 3.0)
    plot.hist(parts, bins=edges.tolist(), stacked=True, color=[_COLOURS[name] for name in named], label=named)
    for place, threshold in enumerate(thresholds):
        label = "needed for the promise" if place == 0 else None
        plot.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 3)), label=label)
    plot.set_xlabel("score: how much more the photos speak for the record than for other counts (nats)")
    plot.set_ylabel("records")
    plot.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    plot.legend(frameon=False, fontsize=8)
    return svg(figure)
