"""A plan that was worked off goes in: what was counted decides, what was not stays, nothing stands twice."""

from pathlib import Path

import pytest
from sqlalchemy import select

from bintally.errors import AccessError
from bintally.inventory import schema
from bintally.inventory.bulk.run import ImportReport, import_file
from bintally.inventory.ledger import Ledger
from tests.inventory.worlds import World

PLAN = """day,look,step,bin,count,counted_at,product,note
2026-03-02,count,1,A,4,2026-03-02T11:00:00Z,,
2026-03-02,count,2,B,3,2026-03-02T11:05:00Z,,one is broken
2026-03-02,count,3,C,,,,
2026-03-02,photo,1,D,,,,
2026-03-02,count,4,E,2,2026-03-02T11:10:00Z,X,
2026-03-02,count,4,E,3,2026-03-02T11:10:00Z,Y,
2026-03-02,count,5,F,three,2026-03-02T11:15:00Z,,
2026-03-02,count,6,G,3,,,
2026-03-02,count,7,E,3,2026-03-02T11:20:00Z,X,
2026-03-02,count,7,E,x,2026-03-02T11:20:00Z,Y,
2026-03-02,count,8,new,1,2026-03-02T11:30:00Z,,
2026-03-02,count,9,H,1,2026-03-02T11:30:00Z,,
2026-03-02,count,9,H,2,2026-03-02T11:30:00Z,,
"""


@pytest.fixture
def plan(ledger: Ledger, tmp_path: Path) -> Path:
    """Bins of 4 items that were judged, and a plan of them with what was counted."""
    with ledger.write() as connection:
        world = World.new(connection)
        for code in "ABCDFGH":
            world.judged(code, outcome="match", recorded=4, count=4)
        world.judged("E", outcome="match", lines={"X": 3, "Y": 2}, count=5)
    (tmp_path / "plan.csv").write_text(PLAN)
    return tmp_path / "plan.csv"


def _taken(ledger: Ledger, plan: Path, by: str = "rita") -> ImportReport:
    return import_file(ledger=ledger, kind="counts", file=plan, by=by)


def test_counts_decide_and_lines_that_can_t_go_in_are_listed(ledger: Ledger, plan: Path) -> None:
    report = _taken(ledger, plan)
    assert (report.lines, report.new, report.changed, report.held, report.rejected) == (13, 3, 2, 0, 7)
    assert {each.line: each.why for each in report.first} == {
        8: "is no number",
        9: "is missing",
        10: "belongs to the same count as line 11, which can't go in",
        11: "is no number",
        12: "Site STR1 has no bin 'new'. Known: A, B, C, D, E, F, G, H.",
        13: "another line tells another count for this bin and time, or its products",
        14: "another line tells another count for this bin and time, or its products",
    }
    with ledger.read() as connection:
        rows = connection.execute(
            select(schema.Decision.kind, schema.Decision.note, schema.Bin.code)
            .join(schema.Review, schema.Review.id == schema.Decision.review_id)
            .join(schema.Bin, schema.Bin.id == schema.Review.bin_id)
            .order_by(schema.Decision.id)
        ).all()
    assert [tuple(row) for row in rows] == [
        ("accept", "", "A"), ("correct", "one is broken", "B"), ("correct", "", "E"),
    ]  # fmt: skip


def test_the_file_again_changes_nothing_and_what_was_mended_goes_in(ledger: Ledger, plan: Path) -> None:
    _taken(ledger, plan)
    again = _taken(ledger, plan)
    assert (again.new, again.changed, again.held, again.rejected) == (0, 0, 3, 7)
    plan.write_text(PLAN.replace("three", "3").replace("C,,", "C,4,2026-03-02T11:12:00Z"))
    mended = _taken(ledger, plan)
    assert (mended.new, mended.changed, mended.held) == (2, 1, 3)


def test_reviewers_count_and_viewers_do_not(ledger: Ledger, plan: Path) -> None:
    with pytest.raises(AccessError):
        _taken(ledger, plan, by="vera")
