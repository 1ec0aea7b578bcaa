"""A small world with one correction that has everything: two photos, a comparison, two rounds, money, a stock system.

Every moment and key is fixed, photos are uncompressed: the same facts on both databases, to the byte.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection, insert, select, update

from bintally.data.rendered import render_photo
from bintally.database import audit
from bintally.inventory import schema
from bintally.inventory.erp.connections import connection_of
from bintally.inventory.erp.relay import PostReport, post
from bintally.inventory.evidence.export import ExportReport, Wanted, export_evidence
from bintally.inventory.kept_photos import keep
from bintally.inventory.ledger import Ledger
from bintally.inventory.review.approvals import approve
from bintally.inventory.review.undo import undo
from tests.inventory.erp.notebook import Notebook
from tests.inventory.review.desks import NOON, decided, opened
from tests.inventory.worlds import HOUR, MINUTE, MORNING, Case, World

SETTINGS = {
    "url": "https://erp.example/db?token=hunter2hunter2",
    "database": "stock",
    "user": "bintally",
    "password": "hunter2hunter2",
}
SECRETS = (b"hunter2hunter2", b"s3cr3t-in-an-answer")


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log's clock stands still, so that its hashes are always the same."""
    monkeypatch.setattr(audit, "now", lambda: MORNING)


@dataclass
class Fixed(World):
    """A world whose photos are real files, in `folder`."""

    folder: Path = Path()

    def photo(self, bin_id: int, *, at: datetime = MORNING + HOUR, count: int = 3, place: str | None = None) -> int:
        """A photo that is kept and taken in, with an estimate."""
        photo_id = super().photo(bin_id, at=at, count=count, place=place)
        data = self.picture(count, seed=photo_id)
        sha256 = hashlib.sha256(data).hexdigest()
        values = {"sha256": sha256, "size_bytes": len(data), "place": str(keep(data, self.folder))}
        photo = schema.Photo
        self.connection.execute(update(photo).where(photo.id == photo_id).values(**values))
        code = self.connection.execute(select(schema.Bin.code).where(schema.Bin.id == bin_id)).scalar_one()
        subject = f"bin:{self.site.code}/{code}"
        audit.append(self.connection, actor="tests", action="photo.take", subject=subject, body={"sha256": sha256})
        return photo_id

    def picture(self, count: int, *, seed: int) -> bytes:
        """Uncompressed: the same bytes whatever library made it."""
        image = Image.frombytes("RGB", (48, 32), bytes((seed * 37 + at * count) % 251 for at in range(48 * 32 * 3)))
        file = io.BytesIO()
        image.save(file, "BMP")
        return file.getvalue()

    def case(self, code: str, *, recorded: int = 4, count: int = 3, value: float = 40.0) -> Case:
        """A bin with two photos and a doubtful record of two products."""
        bin_id = self.bin(code)
        lines = {self.product("B00-DRILL", value=value): recorded - 1, self.product("B00-BITS", value=value): 1}
        record_id = self.record(bin_id, lines)
        earlier = self.photo(bin_id, at=MORNING - 20 * HOUR, count=recorded)
        for hours, quantity in ((-3, -2), (-2, 2)):
            self.movement(bin_id, quantity, at=MORNING + hours * HOUR, product_id=next(iter(lines)))
        case = self.judge(
            code, bin_id, record_id, tuple(lines), recorded=recorded, outcome="mismatch", count=count,
            taken_at=MORNING + HOUR, second_approval=True,
        )  # fmt: skip
        shares = {str(recorded): {str(count): 0.93, str(recorded): 0.07}, str(count): {str(count): 1.0}}
        values = {"model_sha256": "0" * 64, "change": json.dumps(shares), "change_prior": json.dumps(shares)}
        beside = {"earlier_id": earlier, "later_id": case.photo_id, "made_at": MORNING + HOUR}
        self.connection.execute(insert(schema.Comparison).values(**beside, **values))
        return case


class Rendered(Fixed):
    """A world whose photos look like photos, to be looked at."""

    def picture(self, count: int, *, seed: int) -> bytes:
        file = io.BytesIO()
        render_photo(count, seed=seed).save(file, "JPEG")
        return file.getvalue()


def made(connection: Connection, folder: Path, *, code: str = "STR1", kind: type[Fixed] = Fixed) -> Fixed:
    """A world in a transaction; its photos go into `folder`."""
    plain = World.new(connection, code=code)
    return kind(plain.connection, plain.site, plain.people, plain.policy, plain.serial, folder)


def corrected(world: Fixed, code: str = "A-1", *, counted: Mapping[str, int] | None = None, **case: Any) -> int:
    """A case that rita corrects and anna approves; the decision's number."""
    told = world.case(code, **case)
    review_id = opened(world, told)
    assert review_id is not None
    lines = counted or {"B00-DRILL": 2, "B00-BITS": 1}
    decision = decided(world, review_id, "rita", "correct", lines=lines, key=f"{code}-1", note="one box was empty <b>")
    approve(
        world.connection, review_id=review_id, person=world.people["anna"], note="seen", at=NOON + 30 * MINUTE,
        key=f"{code}-2",
    )  # fmt: skip
    return decision.decision_id


def connected(world: World, settings: Mapping[str, str] = SETTINGS) -> None:
    """A stock system, whose settings have in them what they should not."""
    values = {"site_id": world.site.id, "name": "erp", "kind": "notebook", "settings": json.dumps(dict(settings))}
    world.connection.execute(insert(schema.ErpConnection).values(**values, since=MORNING, made_at=MORNING))


def told(ledger: Ledger, erp: Notebook, *, hours: int = 6) -> PostReport:
    """The relay, so long after noon."""
    with ledger.read() as connection:
        to = connection_of(connection, "erp")
    return post(ledger, to, erp, clock=lambda: NOON + hours * HOUR, lease_s=60.0)


def taken_back(ledger: Ledger, world: World, decision_id: int, *, hours: int = 7) -> None:
    """Anna undoes a decision."""
    with ledger.write() as connection:
        undo(
            connection, decision_id=decision_id, person=world.people["anna"], at=NOON + timedelta(hours=hours),
            key=f"undo-{decision_id}", note="wrong bin",
        )  # fmt: skip


def exported(ledger: Ledger, out: Path, *, by: str = "vera", **how: Any) -> ExportReport:
    """An export, as a viewer."""
    ours = {name: how.pop(name) for name in ("adjustment", "decision", "bin", "since", "until") if name in how}
    return export_evidence(ledger=ledger, wanted=Wanted(**ours), out=out, by=by, **how)


def files_of(folder: Path) -> dict[str, bytes]:
    """All files' bytes, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
