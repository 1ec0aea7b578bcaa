"""A bundle has all that a correction refers to, nothing that must not leave, and of the same state the same bytes."""

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from bintally.artifacts import sha256_of
from bintally.database import audit
from bintally.database.types import Table
from bintally.errors import AccessError, BintallyError, ConflictError, DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.evidence.facts import Correction
from bintally.inventory.evidence.verify import verify_evidence
from bintally.inventory.ledger import Ledger
from bintally.inventory.people import add_person
from bintally.inventory.retention import retain
from bintally.inventory.review.approvals import reject
from bintally.registry import schema as registry
from tests.inventory.evidence.conftest import Site
from tests.inventory.evidence.corrections import (
    SECRETS,
    corrected,
    exported,
    files_of,
    made,
    taken_back,
    told,
)
from tests.inventory.review.desks import NOON, decided, opened
from tests.inventory.worlds import HOUR, MORNING

GOLDEN = Path(__file__).parent / "golden"


def read(folder: Path, decision: int) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((folder / "corrections" / f"{decision}.json").read_text())
    return plain


@pytest.mark.usefixtures("still")
def test_the_same_facts_are_the_same_bytes_on_both_databases_and_as_ever(site: Site, tmp_path: Path) -> None:
    site.tell()
    report = exported(site.ledger, tmp_path / "out", decision=site.decision)
    golden = GOLDEN / "correction.json"
    written = (tmp_path / "out" / "corrections" / f"{site.decision}.json").read_bytes()
    if "BINTALLY_WRITE_GOLDEN" in os.environ:
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(written)
    assert written == golden.read_bytes()
    assert (report.corrections, report.photos, report.removed, report.missing) == (1, 2, 0, 0)


def test_an_export_changes_nothing_that_the_next_one_tells(file_site: Site, tmp_path: Path) -> None:
    one = exported(file_site.ledger, tmp_path / "one", decision=file_site.decision)
    two = exported(file_site.ledger, tmp_path / "two", decision=file_site.decision, by="rita")
    assert one.sha256 == two.sha256
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    for name in ("one", "two"):
        exported(file_site.ledger, tmp_path / f"{name}.zip", decision=file_site.decision, zipped=True)
    assert sha256_of(tmp_path / "one.zip") == sha256_of(tmp_path / "two.zip")


def test_everything_that_an_adjustment_refers_to_is_inside(site: Site, tmp_path: Path) -> None:
    site.tell()
    taken_back(site.ledger, site.world, site.decision)
    assert told(site.ledger, site.erp, hours=8).posted == 1
    exported(site.ledger, tmp_path / "out", decision=site.decision)
    plain = read(tmp_path / "out", site.decision)
    inside = _numbers(plain)
    with site.ledger.read() as connection:
        for table, numbers in _referred(connection, site.decision).items():
            assert numbers <= inside[table], f"of {table} {numbers - inside[table]} are missing"
    assert {step["step"] for each in plain["postings"] for step in each["steps"]} == {
        "made", "begun", "prepared", "posted",
    }  # fmt: skip
    assert [each["role"] for each in plain["records"]] == ["judged", "made", "restored"]
    for photo in plain["photos"]:
        assert sha256_of(tmp_path / "out" / photo["file"]) == photo["sha256"]
    assert sha256_of(tmp_path / "out" / plain["verdict"]["policy_file"]) == plain["verdict"]["policy"]
    assert [line["action"] for line in plain["audit"]] == [
        "photo.take", "photo.take", "review.correct", "review.approve", "erp.posted", "review.undo", "erp.posted",
    ]  # fmt: skip


def _numbers(plain: dict[str, Any]) -> dict[str, set[Any]]:
    """The numbers of rows that a bundle tells of, by table."""
    reviews, postings = plain["reviews"], plain["postings"]
    decisions = [each for review in reviews for each in review["decisions"]]
    people = [each["by"] for each in decisions] + [each["approved_by"] for each in plain["adjustments"]]
    lines = [line["product"] for record in plain["records"] for line in record["lines"]]
    products = [each["product"]["id"] for each in plain["adjustments"]] + [
        each["product"] for each in plain["movements"]
    ]

    def ids(rows: list[Any]) -> set[Any]:
        return {each["id"] for each in rows if each is not None}

    return {
        "adjustment": ids(plain["adjustments"]), "decision": ids(decisions), "review": ids(reviews),
        "person": ids(people), "photo": ids(plain["photos"]), "comparison": ids(plain["comparisons"]),
        "estimate": ids([each for photo in plain["photos"] for each in photo["estimates"]]),
        "belief": ids([plain["belief"]]), "verdict": ids([plain["verdict"]]), "policy": {plain["verdict"]["policy"]},
        "stock_record": ids(plain["records"]), "stock_line": {*lines}, "movement": ids(plain["movements"]),
        "product": {*lines, *products}, "label": ids(plain["labels"]), "posting": ids(postings),
        "posting_step": ids([step for each in postings for step in each["steps"]]),
        "erp_connection": ids([each["to"] for each in postings]), "bin": ids([plain["bin"]]),
        "site": ids([plain["site"]]),
    }  # fmt: skip


