"""The verb, its page and its command, on both databases."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from bintally.errors import ConfigError, UsageError
from bintally.inventory.kpi.report import CUTS, KpiReport
from bintally.inventory.kpi.run import kpi
from bintally.inventory.kpi.words import cautions, hours, percent, rows
from bintally.inventory.ledger import Ledger, add_site
from bintally.inventory.policy.settings import Costs, PolicySettings
from tests.conftest import run_here
from tests.inventory.worlds import HOUR, MORNING, World

UNTIL = MORNING + timedelta(days=20)
WEEK = timedelta(days=7)


def fill(ledger: Ledger, *, checks: bool = True) -> None:
    """Two weeks: 20 accepted (5 checked, one of them wrong), 3 mismatches, 2 uncertain of which one waits."""
    with ledger.write() as connection:
        world = World.new(connection, settings=PolicySettings(costs=Costs(count=3.0, recount=2.0, escape=50.0)))
        for n in range(20):
            at = MORNING + (WEEK if n >= 10 else 0 * WEEK)
            case = world.judged(f"B-{n}", outcome="match", recorded=3, count=3, abc="A", value=99.0, at=at)
            if checks and n < 5:
                world.looked(case, kind="correct" if n == 0 else "accept", count=2, propensity=0.25)
        for n, count in enumerate((2, 6, 3)):
            case = world.judged(f"A-{n}", recorded=4, count=count)
            world.looked(case, kind="correct", count=count, after=(n + 1) * HOUR)
        world.looked(world.judged("C-1", outcome="uncertain"))
        world.judged("C-2", outcome="uncertain", at=MORNING + WEEK)


def test_all_figures_of_a_small_world(ledger: Ledger) -> None:
    fill(ledger)
    report = kpi(ledger=ledger, by=CUTS, until=UNTIL)
    total = report.total
    assert (total.judged, total.accepted, total.mismatches, total.uncertain) == (25, 20, 3, 2)
    assert (total.counted, total.wrong, total.checked) == (9, 4, 5)
    assert total.coverage.value == 0.8
    assert total.ira_counted.value == pytest.approx(5 / 9)
    assert total.escape.value == pytest.approx(0.2)  # 1 of 5, as likely as each other
    assert total.ira.value == pytest.approx(1 - (4 + 3) / 25)
    assert total.escape_of_wrong.value == pytest.approx(4 / 7)
    assert total.false_alarms.value == pytest.approx(2 / 18)
    assert total.review_yield.value == pytest.approx(4 / 9)
    assert total.promised == pytest.approx(0.02)
    assert (total.variance.gross_units, total.variance.net_units) == (1 + 2 + 2 + 1, -1 - 2 + 2 - 1)
    assert total.variance.gross_money == pytest.approx(99.0 + 50.0)
    assert total.variance.net_money == pytest.approx(-99.0 - 10.0)
    assert (total.resolved.records, total.resolved.median_h) == (9, 1.0)
    assert total.resolved.p90_h == pytest.approx(2.2)
    assert total.value is not None
    assert total.value.avoided == 15
    assert total.value.escapes == pytest.approx(3)
    assert total.value.false_alarms == pytest.approx(2)
    assert total.value.money.value == pytest.approx(15 * 3.0 - 3 * 50.0 - 2 * 2.0)
    assert total.if_waiting is not None
    assert list(total.if_waiting) == pytest.approx([1 - 8 / 25, 1 - 7 / 25])
    assert [part.name for part in report.by["class"]] == ["A", "B"]
    assert [part.name for part in report.by["week"]] == ["2026-W10", "2026-W11"]
    assert [part.judged for part in report.by["week"]] == [14, 11]
    assert [part.name for part in report.by["site"]] == ["STR1"]
    assert {part.name: part.variance.gross_units for part in report.by["product"]} == {"A-99.0": 1, "B-10.0": 5}
    assert all(part.value is None for part in report.by["product"])
    assert [at.week for at in report.queue] == ["2026-W10", "2026-W11", "2026-W12"]


def test_without_blind_checks_escape_is_not_known_and_says_what_to_do(ledger: Ledger) -> None:
    fill(ledger, checks=False)
    total = kpi(ledger=ledger, until=UNTIL).total
    for figure in (total.escape, total.escape_of_wrong, total.ira, total.false_alarms):
        assert (figure.value, figure.low, figure.high) == (None, None, None)
        assert "recount_share" in figure.why
    assert total.value is not None
    assert (total.value.money.value, total.value.escapes) == (None, None)
    assert total.ira_counted.value is not None
    assert total.coverage.value == 0.8


def test_an_empty_site_is_told_as_such(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_site(connection, code="STR1")
    report = kpi(ledger=ledger, by=CUTS)
    assert report.total.judged == 0
    assert report.total.ira.why == "no record was judged"
    assert report.by["week"] == () == report.queue


def test_a_period_takes_the_verdicts_made_in_it(ledger: Ledger) -> None:
    fill(ledger)
    week = kpi(ledger=ledger, since=MORNING + WEEK, until=UNTIL).total
    assert (week.judged, week.accepted) == (11, 10)
    with pytest.raises(UsageError, match="ends before"):
        kpi(ledger=ledger, since=UNTIL, until=MORNING)


def test_costs_are_those_given_else_the_policys(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    file = tmp_path / "policy.toml"
    file.write_text("[costs]\ncount = 1.0\nrecount = 1.0\nescape = 10.0\n")
    value = kpi(ledger=ledger, until=UNTIL, policy=file, cost_escape=20.0).total.value
    assert value is not None
    assert (value.cost_per_count, value.cost_per_recount, value.cost_per_escape) == (1.0, 1.0, 20.0)
    with pytest.raises(ConfigError):
        kpi(ledger=ledger, until=UNTIL, cost_escape=-1.0)


def test_money_of_several_currencies_is_never_added_up(ledger: Ledger) -> None:
    fill(ledger)
    with ledger.write() as connection:
        add_site(connection, code="LON1", currency="GBP")
        world = World.new(connection, code="LON1")
        world.looked(world.judged("A-1", recorded=4, count=2), kind="correct", count=2)
    report = kpi(ledger=ledger, by=("site",), until=UNTIL)
    assert report.currency is None
    assert report.total.variance.gross_money is None
    assert report.total.value is None
    assert {part.name: part.variance.gross_money for part in report.by["site"]} == {"LON1": 20.0, "STR1": 149.0}
    assert any("several currencies" in sentence for sentence in cautions(report))
    assert kpi(ledger=ledger, site="LON1", until=UNTIL).currency == "GBP"


def test_the_page_and_the_json_tell_the_same_and_need_nothing_else(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    report = kpi(ledger=ledger, until=UNTIL, out=tmp_path / "kpi")
    told = json.loads((tmp_path / "kpi" / "kpi.json").read_text())
    assert told["total"]["ira"]["value"] == report.total.ira.value
    assert sorted(told["by"]) == sorted(CUTS)
    page = (tmp_path / "kpi" / "kpi.html").read_text()
    assert page.count("<svg") == 6
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    for row in rows(report.total, report.currency):
        assert row.title in page
        assert row.value in page
    assert sorted(path.name for path in (tmp_path / "kpi").iterdir()) == ["kpi.html", "kpi.json"]


def test_a_page_of_what_is_not_known_says_so(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, checks=False)
    kpi(ledger=ledger, until=UNTIL, out=tmp_path)
    page = (tmp_path / "kpi.html").read_text()
    assert "not known" in page
    assert "recount_share" in page


def test_the_same_seed_gives_the_same_report(ledger: Ledger) -> None:
    fill(ledger)
    first, again = (kpi(ledger=ledger, by=CUTS, until=UNTIL) for _ in range(2))
    assert first == again


def test_products_beyond_the_top_are_counted(ledger: Ledger) -> None:
    fill(ledger)
    report = kpi(ledger=ledger, by=("product",), until=UNTIL, top=1)
    assert [part.name for part in report.by["product"]] == ["A-99.0"]
    assert report.more_products == 1


def test_the_command_tells_a_table_json_and_files(place: str, tmp_path: Path) -> None:
    with Ledger.open(place, create=True) as ledger:
        fill(ledger)
    shown = run_here("kpi", "--ledger", place, "--by", "week,class", "--until", "2026-03-22")
    assert shown.returncode == 0
    assert "IRA of all records" in shown.stderr
    assert "2026-W11" in shown.stderr
    assert shown.stdout == ""
    told = run_here("kpi", "--ledger", place, "--json", "--until", "2026-03-22", "--out", str(tmp_path))
    report = json.loads(told.stdout)
    assert report["total"]["judged"] == 25
    assert Path(report["page"]).is_file()


def test_mistakes_of_the_command_are_sentences(place: str) -> None:
    with Ledger.open(place, create=True) as ledger:
        fill(ledger)
    for asked, said in (
        (("--by", "weak"), "Did you mean 'week'?"),
        (("--since", "yesterday"), "no moment"),
        (("--site", "STR2"), "STR1"),
    ):
        done = run_here("kpi", "--ledger", place, *asked)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_words() -> None:
    assert [percent(share) for share in (0.9712, 0.0043, 0.0, 1.0, None)] == [
        "97.1%",
        "0.43%",
        "0.0%",
        "100.0%",
        "not known",
    ]
    assert [hours(each) for each in (0.4, 30.0, 60.0, None)] == ["24 min", "30.0 h", "2.5 days", "-"]


def test_no_report_ranks_people() -> None:
    assert not any("person" in name or "reviewer" in name for name in KpiReport.__struct_fields__)
