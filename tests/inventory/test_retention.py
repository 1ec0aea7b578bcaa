"""Old photos go, what is still needed stays, and what a kill leaves behind is finished."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from bintally.database import audit
from bintally.errors import AccessError, UsageError
from bintally.inventory import retention, schema
from bintally.inventory.ledger import Ledger
from bintally.inventory.retention import RetainReport, retain
from tests.inventory.worlds import MORNING, World

LATER = MORNING + timedelta(days=40)


def _filled(ledger: Ledger, folder: Path) -> dict[str, int]:
    """Photos by what is so of them."""
    folder.mkdir(exist_ok=True)
    with ledger.write() as connection:
        world = World.new(connection)
        open_review = world.judged("A-1", outcome="uncertain", recorded=4, count=3)
        connection.execute(
            insert(schema.Review).values(
                bin_id=open_review.bin_id,
                verdict_id=open_review.verdict_id,
                reason="uncertain",
                worth=1,
                propensity=1.0,
                opened_at=MORNING,
            )
        )
        labelled = world.judged("A-2", outcome="mismatch", recorded=4, count=3)
        world.looked(labelled, kind="correct", count=3)
        found = {"open": open_review.photo_id, "labelled": labelled.photo_id}
        for name, age, inside in (("old", 0, True), ("new", 30, True), ("elsewhere", 0, False)):
            place = (folder if inside else folder.parent) / f"{name}.jpg"
            found[name] = world.photo(world.bin(f"B-{name}"), at=MORNING + timedelta(days=age), place=str(place))
        for name, number in found.items():
            path = (folder.parent if name == "elsewhere" else folder) / f"{name}.jpg"
            path.write_bytes(b"123")
            connection.execute(
                update(schema.Photo).where(schema.Photo.id == number).values(place=str(path), size_bytes=3)
            )
    return {name: int(number) for name, number in found.items() if number is not None}


def _run(ledger: Ledger, folder: Path, *, exported: bool = False, dry_run: bool = False) -> RetainReport:
    return retain(ledger=ledger, days=30, folder=folder, by="adam", at=LATER, exported=exported, dry_run=dry_run)


def _left(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.jpg")}


def test_old_photos_go_and_what_is_needed_stays(ledger: Ledger, tmp_path: Path) -> None:
    photos, folder = _filled(ledger, tmp_path / "photos"), tmp_path / "photos"
    dry = _run(ledger, folder, dry_run=True)
    assert len(_left(folder)) == 4
    report = _run(ledger, folder)
    assert (report.removed, report.bytes, report.kept_for_reviews, report.kept_for_labels, report.outside) == (
        1,
        3,
        1,
        1,
        1,
    )
    assert (dry.removed, dry.is_dry, report.is_dry) == (1, True, False)
    assert _left(folder) == {"open", "labelled", "new"}
    assert (tmp_path / "elsewhere.jpg").exists()
    with ledger.read() as connection:
        row = connection.execute(select(schema.Photo.__table__).where(schema.Photo.id == photos["old"])).one()
        assert (row.place, row.removed_at, len(row.sha256)) == (None, LATER, 64)
        (line,) = [line for line in audit.entries(connection) if line.action == "photo.remove"]
        assert (line.actor, line.body) == ("adam", {"photos": [photos["old"]]})
    assert _run(ledger, folder).removed == 0
    assert _run(ledger, folder, exported=True).removed == 1
    assert _left(folder) == {"open", "new"}


@pytest.mark.parametrize("step", ["_delete", "_forget"])
def test_what_a_kill_leaves_the_next_run_finishes(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    photos, folder = _filled(ledger, tmp_path / "photos"), tmp_path / "photos"

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(retention, step, killed)
        _run(ledger, folder)
    report = _run(ledger, folder)
    assert (report.removed, report.missing) == (1, int(step == "_forget"))
    assert _left(folder) == {"open", "labelled", "new"}
    with ledger.read() as connection:
        place = select(schema.Photo.place).where(schema.Photo.id == photos["old"])
        assert connection.execute(place).scalar_one() is None
        assert len([line for line in audit.entries(connection) if line.action == "photo.remove"]) == 1


def test_a_review_that_opens_meanwhile_keeps_its_photo(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, folder = _filled(ledger, tmp_path / "photos"), tmp_path / "photos"
    marked = retention._marked

    def opened_first(*arguments: object) -> set[int]:
        with ledger.write() as connection:
            review = schema.Review
            old = select(schema.Photo.bin_id).where(schema.Photo.id == photos["old"]).scalar_subquery()
            connection.execute(update(review).where(review.state == "open").values(bin_id=old))
        return marked(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "_marked", opened_first)
    _run(ledger, folder)
    assert "old" in _left(folder)


def test_only_admins_and_only_days(ledger: Ledger, tmp_path: Path) -> None:
    _filled(ledger, tmp_path / "photos")
    with pytest.raises(AccessError, match="rita is a reviewer"):
        retain(ledger=ledger, days=30, folder=tmp_path, by="rita")
    with pytest.raises(UsageError, match="1 is least"):
        retain(ledger=ledger, days=0, folder=tmp_path, by="adam")
