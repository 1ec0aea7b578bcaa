"""What a reconciliation of files came to, as a report."""

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from bintally.bundle import Card
from bintally.inventory.policy.acceptance import Acceptance
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.reconcile.judged import ALL_OUTCOMES, Judged, worth_a_look
from bintally.inventory.reconcile.rejected import Rejections
from bintally.inventory.reconcile.report import Promise, ReconcileReport, difference_of, doubtful
from bintally.inventory.reconcile.seen import Seen
from bintally.inventory.reconcile.settings import ReconcileConfig
from bintally.inventory.reconcile.stock import Stock

_WORTH: Final = 20  # doubtful bins in the report
_SHOWN: Final = 20  # rejected lines


def summary(
    config: ReconcileConfig,
    settings: PolicySettings,
    card: Card,
    judged: Judged,
    seen: Seen,
    stock: Stock,
    acceptance: Acceptance | None,
    rejections: Rejections,
    notes: Sequence[str],
) -> ReconcileReport:
    """The report; seconds and stages are filled in at the end. `notes` come first among its notes."""
    table = judged.table
    found = dict(table["outcome"].value_counts().iter_rows())
    outcomes = {name: found.get(name, 0) for name in ALL_OUTCOMES}
    worth = worth_a_look(judged, _WORTH)
    return ReconcileReport(
        source=config.source,
        records=str(config.records),
        model=card.name if seen.keys else None,
        licence=card.licence if seen.keys else None,
        policy="default settings" if config.policy is None else str(config.policy),
        photos=seen.photos,
        bins=table.height,
        judged=table.height - outcomes["no_photo"] - outcomes["no_record"],
        outcomes=outcomes,
        superseded=seen.photos - seen.table.height,
        blind_recounts=int(table["blind_recount"].sum()),
        second_approvals=int(table["second_approval"].sum()),
        promise=None if acceptance is None else _promise(settings, acceptance, table),
        difference=difference_of(table, settings.costs.currency),
        notes=(*notes, *_notes(seen, stock, table), *(_unreachable(table, settings) if acceptance else ())),
        worth_a_look=doubtful(pl.concat(judged.rows(row, row + 1) for row in worth), seen.keys) if worth else (),
        rejected=len(rejections),
        rejected_first=rejections.first(_SHOWN),
        out=tuple(map(str, config.out)),
        seconds=0.0,
        stages_s={},
    )


def _promise(settings: PolicySettings, acceptance: Acceptance, table: pl.DataFrame) -> Promise:
    strictest = table["promised"].min()
    return Promise(
        escape=settings.promised_escape,
        strictest=float(strictest) if isinstance(strictest, float) else settings.promised_escape,
        confidence=settings.confidence,
        wrong_records=settings.wrong_records,
        calibrated=tuple(dict.fromkeys(each.kind for each in acceptance.tables)),
        photos=acceptance.photos,
    )


def _notes(seen: Seen, stock: Stock, table: pl.DataFrame) -> Iterator[str]:
    alone = {name: table.filter(pl.col("outcome") == name)["bin"] for name in ("no_photo", "no_record")}
    if all(len(bins) for bins in alone.values()) and sum(map(len, alone.values())) == table.height:
        record, photo = (bins[0] for bins in alone.values())
        yield f"No bin has both: records call bins such as {record!r}, photos or counts such as {photo!r}."
    if seen.untimed:
        yield f"{seen.untimed:,} bin(s) with several photos, not all of them with a time: the last line of each stands."
    if seen.table["taken_at"].null_count() == seen.table.height:
        yield "No time of a photo is known, so a record that changed since can't be told from one that is wrong."
    if len(stock.rejected_bins):
        yield f"Not judged, since a line of their record was rejected: {len(stock.rejected_bins):,} bin(s)."


def _unreachable(table: pl.DataFrame, settings: PolicySettings) -> Iterator[str]:
    """Where no score at all keeps the promise."""
    asked = table.filter(pl.col("score").is_not_null() & pl.col("outcome").is_in(["match", "mismatch", "uncertain"]))
    if asked.height and asked["threshold"].null_count() == asked.height:
        yield (
            f"No score keeps a promise of {100 * settings.promised_escape:.3g}% for such evidence where "
            f"{settings.wrong_records:.1%} of records are wrong: nothing is accepted. Promise less "
            "(--promise), or say how many are wrong if you know it (wrong_records in --policy)."
        )
