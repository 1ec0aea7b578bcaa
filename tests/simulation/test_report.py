"""Figures over seeds: means, intervals, paired differences; and their words."""

import math
import re

import msgspec
import pytest

from bintally.simulation.likeness import Likeness
from bintally.simulation.page import simulation_page
from bintally.simulation.plot import hero_png
from bintally.simulation.report import Figure, SimulationReport, mean, report_of
from bintally.simulation.settings import ArmName, SimulationSettings
from bintally.simulation.tally import ArmResult, Corrections, Days
from bintally.simulation.words import difference, interval, is_clear, losses, told

DAYS = 35
LIKE = Likeness(0.5, 0.4, 0.5, 0.3, 621, 80)


def result(arm: ArmName, seed: int, *, right: float, counts: int, wrong_days: int = 10, escaped: int = 1) -> ArmResult:
    days = Days(
        right_bins=[right + 0.01 * seed] * DAYS,
        gross_units=[4] * DAYS,
        gross_money=[80.0] * DAYS,
        counts=[counts] * DAYS,
        photos=[20] * DAYS,
        short_picks=[1] + [0] * (DAYS - 1),
        missed_orders=[0] * DAYS,
        accepted=[10] * DAYS,
        escaped=[escaped] + [0] * (DAYS - 1),
    )
    cost = {"counts": 2.5 * counts * DAYS, "photos": 14.0, "short picks": 15.0, "missed orders": 0.0}
    return ArmResult(
        arm=arm,
        seed=seed,
        days=days,
        corrections=Corrections(found=20, false=1),
        errors=10,
        error_days=wrong_days,
        cost={**cost, "wrong records": 0.5 * wrong_days},
        truth={"start": 100, "came": 50, "went": 45, "lost": 1, "end": 104},
        told={"photos, pair": 600, "photos, alone": 100, "postings, posted": 20} if arm == "bintally" else {},
    )


@pytest.fixture
def report() -> SimulationReport:
    settings = SimulationSettings(days=DAYS, bins=50, seeds=3, arms=("bintally", "hand", "nothing"))
    shown: tuple[tuple[ArmName, float, int, int], ...] = (
        ("hand", 0.9, 5, 60),
        ("bintally", 0.95, 3, 30),
        ("nothing", 0.6, 0, 900),
    )
    results = [
        result(arm, seed, right=right, counts=counts, wrong_days=wrong)
        for seed in (2, 0, 1)
        for arm, right, counts, wrong in shown
    ]
    return report_of(results, settings, model="m", licence="CC", bank="b", likeness=LIKE, made_from="0" * 64)


def test_intervals_are_students_over_seeds() -> None:
    found = mean([1.0, 2.0, 3.0, None])
    half = 4.302653 / math.sqrt(3)
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == pytest.approx((2.0 - half, 2.0 + half))
    assert mean([4.0]) == Figure(4.0)
    assert mean([None]) == Figure(None)


def test_arms_stand_in_the_order_of_the_settings_whatever_order_results_come_in(report: SimulationReport) -> None:
    assert [arm.arm for arm in report.arms] == ["bintally", "hand", "nothing"]
    assert report.seeds == (0, 1, 2)
    ours = report.arms[0]
    assert ours.figures["right_bins"].value == pytest.approx(0.96)
    assert ours.figures["counts"].value == 3 * DAYS
    assert ours.figures["days_an_error_lives"].value == 3.0
    assert ours.figures["escape"].value == pytest.approx(1 / 350)
    assert len(ours.right_by_week) == 5


def test_differences_are_of_the_same_site(report: SimulationReport) -> None:
    """Seeds differ by more than arms do: only paired are arms told apart."""
    [hand, _] = report.versus
    found = hand.figures["right_bins"]
    assert found.value == pytest.approx(0.05)
    assert found.low == pytest.approx(0.05)
    assert is_clear(found)
    assert not is_clear(hand.figures["short_picks"])


def test_figures_in_words() -> None:
    assert told(Figure(0.9712), "share") == "97.1%"
    assert told(Figure(None), "share") == "-"
    assert interval(Figure(1234.0, 1000.4, 1500.0), "money") == "1,000 to 1,500"
    assert difference(Figure(-0.0312), "share") == "-3.1 points"
    assert interval(Figure(1.0), "number") == ""


def test_what_bintally_loses_is_said(report: SimulationReport) -> None:
    said = list(losses(report))
    assert not any(sentence.startswith(("Worse", "Not clearly")) for sentence in said)
    assert said[0] == "At 0.00 USD a day for a wrong record, beside short picks, the cheapest is: nothing."
    assert any("counts items, not products" in sentence for sentence in said)
    worse = msgspec.structs.replace(report.versus[0], figures={**report.versus[0].figures, "cost": Figure(9, 8, 10)})
    said = list(losses(msgspec.structs.replace(report, versus=(worse,))))
    assert "Worse than counts by hand: cost in all, +9.0." in said


def test_the_page_needs_no_other_file_and_says_what_is_assumed(report: SimulationReport) -> None:
    page = simulation_page(report)
    assert (
        "<h1>With bintally 96.0% of bins have a right record, 91.0% where the same people count by hand, 61.0%" in page
    )
    assert "All prices are assumptions" in page
    assert "DeHoratius" in page
    assert "<td>errors.pick_bin</td>" in page
    assert "14.3% had no real pair of these counts" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_dearer_wrong_records_cost_those_most_who_leave_them(report: SimulationReport) -> None:
    page = simulation_page(report)
    row = page[page.index("<td>2.00") : page.index("</tr>", page.index("<td>2.00"))]
    assert "<b>352</b>" in row  # bintally: 262.5 + 14 + 15 + 30 x 2
    assert "1,829" in row  # nothing: 14 + 15 + 900 x 2


def test_one_site_has_no_intervals(report: SimulationReport) -> None:
    settings = SimulationSettings(days=DAYS, bins=50, seeds=1, arms=("bintally", "nothing"))
    alone = [result("bintally", 0, right=0.9, counts=1), result("nothing", 0, right=0.6, counts=0)]
    told = report_of(alone, settings, model="m", licence="CC", bank="b", likeness=LIKE, made_from="0" * 64)
    assert "95% of the mean}" not in simulation_page(told)
    assert hero_png(told).startswith(b"\x89PNG")
    assert hero_png(report).startswith(b"\x89PNG")
