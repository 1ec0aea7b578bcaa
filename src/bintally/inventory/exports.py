"""export_table: what the ledger holds, as CSV or Parquet.

Bins, products, records and movements can be taken in again.
"""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.errors import UsageError, did_you_mean
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger, Site, site_of
from bintally.inventory.rows import put_down, write_table
from bintally.inventory.values import EACH

SUFFIXES: Final = (".csv", ".parquet")

Query: TypeAlias = Select[*tuple[Any, ...]]


class ExportReport(msgspec.Struct, frozen=True):
    """What was written."""

    table: str
    file: str
    rows: int
    seconds: float


def export_table(
    *, ledger: Ledger, table: str, file: Path, site: str | None = None, as_of: datetime | None = None
) -> ExportReport:
    """Writes one of `TABLES` of a site to `file`, .csv or .parquet. The audit log is the whole ledger's.

    `as_of`: what was so at that moment: of records the versions in force then (else: all versions), of the others what
    had happened until then. Bins and products have no time, and come whole.

    Raises:
        UsageError: no such table, or a file of another kind.
        StorageError: the file can't be written.
    """
    start = time.perf_counter()
    if table not in TABLES:
        raise UsageError(f"There is no table {table!r} to export.", hint=did_you_mean(table, TABLES))
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{file} is neither .csv nor .parquet.", hint="The suffix says what is written.")
    if as_of is not None and as_of.tzinfo is None:
        raise UsageError(f"{as_of} has no offset from UTC.", hint="Give it one: 2026-01-31T12:00Z.")
    with TemporaryDirectory(prefix="bintally-") as folder:
        with ledger.read() as connection:
            query = TABLES[table](site_of(connection, site), as_of)
            rows, count = put_down(connection, query, Path(folder), table)
        write_table(rows, file)
    return ExportReport(table, str(file), count, round(time.perf_counter() - start, 2))


def _bins(site: Site, _as_of: datetime | None) -> Query:
    bins = schema.Bin
    return select(bins.code.label("bin")).where(bins.site_id == site.id).order_by(bins.code)


def _products(site: Site, _as_of: datetime | None) -> Query:
    p = schema.Product
    columns = (p.name, p.abc, p.unit, p.unit_value, p.height_in, p.length_in, p.width_in, p.weight_lb)
    return select(p.sku.label("product"), *columns).where(p.site_id == site.id).order_by(p.sku)


def _records(site: Site, as_of: datetime | None) -> Query:
    record, line, product, bins = schema.StockRecord, schema.StockLine, schema.Product, schema.Bin
    query = select(
        bins.code.label("bin"),
        product.sku.label("product"),
        func.coalesce(line.quantity, record.quantity).label("quantity"),
        func.coalesce(product.unit, EACH, type_=product.unit.type).label("unit"),
        record.effective_at,
        record.received_at,
        record.key,
        record.source,
    ).join(bins, bins.id == record.bin_id)
    query = query.outerjoin(line, line.record_id == record.id).outerjoin(product, product.id == line.product_id)
    query = query.where(bins.site_id == site.id, *_until(record.effective_at, as_of))
    if as_of is not None:
        later = aliased(record)
        newer = (later.effective_at > record.effective_at) | (
            (later.effective_at == record.effective_at) & (later.id > record.id)
        )
        query = query.where(
            ~select(later.id).where(later.bin_id == record.bin_id, later.effective_at <= as_of, newer).exists()
        )
    return query.order_by(bins.code, record.effective_at, record.id, product.sku)


def _movements(site: Site, as_of: datetime | None) -> Query:
    m, product, bins = schema.Movement, schema.Product, schema.Bin
    unit = func.coalesce(product.unit, EACH, type_=product.unit.type).label("unit")
    query = select(
        bins.code.label("bin"), product.sku.label("product"), m.quantity, unit, m.moved_at, m.received_at, m.key
    )
    query = query.join(bins, bins.id == m.bin_id).outerjoin(product, product.id == m.product_id)
    return query.where(bins.site_id == site.id, *_until(m.moved_at, as_of)).order_by(bins.code, m.moved_at, m.id)


def _photos(site: Site, as_of: datetime | None) -> Query:
    p, bins = schema.Photo, schema.Bin
    columns = (p.place.label("photo"), p.taken_at, p.sha256, p.received_at, p.size_bytes, p.removed_at)
    query = select(bins.code.label("bin"), *columns).join(bins, bins.id == p.bin_id)
    return query.where(bins.site_id == site.id, *_until(p.taken_at, as_of)).order_by(p.id)


def _estimates(site: Site, as_of: datetime | None) -> Query:
    e, photo, bins = schema.Estimate, schema.Photo, schema.Bin
    columns = (e.model, e.model_sha256, e.body, e.prior, e.made_at)
    query = select(bins.code.label("bin"), photo.sha256.label("photo"), *columns)
    query = query.join(photo, photo.id == e.photo_id).join(bins, bins.id == photo.bin_id)
    return query.where(bins.site_id == site.id, *_until(e.made_at, as_of)).order_by(e.id)


