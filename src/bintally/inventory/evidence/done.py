"""What people decided, what changed, and what stock systems were told of it."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, select

from bintally.inventory import schema
from bintally.inventory.evidence.facts import (
    Adjustment,
    Decision,
    Label,
    Named,
    Posting,
    Record,
    RecordLine,
    Review,
    Step,
    Told,
)
from bintally.inventory.evidence.reading import fact, money, named, parsed
from bintally.inventory.evidence.secrets import which_system, without_secrets


def adjustments_of(connection: Connection, decision_id: int) -> tuple[Adjustment, ...]:
    """The changes of stock that a decision asks for."""
    adjustment, product, person = schema.Adjustment, schema.Product, schema.Person
    query = (
        select(adjustment.__table__, product.name.label("product_name"), product.sku, person.name.label("approver"))
        .outerjoin(product, product.id == adjustment.product_id)
        .outerjoin(person, person.id == adjustment.approved_by_id)
        .where(adjustment.decision_id == decision_id)
        .order_by(adjustment.id)
    )
    return tuple(
        fact(
            Adjustment,
            row,
            record=row.record_id,
            product=named(row.product_id, row.product_name),
            value=money(row.value),
            approved_by=named(row.approved_by_id, row.approver),
        )
        for row in connection.execute(query)
    )


def reviews_of(connection: Connection, verdict_id: int) -> tuple[Review, ...]:
    """All rounds of looking at a verdict's bin, with all decisions."""
    review, decision, person = schema.Review, schema.Decision, schema.Person
    rows = connection.execute(select(review.__table__).where(review.verdict_id == verdict_id).order_by(review.round))
    reviews = rows.all()
    query = (
        select(decision.__table__, person.name.label("person"))
        .join(person, person.id == decision.person_id)
        .where(decision.review_id.in_([row.id for row in reviews]))
        .order_by(decision.id)
    )
    made: dict[int, tuple[Decision, ...]] = {}
    for row in connection.execute(query):
        made[row.review_id] = (*made.get(row.review_id, ()), _decision(row))
    return tuple(fact(Review, row, worth=money(row.worth), decisions=made.get(row.id, ())) for row in reviews)


def records_of(
    connection: Connection, bin_id: int, judged: int, adjusted: Sequence[int], decisions: Sequence[Decision]
) -> tuple[Record, ...]:
    """The record that was judged, the one that was corrected, and those that the decisions made."""
    record = schema.StockRecord
    made: dict[str, Literal["made", "restored"]] = {f"review:{each.id}": "made" for each in decisions}
    made |= {f"undo:{each.id}": "restored" for each in decisions if each.kind == "undo"}
    ours = (record.bin_id == bin_id) & (record.key.in_(made)) & (record.source == schema.CORRECTION)
    query = select(record.__table__).where(record.id.in_({judged, *adjusted}) | ours).order_by(record.id)
    return tuple(
        fact(
            Record,
            row,
            role="judged" if row.id == judged else "corrected" if row.id in adjusted else made[row.key],
            lines=_lines(connection, row.id),
        )
        for row in connection.execute(query).all()
    )


def labels_of(connection: Connection, decision_id: int) -> tuple[Label, ...]:
    """What a decision tells models."""
    label = schema.Label
    rows = connection.execute(select(label.__table__).where(label.decision_id == decision_id).order_by(label.id))
    return tuple(fact(Label, row, photo=row.photo_id) for row in rows)


def postings_of(connection: Connection, bin_id: int, decision_id: int) -> tuple[Posting, ...]:
    """What stock systems were told of a decision, and of its undoing, with each step and answer."""
    posting, erp = schema.Posting, schema.ErpConnection
    query = (
        select(posting.__table__, erp.name, erp.kind.label("erp_kind"), erp.settings)
        .join(erp, erp.id == posting.connection_id)
        .where(posting.bin_id == bin_id, posting.decision_id == decision_id)
        .order_by(posting.id)
    )
    return tuple(
        fact(
            Posting,
            row,
            to=Told(id=row.connection_id, name=row.name, kind=row.erp_kind, system=which_system(parsed(row.settings))),
            reason=without_secrets(row.reason),
            reference=without_secrets(row.reference),
            reverses=row.reverses_id,
            posting=without_secrets(parsed(row.body)),
            steps=_steps(connection, row.id),
        )
        for row in connection.execute(query).all()
    )


def subject_of(connection: Connection, decision_id: int) -> Any:
    """Which review, verdict, bin and site a decision is about."""
    decision, review, place, site = schema.Decision, schema.Review, schema.Bin, schema.Site
    query = (
        select(
            decision.id, decision.kind, review.id.label("review_id"), review.verdict_id, place.id.label("bin_id"),
            place.code.label("bin"), site.id.label("site_id"), site.code, site.name, site.currency,
        )
        .join(review, review.id == decision.review_id)
        .join(place, place.id == review.bin_id)
        .join(site, site.id == place.site_id)
        .where(decision.id == decision_id)
    )  # fmt: skip
    return connection.execute(query).one_or_none()


def _decision(row: Any) -> Decision:
    who = Named(row.person_id, row.person)
    note = without_secrets(row.note)
    return fact(Decision, row, by=who, lines=parsed(row.lines), note=note, undoes=row.undoes_id)


def _lines(connection: Connection, record_id: int) -> tuple[RecordLine, ...]:
    line, product = schema.StockLine, schema.Product
    query = select(product.id, product.sku, line.quantity).join(line, line.product_id == product.id)
    rows = connection.execute(query.where(line.record_id == record_id).order_by(product.sku))
    return tuple(RecordLine(row.id, row.sku, row.quantity) for row in rows)


def _steps(connection: Connection, posting_id: int) -> tuple[Step, ...]:
    step = schema.PostingStep
    rows = connection.execute(select(step.__table__).where(step.posting_id == posting_id).order_by(step.id))
    return tuple(fact(Step, row, body=without_secrets(parsed(row.body))) for row in rows)