_CHILDREN: dict[str, tuple[tuple[type[Table], str], ...]] = {
    "decision": (
        (schema.Adjustment, "decision_id"), (schema.Posting, "decision_id"), (schema.Label, "decision_id"),
        (schema.Decision, "undoes_id"),
    ),
    "review": ((schema.Decision, "review_id"),),
    "photo": ((schema.Estimate, "photo_id"), (schema.Comparison, "later_id")),
    "posting": ((schema.PostingStep, "posting_id"),),
    "stock_record": ((schema.StockLine, "record_id"),),
}  # fmt: skip
"""What tells of a row, beside what the row itself refers to."""


def _referred(connection: Any, decision: int) -> dict[str, set[Any]]:
    """All rows that can be reached from a decision's adjustments, by table."""
    tables = schema.Adjustment.metadata.tables
    found: dict[str, set[Any]] = {}
    todo: list[tuple[str, Any]] = [("decision", decision)]
    while todo:
        name, key = todo.pop()
        if key in found.setdefault(name, set()):
            continue
        found[name].add(key)
        table = tables[name]
        primary = list(table.primary_key.columns)[-1]  # of a line its product
        row = connection.execute(select(table).where(primary == key).limit(1)).one()._mapping
        for column in table.columns:
            if row[column.name] is not None and column.name != "lease_person_id":
                todo += [(foreign.column.table.name, row[column.name]) for foreign in column.foreign_keys]
        for child, column_name in _CHILDREN.get(name, ()):
            ours = child.__table__.c
            own = list(tables[child.__tablename__].primary_key.columns)[-1]
            rows = connection.execute(select(own).where(ours[column_name] == key)).scalars()
            todo += [(child.__tablename__, each) for each in rows]
    return found


def test_blind_counts_and_refusals_are_told(site: Site, tmp_path: Path) -> None:
    with site.ledger.write() as connection:
        site.world.connection = connection
        review_id = opened(site.world, site.world.case("B-2"))
        assert review_id is not None
        first = decided(site.world, review_id, "rita", "correct", 2, key="first", note="sure")
        refused = reject(connection, review_id=review_id, person=site.world.people["anna"], at=NOON + HOUR, note="no")
        assert refused.next_review_id is not None
        blind = decided(site.world, refused.next_review_id, "rolf", "correct", 3, key="blind", at=NOON + 2 * HOUR)
        assert blind.next_review_id is None, "who counts blind learns nothing"
        query = select(schema.Review.id).where(schema.Review.bin_id == site.world.bin("B-2"))
        third = connection.execute(query.where(schema.Review.state == "open")).scalar_one()
        last = decided(site.world, third, "rosa", "correct", 3, key="last", at=NOON + 3 * HOUR)
    for number, decision in enumerate((first, last)):
        exported(site.ledger, tmp_path / str(number), decision=decision.decision_id)
        plain = read(tmp_path / str(number), decision.decision_id)
        kinds = [(d["by"]["name"], d["kind"], d["count"], r["blind"]) for r in plain["reviews"] for d in r["decisions"]]
        assert kinds == [
            ("rita", "correct", 2, False), ("anna", "reject", None, False), ("rolf", "count", 3, True),
            ("rosa", "correct", 3, True),
        ]  # fmt: skip
        assert plain["adjustments"][0]["state"] == ("rejected", "approved")[number]


