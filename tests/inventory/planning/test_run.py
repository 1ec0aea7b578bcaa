"""plan_counts: from a real ledger, on both databases, to a plan and its file."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from bintally.errors import ConfigError, DataError, UsageError
from bintally.inventory.ledger import Ledger, add_site
from bintally.inventory.planning.facts import read
from bintally.inventory.planning.report import Planned, PlanReport
from bintally.inventory.planning.run import plan_counts
from bintally.inventory.policy.settings import Costs, PolicySettings
from tests.inventory.worlds import HOUR, MINUTE, MORNING, World

DAY = timedelta(days=1)
TODAY = (MORNING + 20 * DAY).date()


def _plan(ledger: Ledger, **asked: object) -> PlanReport:
    return plan_counts(**{"ledger": ledger, "counts": 3, "photos": 2, "day": TODAY} | asked)  # type: ignore[arg-type]


def _bins(report: PlanReport) -> dict[str, str]:
    return {each.bin: each.look for each in report.bins}


def _one(report: PlanReport, code: str) -> Planned:
    return next(each for each in report.bins if each.bin == code)


@pytest.fixture
def world(ledger: Ledger) -> World:
    """Bins of all kinds: counted, photographed, touched, and nothing of it."""
    with ledger.write() as connection:
        world = World.new(connection, settings=PolicySettings(costs=Costs(count=1.0, escape=50.0)))
        counted = world.judged("A-1-1", outcome="uncertain", recorded=4, value=20.0)
        world.looked(counted, kind="accept")
        corrected = world.judged("A-2-1", outcome="mismatch", recorded=4, count=3)
        world.looked(corrected, kind="correct", count=3)
        world.judged("A-3-1", outcome="uncertain", right=0.4, abc="A", value=99.0)
        world.judged("B-1-1", outcome="match", right=0.97)
        untouched = world.bin("B-2-1")
        world.record(untouched, {world.product("X", value=5.0, abc="C"): 7})
        world.bin("B-3-1")  # without a record
        for hours in range(3):
            world.movement(counted.bin_id, -1, at=MORNING + 5 * DAY + hours * HOUR)
        world.movement(counted.bin_id, 1, at=MORNING - DAY)  # before the count
    return world


@contextmanager
def _more(ledger: Ledger, world: World) -> Iterator[World]:
    """The world in a transaction of its own."""
    with ledger.write() as connection:
        world.connection = connection
        yield world


def test_the_facts_of_each_bin_are_read_as_of_the_day(ledger: Ledger, world: World) -> None:
    with ledger.read() as connection:
        bins, counts = read(connection, world.site, TODAY)
        early = read(connection, world.site, MORNING.date() - DAY)
    assert len(early.bins) == len(early.counts) == 0
    rows = {row["bin"]: row for row in bins.iter_rows(named=True)}
    assert sorted(rows) == ["A-1-1", "A-2-1", "A-3-1", "B-1-1", "B-2-1"], "a bin without a record can't be wrong"
    days = pytest.approx(20 + 15 / 24)  # from 9 o'clock on the first day to the end of the last
    assert [rows["A-1-1"][name] for name in ("units", "unit_value", "abc", "moves_since")] == [4, 20.0, "B", 3]
    assert (rows["A-1-1"]["days_since_count"], rows["A-1-1"]["days_since_photo"]) == (days, days)
    assert (rows["A-2-1"]["units"], rows["A-2-1"]["moves_since"]) == (3, 0), (
        "the correction is in force, and no movement"
    )
    assert (rows["A-3-1"]["right"], rows["A-3-1"]["days_since_count"]) == (0.4, None)
    assert rows["B-2-1"]["right"] is rows["B-2-1"]["days_since_photo"] is None
    assert counts.select("touches", "before_days").rows() == [(0, None)] * 2


def test_a_plan_says_which_bins_and_why_in_walking_order(ledger: Ledger, world: World, tmp_path: Path) -> None:
    report = _plan(ledger, out=tmp_path / "plan.csv")
    assert (report.site, report.currency, report.day, report.candidates) == ("STR1", "EUR", TODAY.isoformat(), 5)
    assert (report.counts.planned, report.counts.capacity) == (3, 3)
    worst = _one(report, "A-3-1")
    assert (worst.look, worst.abc, worst.aisle, worst.position) == ("count", "A", "A", 3.0)
    assert worst.wrong == pytest.approx(0.6, abs=0.02)
    assert worst.reasons[0].endswith("60% by the photo 20 days ago, 0 movements since")
    assert worst.reasons[1] == "an error here costs 148.50 EUR"
    assert "nobody has counted it yet" in " ".join(_one(report, "B-2-1").reasons)
    assert [each.step for each in report.bins if each.look == "count"] == [1, 2, 3]
    written = pl.read_csv(tmp_path / "plan.csv")
    assert written["bin"].to_list() == [each.bin for each in report.bins]
    assert set(written["day"]) == {TODAY.isoformat()}
    again = _plan(ledger, out=tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "plan.csv").read_bytes()
    assert again.bins == report.bins
    assert plan_counts(ledger=ledger, day=str(TODAY), out=tmp_path / "p.parquet").counts.planned == 5
    assert pl.read_parquet(tmp_path / "p.parquet").columns == written.columns


def test_movements_since_the_last_look_make_a_bin_more_urgent(ledger: Ledger, world: World) -> None:
    before = _one(_plan(ledger, counts=5), "B-1-1")
    with _more(ledger, world):
        for hours in range(8):
            world.movement(world.bin("B-1-1"), -1, at=MORNING + 3 * DAY + hours * HOUR)
    after = _one(_plan(ledger, counts=5), "B-1-1")
    assert after.wrong > before.wrong + 0.02
    assert after.reasons[0].endswith("8 movements since")


def test_versions_of_records_stand_for_movements_that_nobody_tells(ledger: Ledger, world: World) -> None:
    with _more(ledger, world):
        for night, quantity in enumerate([4, 5, 5, 3]):
            world.record(world.bin("B-1-1"), quantity, at=MORNING + (2 + night) * DAY)
    with ledger.read() as connection:
        bins, _ = read(connection, world.site, TODAY)
    assert bins.filter(bin="B-1-1")["moves_since"].item() == 2


def test_what_was_not_done_of_an_earlier_plan_stays(ledger: Ledger, world: World, tmp_path: Path) -> None:
    first = _plan(ledger, counts=2, photos=0, out=tmp_path / "plan.csv")
    with _more(ledger, world):
        case = world.judged("A-3-1", outcome="uncertain", at=MORNING + 20 * DAY)
        world.looked(case, kind="accept")
    report = _plan(ledger, counts=2, photos=0, previous=tmp_path / "plan.csv")
    assert _bins(first)["A-3-1"] == "count"
    assert "A-3-1" not in _bins(report), "it was counted on the day"
    assert (report.kept, set(_bins(first)) - set(_bins(report))) == (1, {"A-3-1"})


def test_rates_come_from_counts_and_costs_from_the_policy_in_force(ledger: Ledger, world: World) -> None:
    assert _one(_plan(ledger), "B-2-1").at_stake == pytest.approx(_one(_plan(ledger), "B-2-1").wrong * 50.0, abs=0.01)
    before = _plan(ledger).rates
    with _more(ledger, world):
        for code in (f"C-{at}" for at in range(30)):  # bins counted twice, and wrong the second time
            for kind, days in (("accept", 0), ("correct", 8)):
                case = world.judged(code, outcome="mismatch", at=MORNING + days * DAY)
                world.looked(case, kind=kind, count=3)
            world.movement(world.bin(code), -1, at=MORNING + 2 * DAY)
    after = _plan(ledger).rates
    assert (before.counts, after.counts) == (0, 30)
    assert after.touch > 10 * before.touch


def test_settings_stand_above_the_policy(ledger: Ledger, world: World, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("fill_counts = false\n[costs]\ncount = 1000.0\n")
    report = _plan(ledger, settings=path)
    assert [each.why for each in report.bins if each.look == "count"] == []
    path.write_text("overdue_shar = 1\n")
    with pytest.raises(ConfigError, match="overdue_share"):
        _plan(ledger, settings=path)


def test_a_layout_places_bins_and_says_which_it_lacks(ledger: Ledger, world: World, tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    path.write_text("bin,aisle,position,level\nA-1-1,2,1,1\nA-2-1,1,2,1\nA-3-1,1,1,1\nB-1-1,2,2,1\n")
    report = _plan(ledger, counts=5, photos=0, layout=path)
    assert [each.bin for each in report.bins] == ["A-3-1", "A-2-1", "B-1-1", "A-1-1", "B-2-1"]
    assert report.counts.unplaced == 1


def test_a_site_without_anything_gets_an_empty_plan(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_site(connection, code="NEW")
    report = _plan(ledger)
    assert (report.bins, report.candidates, report.counts.planned) == ((), 0, 0)


def test_sites_are_told_apart(ledger: Ledger, world: World) -> None:
    with ledger.write() as connection:
        World.new(connection, code="LEJ1").judged("Z-1", outcome="uncertain", right=0.1)
    with pytest.raises(UsageError, match="several sites"):
        _plan(ledger)
    assert list(_bins(_plan(ledger, site="LEJ1"))) == ["Z-1"]
    assert "Z-1" not in _bins(_plan(ledger, site="STR1"))


def test_what_makes_no_sense_is_refused(ledger: Ledger, world: World, tmp_path: Path) -> None:
    (tmp_path / "no.csv").write_text("bin,quantity\nA,1\n")
    (tmp_path / "days.csv").write_text("day,look,bin,why\n2026-01-01,count,A,worth\n2026-01-02,count,B,worth\n")
    for name, error, why in (
        ("no.csv", DataError, "is no plan: it lacks day"),
        ("days.csv", DataError, "no plan of one day"),
        ("gone.csv", UsageError, "can't be read"),
    ):
        with pytest.raises(error, match=why):
            _plan(ledger, previous=tmp_path / name)
    with pytest.raises(UsageError, match="xlsx is neither"):
        _plan(ledger, out=tmp_path / "plan.xlsx")
    with pytest.raises(ConfigError, match="day"):
        _plan(ledger, day="tomorrow")
    with pytest.raises(ConfigError, match="counts"):
        _plan(ledger, counts=-1)


def test_without_an_acceptance_file_a_person_looks_at_every_photo(ledger: Ledger, world: World) -> None:
    told = _one(_plan(ledger, counts=0, photos=5), "B-2-1")
    assert told.worth == pytest.approx(told.wrong * (50.0 - 1.0) - (1.0 - told.wrong) * 2.5 - 0.05, abs=0.02)


def test_what_a_photo_said_is_put_beside_the_past_of_a_bin_never_counted(ledger: Ledger, world: World) -> None:
    before = _one(_plan(ledger, counts=5), "B-1-1")
    with _more(ledger, world):
        for hours in range(20):  # before the photo: the verdict, made by the photo alone, knows nothing of them
            world.movement(world.bin("B-1-1"), -1, at=MORNING - DAY + hours * MINUTE)
    after = _one(_plan(ledger, counts=5), "B-1-1")
    assert after.wrong > before.wrong + 0.01
    assert after.reasons[0].endswith("0 movements since")


def test_a_plan_holds_no_formulas_that_a_spreadsheet_would_carry_out(ledger: Ledger, tmp_path: Path) -> None:
    code = '=HYPERLINK("http://evil.example")'
    with ledger.write() as connection:
        World.new(connection).judged(code)
    with pytest.raises(UsageError, match="formula"):
        _plan(ledger, out=tmp_path / "plan.csv")
    assert not (tmp_path / "plan.csv").exists()
    _plan(ledger, out=tmp_path / "plan.parquet")
    assert pl.read_parquet(tmp_path / "plan.parquet")["bin"].to_list() == [code]
