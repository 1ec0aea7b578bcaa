"""Lists of photos go in: bytes are kept by hash, what can't go in is listed, nothing stands twice."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import select

from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.bulk.run import ImportReport, import_file
from bintally.inventory.intake import take_bin
from bintally.inventory.ledger import Ledger, add_site
from bintally.inventory.people import add_person

LIST = """photo,bin,taken_at
a.jpg,A,2026-03-01T08:00:00Z
day/b.jpg,B,2026-03-01 09:00
gone.jpg,A,2026-03-01
a.jpg,B,2026-03-02
a.jpg,A,yesterday
,A,2026-03-01
a.jpg,C,2026-03-01
"""


@pytest.fixture
def yard(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A ledger with the bins A and B, and two photos listed beside five lines that can't go in."""
    with ledger.write() as connection:
        site = add_site(connection, code="S")
        add_person(connection, name="mara", role="admin", by="test")
        for code in "AB":
            take_bin(connection, site, code)
    (tmp_path / "new/day").mkdir(parents=True)
    (tmp_path / "new/a.jpg").write_bytes(b"\xff\xd8\xff a")
    (tmp_path / "new/day/b.jpg").write_bytes(b"\xff\xd8\xff b")
    (tmp_path / "new/list.csv").write_text(LIST)
    return ledger


def _taken(ledger: Ledger, folder: Path) -> ImportReport:
    return import_file(ledger=ledger, kind="photos", file=folder / "new/list.csv", by="mara", photos=folder / "kept")


def test_photos_are_kept_by_hash_and_lines_that_can_t_go_in_are_listed(yard: Ledger, tmp_path: Path) -> None:
    report = _taken(yard, tmp_path)
    assert (report.lines, report.new, report.held, report.rejected) == (7, 2, 0, 5)
    assert [(each.line, each.column) for each in report.first] == [
        (4, "photo"), (5, "bin"), (6, "taken_at"), (7, "photo"), (8, "bin"),
    ]  # fmt: skip
    said = [str(each) for each in report.first]
    assert said[-1] == "line 8: bin 'C' is no bin of site S", "it once said the bin twice"
    assert said[1].startswith("line 5: bin 'B': The photo ")
    with yard.read() as connection:
        photos = connection.execute(select(schema.Photo.__table__).order_by(schema.Photo.taken_at)).all()
    for photo, data in zip(photos, (b"\xff\xd8\xff a", b"\xff\xd8\xff b"), strict=True):
        assert photo.sha256 == hashlib.sha256(data).hexdigest()
        assert Path(photo.place).read_bytes() == data
        assert Path(photo.place).is_relative_to(tmp_path / "kept")


def test_the_same_list_again_takes_nothing_twice(yard: Ledger, tmp_path: Path) -> None:
    _taken(yard, tmp_path)
    again = _taken(yard, tmp_path)
    assert (again.new, again.held, again.rejected) == (0, 2, 5)


def test_a_ledger_on_a_server_needs_to_be_told_where_photos_are_kept(yard: Ledger, tmp_path: Path) -> None:
    def take() -> ImportReport:
        return import_file(ledger=yard, kind="photos", file=tmp_path / "new/list.csv", by="mara")

    if yard.database.is_sqlite:
        assert take().new == 2
        assert len(list((tmp_path / "photos").rglob("*.jpg"))) == 2
    else:
        with pytest.raises(UsageError, match="Name a folder"):
            take()