def test_no_secret_leaves(site: Site, tmp_path: Path) -> None:
    site.tell()
    with site.ledger.write() as connection:
        posting = connection.execute(select(schema.Posting.id, schema.Posting.key)).one()
        answer = {
            "answer": {"session_token": SECRETS[1].decode(), "number": 7},
            "reason": "at https://me:hunter2hunter2@x",
        }
        step = {"posting_id": posting.id, "at": NOON, "step": "failed", "body": json.dumps(answer)}
        connection.execute(insert(schema.PostingStep).values(**step))
        reason = "https://erp.example/?api_key=hunter2hunter2 failed"
        connection.execute(update(schema.Posting).values(reason=reason))
        body = {"key": posting.key, "reason": reason}
        audit.append(connection, actor="bintally", action="erp.refused", subject="bin:STR1/A-1", body=body)
    exported(site.ledger, tmp_path / "out", decision=site.decision)
    everything = b"".join(files_of(tmp_path / "out").values())
    for secret in SECRETS:
        assert secret not in everything
    with site.ledger.read() as connection:
        keys = connection.execute(select(schema.Decision.key)).scalars().all()
    assert keys
    plain = read(tmp_path / "out", site.decision)
    assert plain["postings"][0]["steps"][-1]["body"]["answer"] == {"number": 7, "session_token": "(withheld)"}
    assert plain["audit"][-1]["body"] is None, "the line is named, its text is not"
    assert verify_evidence(bundle=tmp_path / "out", ledger=site.ledger).outcome == "vouched"
    assert "come without their text" in str(verify_evidence(bundle=tmp_path / "out").unchecked)


def test_products_that_are_called_like_secrets_are_told(site: Site, tmp_path: Path) -> None:
    counted = {"B00-DRILL": 2, "B00-BITS": 1, "COOKIE-12": 1, "SECRET-SANTA-12": 2}
    with site.ledger.write() as connection:
        site.world.connection = connection
        for sku in ("COOKIE-12", "SECRET-SANTA-12"):
            site.world.product(sku)
        decision = corrected(site.world, "A-2", counted=counted)
    exported(site.ledger, tmp_path / "out", decision=decision)
    assert read(tmp_path / "out", decision)["reviews"][0]["decisions"][0]["lines"] == counted


def test_keys_of_decisions_stay_here_since_they_hold_lease_tokens(file_site: Site, tmp_path: Path) -> None:
    with file_site.ledger.write() as connection:
        file_site.world.connection = connection
        review_id = opened(file_site.world, file_site.world.case("B-1"))
        assert review_id is not None
        made = decided(file_site.world, review_id, "rita", "correct", 3)
        query = select(schema.Decision.key).where(schema.Decision.id == made.decision_id)
        token = connection.execute(query).scalar_one().removeprefix("lease:")
    exported(file_site.ledger, tmp_path / "out", decision=made.decision_id)
    assert len(token) == 32
    assert token.encode() not in b"".join(files_of(tmp_path / "out").values())


def test_versions_that_the_registry_has_of_a_model_are_named(site: Site, tmp_path: Path) -> None:
    with site.ledger.write() as connection:
        model = connection.execute(insert(registry.Model).values(name="bins").returning(registry.Model.id)).scalar_one()
        values = {"bundle_bytes": 1, "lineage": "{}", "registered_at": MORNING, "registered_by": "mara"}
        for number, sha256 in enumerate(("1" * 64, "0" * 64), start=1):
            card = json.dumps({"model_sha256": sha256})
            row = {"model_id": model, "number": number, "bundle_sha256": sha256, "card": card}
            connection.execute(insert(registry.ModelVersion).values(**row, **values))
    exported(site.ledger, tmp_path / "out", decision=site.decision)
    plain = read(tmp_path / "out", site.decision)
    assert [each["registered"] for each in plain["photos"][1]["estimates"]] == [["bins/2"]]
    assert plain["comparisons"][0]["registered"] == ["bins/2"]


def test_a_photo_that_retention_removed_is_named_and_the_rest_is_checked(site: Site, tmp_path: Path) -> None:
    at = NOON + timedelta(days=40)
    retain(ledger=site.ledger, days=30, folder=site.folder / "photos", by="adam", exported=True, at=at)
    report = exported(site.ledger, tmp_path / "out", decision=site.decision)
    assert (report.photos, report.removed, report.missing) == (0, 2, 0)
    photos = read(tmp_path / "out", site.decision)["photos"]
    assert [(each["state"], each["file"]) for each in photos] == [("removed", None)] * 2
    assert "removed on 2026-04-11 by retention" in (tmp_path / "out" / "index.html").read_text()
    assert read(tmp_path / "out", site.decision)["audit"][-1]["action"] == "photo.remove"
    found = verify_evidence(bundle=tmp_path / "out", expect=report.sha256)
    assert (found.outcome, found.removed) == ("vouched", {each["sha256"]: at for each in photos})


def test_photos_that_are_gone_or_changed_are_said_to_be(file_site: Site, tmp_path: Path) -> None:
    one, two = sorted((file_site.folder / "photos").rglob("*.bmp"))
    one.unlink()
    two.write_bytes(b"another")
    report = exported(file_site.ledger, tmp_path / "out", decision=file_site.decision)
    assert (report.photos, report.missing) == (0, 2)
    assert {each["state"] for each in read(tmp_path / "out", file_site.decision)["photos"]} == {"missing", "damaged"}
    found = verify_evidence(bundle=tmp_path / "out", expect=report.sha256)
    assert found.outcome == "vouched"
    assert any("not to be had" in sentence for sentence in found.unchecked)


