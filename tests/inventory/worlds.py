"""Small worlds: a ledger filled by direct inserts, so that reviews and key figures are tested without a model.

    with ledger.write() as connection:
        world = World.new(connection)
        case = world.judged("A-1", outcome="mismatch", recorded=4, count=3, value=20.0, abc="A")
        world.looked(case, kind="correct", count=3)

Everything has a moment: `MORNING` is when records were sent, photos come an hour later, verdicts a minute after those.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, func, insert, select

from bintally.database.types import Table
from bintally.inventory import schema
from bintally.inventory.ledger import Site, add_site
from bintally.inventory.people import ROLES, Person, Role, add_person
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.verdict import Outcome, Verdict
from bintally.records import COUNT_KEYS, CountEstimate

MORNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # a Monday
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

PEOPLE: dict[str, Role] = {
    "vera": "viewer",
    "rita": "reviewer",
    "rolf": "reviewer",
    "rosa": "reviewer",
    "anna": "approver",
    "alex": "approver",
    "adam": "admin",
}


@dataclass(frozen=True)
class Case:
    """A bin with a record that was judged."""

    code: str
    bin_id: int
    product_ids: tuple[int, ...]
    record_id: int
    photo_id: int | None
    verdict_id: int
    verdict: Verdict
    taken_at: datetime
    judged_at: datetime


@dataclass
class World:
    """A site of a ledger, inside one transaction."""

    connection: Connection
    site: Site
    people: dict[str, Person]
    policy: str  # SHA-256
    serial: "itertools.count[int]" = field(default_factory=itertools.count)

    @classmethod
    def new(cls, connection: Connection, *, code: str = "STR1", settings: PolicySettings | None = None) -> "World":
        """A site with people of each role and a policy."""
        site = add_site(connection, code=code, currency="EUR")
        people = {name: add_person(connection, name=name, role=role, by="tests") for name, role in PEOPLE.items()}
        assert {person.role for person in people.values()} == set(ROLES)
        settings = settings or PolicySettings(second_approval_above=100.0)
        body = json.dumps({"settings": settings.model_dump(mode="json"), "acceptance": None}, sort_keys=True)
        sha256 = _sha256(body)
        held = connection.execute(select(schema.Policy.sha256).where(schema.Policy.sha256 == sha256)).first()
        if held is None:
            connection.execute(insert(schema.Policy).values(sha256=sha256, body=body, made_at=MORNING))
        taken = connection.execute(select(func.coalesce(func.max(schema.Bin.id), 0))).scalar_one()
        return cls(connection, site, people, sha256, itertools.count(taken))

    def product(self, sku: str, *, value: float | None = 10.0, abc: str = "B", name: str = "") -> int:
        """A product; one that is there already stays as it is."""
        held = self.connection.execute(
            select(schema.Product.id).where(schema.Product.site_id == self.site.id, schema.Product.sku == sku)
        ).scalar_one_or_none()
        unit_value = None if value is None else Decimal(str(value))
        return held or self._add(
            schema.Product,
            site_id=self.site.id,
            sku=sku,
            name=name or f"Product {sku}",
            abc=abc,
            unit_value=unit_value,
        )

    def bin(self, code: str) -> int:
        """A bin."""
        held = self.connection.execute(
            select(schema.Bin.id).where(schema.Bin.site_id == self.site.id, schema.Bin.code == code)
        ).scalar_one_or_none()
        return held or self._add(schema.Bin, site_id=self.site.id, code=code)

    def record(
        self,
        bin_id: int,
        lines: Mapping[int, int] | int,
        *,
        at: datetime = MORNING,
        source: str = "erp.csv",
        received_at: datetime | None = None,
    ) -> int:
        """A version of a bin's record: items by product, or only their number."""
        quantity = lines if isinstance(lines, int) else sum(lines.values())
        record_id = self._add(
            schema.StockRecord,
            bin_id=bin_id,
            key=f"record-{next(self.serial)}",
            quantity=quantity,
            effective_at=at,
            received_at=received_at or at,
            source=source,
        )
        if not isinstance(lines, int):
            rows = [{"record_id": record_id, "product_id": key, "quantity": many} for key, many in lines.items()]
            self.connection.execute(insert(schema.StockLine), rows)
        return record_id

    def movement(self, bin_id: int, quantity: int, *, at: datetime, product_id: int | None = None) -> int:
        """A pick (below 0) or a stow."""
        return self._add(
            schema.Movement,
            bin_id=bin_id,
            key=f"movement-{next(self.serial)}",
            product_id=product_id,
            quantity=quantity,
            moved_at=at,
            received_at=at,
        )

    def photo(self, bin_id: int, *, at: datetime = MORNING + HOUR, count: int = 3, place: str | None = None) -> int:
        """A photo, and a model's estimate of it."""
        sha256 = _sha256(f"{self.site.code} {bin_id} {at} {next(self.serial)}")
        photo_id = self._add(
            schema.Photo,
            bin_id=bin_id,
            sha256=sha256,
            taken_at=at,
            received_at=at,
            size_bytes=1000,
            place=place or f"photos/{sha256[:2]}/{sha256}.jpg",
        )
        shares = _shares(count)
        estimate = CountEstimate(count=count, expected_count=float(count), probabilities=shares, model="tests")
        self._add(
            schema.Estimate,
            photo_id=photo_id,
            model="tests",
            model_sha256="0" * 64,
            body=estimate.to_json(),
            prior=json.dumps(dict.fromkeys(COUNT_KEYS, round(1 / len(COUNT_KEYS), 4))),
            made_at=at,
        )
        return photo_id

    def judged(
        self,
        code: str,
        *,
        outcome: Outcome = "mismatch",
        recorded: int = 4,
        count: int = 3,
        right: float | None = None,
        value: float | None = 10.0,
        abc: str = "B",
        lines: Mapping[str, int] | None = None,
        blind: bool = False,
        second_approval: bool = False,
        at: datetime = MORNING,
        photo: bool = True,
    ) -> Case:
        """A bin with a record (of one product called like its value and class, or of `lines`), a photo, a verdict.

        `at`: the record's moment; the photo comes an hour later, the verdict a minute after it.
        """
        bin_id = self.bin(code)
        by_sku = dict(lines) if lines is not None else {f"{abc}-{value}": recorded}
        by_product = {self.product(sku, value=value, abc=abc): many for sku, many in by_sku.items()}
        record_id = self.record(bin_id, by_product, at=at)
        return self.judge(
            code,
            bin_id,
            record_id,
            tuple(by_product),
            recorded=sum(by_sku.values()),
            outcome=outcome,
            count=count,
            right=right,
            blind=blind,
            second_approval=second_approval,
            taken_at=at + HOUR,
            photo=photo,
        )

    def judge(
        self,
        code: str,
        bin_id: int,
        record_id: int,
        product_ids: tuple[int, ...],
        *,
        recorded: int,
        outcome: Outcome,
        count: int,
        right: float | None = None,
        blind: bool = False,
        second_approval: bool = False,
        taken_at: datetime,
        photo: bool = True,
    ) -> Case:
        """A photo of a bin and a verdict on a version of its record."""
        photo_id = self.photo(bin_id, at=taken_at, count=count) if photo else None
        judged_at = taken_at + MINUTE
        shares = list(_shares(count).values())
        belief_id = self._add(
            schema.Belief,
            bin_id=bin_id,
            photo_id=photo_id,
            at=taken_at,
            events=_sha256(f"{bin_id} {taken_at} {next(self.serial)}"),
            kind="photo" if photo else "none",
            probabilities=json.dumps(shares),
            prior=json.dumps([round(1 / len(shares), 4)] * len(shares)),
            made_at=judged_at,
        )
        default = {"match": 0.99, "mismatch": 0.02, "uncertain": 0.6, "stale": None}[outcome]
        verdict = Verdict(
            outcome=outcome,
            recorded_count=recorded,
            count=count if photo else None,
            right=default if right is None else right,
            prior_right=0.95,
            score=1.0,
            threshold=2.0,
            promised=0.02,
            kind="photo" if photo else "none",
            reasons=(f"The photo looks like {count}, the record says {recorded}.",),
            second_approval=second_approval,
            blind_recount=blind,
        )
        verdict_id = self._add(
            schema.Verdict,
            bin_id=bin_id,
            record_id=record_id,
            belief_id=belief_id,
            policy_sha256=self.policy,
            outcome=outcome,
            right=verdict.right,
            blind_recount=blind,
            body=verdict.to_json(),
            made_at=judged_at,
        )
        return Case(code, bin_id, product_ids, record_id, photo_id, verdict_id, verdict, taken_at, judged_at)

    def looked(
        self,
        case: Case,
        *,
        kind: str = "accept",
        count: int | None = None,
        person: str = "rita",
        propensity: float | None = None,
        after: timedelta = HOUR,
    ) -> int:
        """A review that was decided, as direct inserts: the decision's id. A correction stands at once."""
        at = case.judged_at + after
        asked = {"match": "check"}.get(case.verdict.outcome, case.verdict.outcome)
        review_id = self._add(
            schema.Review,
            bin_id=case.bin_id,
            verdict_id=case.verdict_id,
            state="closed",
            reason=asked,
            blind=asked == "check",
            worth=Decimal("1.5"),
            propensity=propensity if propensity is not None else (0.02 if asked == "check" else 1.0),
            opened_at=case.judged_at,
            closed_at=at,
        )
        told = {"accept": case.verdict.recorded_count, "correct": count}.get(kind)
        decision_id = self._add(
            schema.Decision,
            review_id=review_id,
            person_id=self.people[person].id,
            key=f"decision-{self.site.code}-{next(self.serial)}",
            kind=kind,
            count=told,
            counted_at=case.taken_at if told is not None else None,
            made_at=at,
        )
        if kind == "correct":
            self._correct(case, decision_id, told or 0, at)
        if case.photo_id is not None:
            named = {"accept": "confirmed", "correct": "corrected"}.get(kind, kind)
            self._add(schema.Label, photo_id=case.photo_id, decision_id=decision_id, count=told, kind=named, made_at=at)
        return decision_id

    def undone(self, decision_id: int, *, person: str = "rita", at: datetime = MORNING + 9 * HOUR) -> int:
        """Takes a decision of `looked` back, as direct inserts; its review is withdrawn."""
        decision = schema.Decision
        row = self.connection.execute(select(decision.__table__).where(decision.id == decision_id)).one()
        tables = (
            (schema.Review.__table__, "id", row.review_id, {"state": "withdrawn"}),
            (schema.Adjustment.__table__, "decision_id", decision_id, {"state": "undone", "settled_at": at}),
            (schema.Label.__table__, "decision_id", decision_id, {"withdrawn_at": at}),
        )
        for table, column, key, values in tables:
            self.connection.execute(table.update().where(table.c[column] == key).values(**values))  # type: ignore[attr-defined]
        return self._add(
            decision,
            review_id=row.review_id,
            person_id=self.people[person].id,
            key=f"undo-{decision_id}",
            kind="undo",
            undoes_id=decision_id,
            made_at=at,
        )

    def _correct(self, case: Case, decision_id: int, count: int, at: datetime) -> None:
        single = case.product_ids[0] if len(case.product_ids) == 1 else None
        unit_value = (
            None
            if single is None
            else self.connection.execute(
                select(schema.Product.unit_value).where(schema.Product.id == single)
            ).scalar_one()
        )
        before = case.verdict.recorded_count
        self._add(
            schema.Adjustment,
            decision_id=decision_id,
            bin_id=case.bin_id,
            record_id=case.record_id,
            product_id=single,
            before=before,
            after=count,
            value=None if unit_value is None else (count - before) * unit_value,
            state="approved",
            made_at=at,
            settled_at=at,
        )
        by_product = count if single is None else {single: count}
        self.record(case.bin_id, by_product, at=case.taken_at, source="review", received_at=at)

    def _add(self, table: type[Table], **values: object) -> int:
        added = insert(table).values(**values).returning(table.__table__.c.id)
        return int(self.connection.execute(added).scalar_one())


def _shares(count: int) -> dict[str, float]:
    """Nine in ten for `count`, the rest evenly."""
    nearest = COUNT_KEYS[min(count, len(COUNT_KEYS) - 1)]
    rest = round(0.1 / (len(COUNT_KEYS) - 1), 4)
    return {key: 0.9 if key == nearest else rest for key in COUNT_KEYS}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
