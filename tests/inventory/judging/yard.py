"""A site with a cheap model: facts come in as they would, so that judging is tested with the real thing."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from bintally.database.types import Table
from bintally.inventory import schema
from bintally.inventory.intake import take_movement, take_photo, take_product, take_record
from bintally.inventory.judging.arrivals import Arrived, take_and_judge
from bintally.inventory.judging.how import How
from bintally.inventory.judging.reconcile import ReconcileReport, reconcile_ledger
from bintally.inventory.kept_photos import keep
from bintally.inventory.ledger import Ledger, Site, add_site
from bintally.inventory.people import add_person, person_of
from bintally.inventory.policy.acceptance import THRESHOLDS, Acceptance
from bintally.inventory.policy.acceptance import Table as AcceptanceTable
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.review.decisions import Decided, decide
from bintally.inventory.review.findings import Kind
from bintally.inventory.review.leases import take
from bintally.inventory.review.undo import undo
from tests.bundles import bin_photo

MORNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
DARK = bytes(10)  # no photo


def accept(folder: Path, model: str, model_sha256: str) -> None:
    """Writes an acceptance file into a bundle: all that scores 2 nats or more is nearly always right."""
    right = tuple(5000 - 100 * place for place in range(len(THRESHOLDS)))
    wrong = tuple(max(400 - 100 * place, 0) for place in range(len(THRESHOLDS)))
    errors = PolicySettings().errors.model_dump()
    Acceptance(
        format=1, model=model, model_sha256=model_sha256, created="2026-01-01T00:00:00Z", split="val",
        table_sha256="0" * 64, photos=5000, groups=5000, seed=0, errors=errors, thresholds=THRESHOLDS,
        tables=tuple(
            AcceptanceTable(kind=kind, derived=derived, tolerance=0, bins=5000, right=right, wrong=wrong, both=wrong)
            for kind in ("photo", "change", "followed")
            for derived in (False, True)
        ),
    ).write(folder / "acceptance.json")  # fmt: skip


def hour(number: float) -> datetime:
    """So many hours after the morning."""
    return MORNING + timedelta(hours=number)


@dataclass(frozen=True)
class Yard:
    """A ledger with one site, people, a product, a model. Moments are hours after the morning."""

    ledger: Ledger
    site: Site
    how: How
    folder: Path

    @classmethod
    def new(cls, ledger: Ledger, how: How, folder: Path) -> "Yard":
        """An empty one."""
        with ledger.write() as connection:
            site = add_site(connection, code="STR1")
            for name, role in (("rita", "reviewer"), ("rolf", "reviewer"), ("anna", "approver")):
                add_person(connection, name=name, role=role, by="tests")  # type: ignore[arg-type]
            take_product(connection, site, sku="cup", abc="B", unit_value=5)
        return cls(ledger, site, how, folder)

    def record(self, code: str, quantity: int, *, at: float = 0, received: float | None = None) -> int:
        """A version of a bin's record."""
        with self.ledger.write() as connection:
            return take_record(
                connection, self.site, bin=code, lines={"cup": quantity}, effective_at=hour(at), source="tests",
                received_at=None if received is None else hour(received), create_bins=True,
            ).id  # fmt: skip

    def move(self, code: str, quantity: int, *, at: float, received: float | None = None) -> int:
        """A transaction."""
        with self.ledger.write() as connection:
            return take_movement(
                connection, self.site, bin=code, quantity=quantity, moved_at=hour(at),
                received_at=None if received is None else hour(received), create_bins=True,
            ).id  # fmt: skip

    def photo(
        self, code: str, count: float, *, at: float, data: bytes | None = None, received: float | None = None
    ) -> int:
        """A photo that shows so many items is taken in, and not looked at yet. `data`: its bytes."""
        data = shown(code, count, at) if data is None else data
        place = keep(data, self.folder)
        with self.ledger.write() as connection:
            return take_photo(
                connection, self.site, bin=code, sha256=hashlib.sha256(data).hexdigest(), taken_at=hour(at),
                place=str(place), size_bytes=len(data), create_bins=True,
                received_at=None if received is None else hour(received),
            ).id  # fmt: skip

    def arrives(self, code: str, count: float, *, at: float, data: bytes | None = None) -> Arrived:
        """A photo comes through the door of the service."""
        data = shown(code, count, at) if data is None else data
        return take_and_judge(
            ledger=self.ledger, how=self.how, bin=code, photo=data, taken_at=hour(at), folder=self.folder
        )

    def reconcile(self, **asked: Any) -> ReconcileReport:
        """All that there is to do."""
        how = self.how
        known: dict[str, Any] = {"bundle": how.bundle.folder, "policy": how.policy, "follow": how.follow}
        return reconcile_ledger(ledger=self.ledger, **(known | asked))

    def decide(self, code: str, kind: Kind, *, count: int | None = None, person: str = "rita") -> Decided:
        """Somebody decides about the bin's open review."""
        with self.ledger.write() as connection:
            review_id = connection.execute(
                select(schema.Review.id)
                .join(schema.Bin, schema.Bin.id == schema.Review.bin_id)
                .where(schema.Bin.code == code, schema.Review.state == "open")
            ).scalar_one()
            who, at = person_of(connection, person), hour(100)
            leased = take(connection, who, self.site, at=at, review_id=review_id)
            assert leased is not None
            return decide(
                connection, review_id=review_id, person=who, token=leased.token, kind=kind, count=count, at=at
            )

    def undo(self, decision_id: int, *, person: str = "anna") -> None:
        """Somebody takes a decision back."""
        with self.ledger.write() as connection:
            undo(connection, decision_id=decision_id, person=person_of(connection, person), at=hour(101))

    def rows(self, table: type[Table]) -> list[Any]:
        """All rows of a table, in order."""
        with self.ledger.read() as connection:
            return list(connection.execute(select(table.__table__).order_by(text("1"))).all())

    def verdicts(self, code: str) -> list[tuple[str, str]]:
        """Outcome and kind of evidence of a bin's verdicts, in order."""
        query = (
            select(schema.Verdict.outcome, schema.Belief.kind)
            .join(schema.Belief, schema.Belief.id == schema.Verdict.belief_id)
            .join(schema.Bin, schema.Bin.id == schema.Verdict.bin_id)
            .where(schema.Bin.code == code)
            .order_by(schema.Verdict.id)
        )
        with self.ledger.read() as connection:
            return [(row.outcome, row.kind) for row in connection.execute(query)]

    def open_reviews(self, code: str) -> int:
        """How many of the bin wait."""
        query = (
            select(schema.Review.id)
            .join(schema.Bin, schema.Bin.id == schema.Review.bin_id)
            .where(schema.Bin.code == code, schema.Review.state.in_(("open", "waiting")))
        )
        with self.ledger.read() as connection:
            return len(connection.execute(query).all())


def shown(code: str, count: float, at: float) -> bytes:
    """A photo's bytes; each bin and moment has others."""
    seed = int.from_bytes(hashlib.sha256(f"{code} {at}".encode()).digest()[:4], "little")
    return bin_photo(count, height_px=32, width_px=48, seed=seed)