def test_photos_that_have_moved_are_found(file_site: Site, tmp_path: Path) -> None:
    shutil.move(file_site.folder / "photos", tmp_path / "elsewhere")
    report = exported(file_site.ledger, tmp_path / "out", decision=file_site.decision, photos=tmp_path / "elsewhere")
    assert (report.photos, report.missing) == (2, 0)


def test_only_who_may_look_exports_and_the_log_has_a_line_of_it(site: Site, tmp_path: Path) -> None:
    with site.ledger.write() as connection:
        other = made(connection, site.folder / "photos", code="STR2")
        add_person(connection, name="otto", role="admin", by="tests", site_id=other.site.id)
    before = _lines(site.ledger)
    for name in ("otto", "nobody"):
        with pytest.raises(UsageError):
            exported(site.ledger, tmp_path / "out", decision=site.decision, by=name)
    with pytest.raises(AccessError):
        exported(site.ledger, tmp_path / "out", bin="A-1", site="STR1", by="otto")
    assert _lines(site.ledger) == before
    assert not list(tmp_path.glob("*out*"))
    report = exported(site.ledger, tmp_path / "out", decision=site.decision)
    line = _lines(site.ledger)[-1]
    assert (line.number, line.actor, line.action) == (report.line, "vera", "evidence.export")
    assert line.subject == f"evidence:{report.sha256}"
    assert line.body == {
        "sha256": report.sha256, "wanted": {"decision": site.decision}, "corrections": 1, "signed_by": None,
        "site": "STR1",
    }  # fmt: skip


def _lines(ledger: Ledger) -> list[audit.Entry]:
    with ledger.read() as connection:
        return list(audit.entries(connection))


def test_what_is_wanted_is_found_and_nothing_else(site: Site, tmp_path: Path) -> None:
    with site.ledger.write() as connection:
        site.world.connection = connection
        second = corrected(site.world, "A-2")
    all_of = {"A-1": site.decision, "A-2": second}
    asked: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({"adjustment": 1}, ["A-1"]),
        ({"decision": second}, ["A-2"]),
        ({"bin": "A-2"}, ["A-2"]),
        ({"since": MORNING}, ["A-1", "A-2"]),
        ({"since": MORNING, "bin": "A-1"}, ["A-1"]),
        ({"until": NOON + HOUR}, ["A-1", "A-2"]),
    )
    for number, (wanted, expected) in enumerate(asked):
        out = tmp_path / str(number)
        exported(site.ledger, out, **wanted)
        contents = json.loads((out / "evidence.json").read_text())
        assert [each["bin"] for each in contents["corrections"]] == expected
        for each in contents["corrections"]:
            assert each["decision"] == all_of[each["bin"]]
            assert each["bin"] in (out / each["page"]).read_text()
        assert verify_evidence(bundle=out).outcome == "unvouched"


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({}, UsageError, "Evidence of what"),
        ({"adjustment": 99}, UsageError, "no adjustment 99"),
        ({"decision": 99}, UsageError, "no decision 99"),
        ({"decision": 2}, UsageError, r"2 \(approve\) asked for no change"),
        ({"decision": 1, "bin": "A-1"}, UsageError, "already"),
        ({"bin": "Z-9"}, DataError, "Z-9"),
        ({"until": MORNING}, UsageError, "No correction"),
    ],
)
def test_what_makes_no_sense_is_said(
    file_site: Site, tmp_path: Path, wanted: dict[str, Any], error: type[BintallyError], says: str
) -> None:
    with pytest.raises(error, match=says):
        exported(file_site.ledger, tmp_path / "out", **wanted)
    assert not list(tmp_path.glob("*out*"))


def test_nothing_is_overwritten(file_site: Site, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out.zip").write_text("mine")
    for zipped in (False, True):
        with pytest.raises(ConflictError):
            exported(file_site.ledger, tmp_path / "out", decision=file_site.decision, zipped=zipped)
    assert (tmp_path / "out.zip").read_text() == "mine"


def test_facts_come_back_as_they_were_written(file_site: Site, tmp_path: Path) -> None:
    import msgspec

    from bintally.inventory.evidence.layout import plain_json

    exported(file_site.ledger, tmp_path / "out", decision=file_site.decision)
    data = (tmp_path / "out" / "corrections" / f"{file_site.decision}.json").read_bytes()
    assert plain_json(msgspec.json.decode(data, type=Correction)) == data
