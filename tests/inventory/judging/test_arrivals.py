"""One photo comes in through the door: kept by its hash, and judged at once."""

import hashlib
from pathlib import Path

import pytest

from bintally.errors import ConflictError, DataError, PhotoError, UsageError
from bintally.inventory import schema
from bintally.inventory.judging.arrivals import take_and_judge
from bintally.inventory.kept_photos import keep, photos_folder
from tests.bundles import bin_photo
from tests.inventory.judging.yard import DARK, Yard, hour, shown


def test_a_photo_is_kept_under_its_hash_and_judged(yard: Yard) -> None:
    yard.record("A", 3)
    told = yard.arrives("A", 3, at=1)
    data = shown("A", 3, 1)
    sha256 = hashlib.sha256(data).hexdigest()
    [row] = yard.rows(schema.Photo)
    assert Path(row.place) == yard.folder / sha256[:2] / f"{sha256}.png"
    assert Path(row.place).read_bytes() == data
    assert (told.photo_id, told.is_new) == (row.id, True)
    assert told.estimate is not None
    assert told.estimate.count == 3
    assert told.verdict is not None
    assert told.verdict.outcome == "match"


def test_the_same_photo_again_changes_nothing(yard: Yard) -> None:
    yard.record("A", 5)
    first = yard.arrives("A", 3, at=1)
    second = yard.arrives("A", 3, at=1)
    assert (first.is_new, second.is_new) == (True, False)
    assert (second.verdict_id, second.review_id) == (first.verdict_id, first.review_id)
    assert len(yard.rows(schema.Verdict)) == 1


def test_a_late_photo_is_judged_with_what_came_after_it(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 3, at=2)
    told = yard.arrives("A", 3, at=1)
    assert told.verdict is not None
    assert told.verdict.kind == "photo"  # nobody has counted yet
    assert len(yard.rows(schema.Comparison)) == 1


def test_mixed_up_photos_are_refused(yard: Yard) -> None:
    yard.record("A", 3)
    yard.record("B", 3)
    data = shown("A", 3, 1)
    yard.arrives("A", 3, at=1, data=data)
    with pytest.raises(DataError):
        yard.arrives("B", 3, at=1, data=data)
    with pytest.raises(ConflictError):
        yard.arrives("A", 3, at=2, data=data)
    with pytest.raises(DataError):
        yard.arrives("C", 3, at=1)


def test_what_is_no_photo_is_kept_and_tells_nothing(yard: Yard) -> None:
    yard.record("A", 3)
    told = yard.arrives("A", 3, at=1, data=DARK)
    assert told.estimate is not None
    assert "not a photo" in str(told.estimate.error)
    assert told.verdict is not None
    assert told.verdict.outcome == "uncertain"


def test_a_photo_may_be_a_file(yard: Yard, tmp_path: Path) -> None:
    yard.record("A", 3)
    asked = {"ledger": yard.ledger, "how": yard.how, "bin": "A", "taken_at": hour(1), "folder": yard.folder}
    (tmp_path / "a.png").write_bytes(bin_photo(3))
    assert take_and_judge(**asked, photo=tmp_path / "a.png").is_new  # type: ignore[arg-type]
    assert not take_and_judge(**asked, photo=str(tmp_path / "a.png")).is_new  # type: ignore[arg-type]
    with pytest.raises(PhotoError, match="There is no photo"):
        take_and_judge(**asked, photo=tmp_path / "b.png")  # type: ignore[arg-type]


def test_photos_lie_beside_a_ledger_that_is_a_file(yard: Yard, place: str) -> None:
    if yard.ledger.database.is_sqlite:
        assert photos_folder(yard.ledger) == Path(place).parent / "photos"
    else:
        with pytest.raises(UsageError, match="Name a folder"):
            photos_folder(yard.ledger)


def test_a_torn_file_of_that_name_is_written_anew(tmp_path: Path) -> None:
    data = bin_photo(2)
    place = keep(data, tmp_path)
    place.write_bytes(data[:100])
    assert keep(data, tmp_path) == place
    assert place.read_bytes() == data


def test_a_photo_that_retention_removed_stays_removed(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 3, at=1)
    [row] = yard.rows(schema.Photo)
    with yard.ledger.write() as connection:
        connection.execute(schema.Photo.__table__.update().values(place=None, removed_at=hour(9)))  # type: ignore[attr-defined]
    Path(row.place).unlink()
    assert not yard.arrives("A", 3, at=1).is_new
    assert not Path(row.place).exists()
