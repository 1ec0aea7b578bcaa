"""Photos whose count a person told, for training: with where each label comes from."""

import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
from sqlalchemy import Connection, func, select

from bintally.artifacts import write_bytes, write_text
from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Site
from bintally.inventory.review.case import stands
from bintally.records import CountEstimate

FORMATS: Final = (".jsonl", ".parquet")

_COLUMNS: Final[dict[str, Any]] = {
    "taken_at": pl.Datetime("us", "UTC"),
    "decided_at": pl.Datetime("us", "UTC"),
    "blind": pl.Boolean,
    **dict.fromkeys(("count", "recorded_count", "decision_id", "model_count"), pl.Int64),
}  # of Parquet; the rest is text


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """A photo and what a person told of it. `count` None: the photo can't be counted, or shows another bin.

    `kind`: confirmed, corrected, uncountable or not_this_bin. `blind`: told without sight of the record. `model` and
    `model_count`: what was thought of the photo before; `outcome`: what was decided of the record.
    """

    photo_sha256: str
    place: str | None  # None: retention removed the photo
    site: str
    bin: str
    taken_at: datetime
    kind: str
    count: int | None
    lines: dict[str, int] | None  # by SKU, where it was told so
    recorded_count: int
    outcome: str
    person: str
    decided_at: datetime
    decision_id: int
    note: str
    blind: bool
    reason: str
    model: str | None
    model_sha256: str | None
    model_count: int | None


def labels(
    connection: Connection, site: Site, *, since: datetime | None = None, until: datetime | None = None
) -> list[Labelled]:
    """The labels of a site that stand, by photo; of several for one photo the last. Those withdrawn are left out."""
    label, photo, decision, review = schema.Label, schema.Photo, schema.Decision, schema.Review
    verdict, estimate = schema.Verdict, schema.Estimate
    looked = (
        select(func.max(estimate.id))
        .where(estimate.photo_id == label.photo_id, estimate.made_at <= verdict.made_at)
        .correlate(label, verdict)
        .scalar_subquery()
    )
    query = (
        select(
            photo.sha256.label("photo_sha256"), photo.place, schema.Bin.code.label("bin"), photo.taken_at,
            label.kind, label.count, decision.lines, schema.StockRecord.quantity.label("recorded_count"),
            verdict.outcome, schema.Person.name.label("person"), decision.made_at.label("decided_at"),
            decision.id.label("decision_id"), decision.note, review.blind, review.reason,
            estimate.model, estimate.model_sha256, estimate.body,
        )
        .select_from(label)
        .join(photo, photo.id == label.photo_id)
        .join(schema.Bin, schema.Bin.id == photo.bin_id)
        .join(decision, decision.id == label.decision_id)
        .join(schema.Person, schema.Person.id == decision.person_id)
        .join(review, review.id == decision.review_id)
        .join(verdict, verdict.id == review.verdict_id)
        .join(schema.StockRecord, schema.StockRecord.id == verdict.record_id)
        .outerjoin(estimate, estimate.id == looked)
        .where(schema.Bin.site_id == site.id, label.withdrawn_at.is_(None), *stands())
        .order_by(photo.sha256, decision.id)
    )  # fmt: skip
    if since is not None:
        query = query.where(decision.made_at >= since)
    if until is not None:
        query = query.where(decision.made_at < until)
    last = {row.photo_sha256: row for row in connection.execute(query)}
    return [_labelled(row, site) for row in last.values()]


def export_labels(
    connection: Connection,
    site: Site,
    out: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Writes `labels` as JSON lines or Parquet, as the name of `out` ends; returns how many. The file is replaced.

    Raises:
        UsageError: the name ends otherwise.
        StorageError: it can't be written.
    """
    if out.suffix not in FORMATS:
        raise UsageError(f"Labels can't be written as {out.name}.", hint=f"Call it ...{' or ...'.join(FORMATS)}.")
    found = labels(connection, site, since=since, until=until)
    if out.suffix == ".jsonl":
        write_text(out, "".join(msgspec.json.encode(each).decode() + "\n" for each in found))
    else:
        write_bytes(out, _parquet(found))
    return len(found)


def _labelled(row: Any, site: Site) -> Labelled:
    told = dict(row._mapping)
    body, lines = told.pop("body"), told.pop("lines")
    return Labelled(
        site=site.code,
        lines=None if lines is None else json.loads(lines),
        model_count=None if body is None else CountEstimate.from_json(body).count,
        **told,
    )


def _parquet(found: list[Labelled]) -> bytes:
    columns = {name: _COLUMNS.get(name, pl.String) for name in Labelled.__struct_fields__}
    rows = [msgspec.structs.asdict(each) for each in found]
    for row in rows:
        row["lines"] = None if row["lines"] is None else json.dumps(row["lines"], sort_keys=True, ensure_ascii=False)
    file = io.BytesIO()
    pl.DataFrame(rows, schema=columns).write_parquet(file)
    return file.getvalue()