def _verdicts(site: Site, as_of: datetime | None) -> Query:
    v, record, bins = schema.Verdict, schema.StockRecord, schema.Bin
    told = (v.outcome, v.right, v.blind_recount, v.policy_sha256, v.body, v.made_at)
    query = select(v.id.label("verdict"), bins.code.label("bin"), record.key.label("record"), *told)
    query = query.join(record, record.id == v.record_id).join(bins, bins.id == v.bin_id)
    return query.where(bins.site_id == site.id, *_until(v.made_at, as_of)).order_by(v.id)


def _reviews(site: Site, as_of: datetime | None) -> Query:
    r, bins = schema.Review, schema.Bin
    told = (r.state, r.reason, r.blind, r.worth, r.propensity, r.opened_at, r.closed_at)
    query = select(r.id.label("review"), bins.code.label("bin"), r.verdict_id.label("verdict"), *told)
    query = query.join(bins, bins.id == r.bin_id)
    return query.where(bins.site_id == site.id, *_until(r.opened_at, as_of)).order_by(r.id)


def _decisions(site: Site, as_of: datetime | None) -> Query:
    d, review, person, bins = schema.Decision, schema.Review, schema.Person, schema.Bin
    told = (d.key, d.kind, d.count, d.lines, d.note, d.undoes_id.label("undoes"), d.counted_at, d.made_at)
    names = (d.id.label("decision"), d.review_id.label("review"), bins.code.label("bin"), person.name.label("person"))
    query = select(*names, *told).join(review, review.id == d.review_id).join(person, person.id == d.person_id)
    query = query.join(bins, bins.id == review.bin_id)
    return query.where(bins.site_id == site.id, *_until(d.made_at, as_of)).order_by(d.id)


def _adjustments(site: Site, as_of: datetime | None) -> Query:
    a, record, product, bins, person = (
        schema.Adjustment,
        schema.StockRecord,
        schema.Product,
        schema.Bin,
        schema.Person,
    )
    told = (a.before, a.after, a.value, a.state, person.name.label("approved_by"), a.made_at, a.settled_at)
    names = (a.id.label("adjustment"), a.decision_id.label("decision"), bins.code.label("bin"))
    query = select(*names, record.key.label("record"), product.sku.label("product"), *told)
    query = query.join(bins, bins.id == a.bin_id).join(record, record.id == a.record_id)
    query = query.outerjoin(product, product.id == a.product_id).outerjoin(person, person.id == a.approved_by_id)
    return query.where(bins.site_id == site.id, *_until(a.made_at, as_of)).order_by(a.id)


def _postings(site: Site, as_of: datetime | None) -> Query:
    p, erp, bins, back = schema.Posting, schema.ErpConnection, schema.Bin, aliased(schema.Posting)
    told = (p.key, p.kind, back.key.label("reverses"), p.state, p.reason, p.reference, p.body, p.made_at, p.settled_at)
    names = (p.id.label("posting"), erp.name.label("connection"), bins.code.label("bin"))
    query = select(*names, p.decision_id.label("decision"), *told).join(erp, erp.id == p.connection_id)
    query = query.join(bins, bins.id == p.bin_id).outerjoin(back, back.id == p.reverses_id)
    return query.where(bins.site_id == site.id, *_until(p.made_at, as_of)).order_by(p.id)


def _labels(site: Site, as_of: datetime | None) -> Query:
    label, photo, bins = schema.Label, schema.Photo, schema.Bin
    told = (label.count, label.kind, label.made_at, label.withdrawn_at)
    names = (label.id.label("label"), label.decision_id.label("decision"), bins.code.label("bin"))
    query = select(*names, photo.sha256.label("photo"), photo.place, *told)
    query = query.join(photo, photo.id == label.photo_id).join(bins, bins.id == photo.bin_id)
    return query.where(bins.site_id == site.id, *_until(label.made_at, as_of)).order_by(label.id)


def _audit(_site: Site, as_of: datetime | None) -> Query:
    line = audit.AuditLine
    columns = (line.number, line.at, line.actor, line.action, line.subject, line.body, line.hash)
    return select(*columns).where(*_until(line.at, as_of)).order_by(line.number)


def _until(column: Any, as_of: datetime | None) -> list[ColumnElement[bool]]:
    return [] if as_of is None else [column <= as_of]


TABLES: Final[dict[str, Callable[[Site, datetime | None], Query]]] = {
    "bins": _bins,
    "products": _products,
    "records": _records,
    "movements": _movements,
    "photos": _photos,
    "estimates": _estimates,
    "verdicts": _verdicts,
    "reviews": _reviews,
    "decisions": _decisions,
    "adjustments": _adjustments,
    "postings": _postings,
    "labels": _labels,
    "audit": _audit,
}
"""What can be exported."""
