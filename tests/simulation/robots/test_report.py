"""The figures of a drive."""

from typing import Any

from bintally.simulation.robots.book import COUNTED, Answer, Book, Entry
from bintally.simulation.robots.fleet import Drive
from bintally.simulation.robots.page import figure_of, robots_page, robots_png, rows
from bintally.simulation.robots.report import FleetReport, Latency, report_of
from bintally.simulation.robots.settings import FleetSettings


def entry(due: float, took: float | None, *, code: str = COUNTED, **more: Any) -> Entry:
    answer = None if took is None else Answer(code, request_id="r", count=3, verdict="match", hint="why")
    answered = None if took is None else due + took
    return Entry(**{"door": "http", "kind": "usual", "due": due, "bin_id": None, "sent": due, "answered": answered,
                    "answer": answer, **more})  # fmt: skip


def report(*entries: Entry, **values: Any) -> FleetReport:
    book = Book()
    book.entries = {str(place): each for place, each in enumerate(entries)}
    settings = FleetSettings.of({"seconds": 10, "robots": 3, **values})
    return report_of(Drive(book=book, start=0.0, wall_s=10.0, cpu_s=1.0), settings)


def test_percentiles_are_latencies_that_occurred_and_a_lost_photo_is_the_slowest() -> None:
    latency = Latency.of([each / 1000 for each in range(1, 101)])
    assert (latency.p50, latency.p90, latency.p99, latency.max) == (51, 91, 100, 100)
    assert Latency.of([*[0.01] * 98, float("inf"), float("inf")]).p99 is None
    assert Latency.of([]).photos == 0


def test_the_warm_up_is_checked_but_not_measured() -> None:
    told = report(entry(0.5, 9.0), entry(5.0, 0.1), entry(6.0, 0.2), warm_up_s=2)
    assert told.photos == told.counted == 3
    assert told.latency_ms.photos == 2
    assert told.latency_ms.max == 200
    assert told.counted_per_s == 2 / 8


def test_what_was_broken_on_purpose_is_no_latency() -> None:
    damaged = entry(1, 0.1, code="bad_photo", kind="damaged")
    told = report(damaged, entry(2, 3.0, kind="dropout"), entry(3, 0.1))
    assert told.latency_ms.photos == 1
    assert told.expected_refusals == 1
    assert told.unexpected_refusals == 0
    assert told.is_exact


def test_a_refusal_that_nobody_asked_for_is_one_without_an_end() -> None:
    told = report(entry(1, 0.1, code="unknown_bin"), entry(3, 0.1))
    assert told.unexpected_refusals == 1
    assert told.latency_ms.max is None
    assert told.hints == {"unknown_bin": "why"}
    assert told.is_exact


def test_a_lost_photo_is_named() -> None:
    told = report(entry(1, None), entry(3, 0.1))
    assert told.lost == 1
    assert not told.is_exact
    assert told.examples == ("0",)


def test_a_generator_that_is_late_says_so() -> None:
    assert "generator" in " ".join(report(entry(1, 0.5, sent=1.4)).cautions)
    assert "generator" not in " ".join(report(entry(1, 0.5)).cautions)


def test_settings_hold_no_password() -> None:
    told = report(entry(1, 0.1), mqtt="mqtt://robot:hunter2@broker.example")
    assert "hunter2" not in str(told)


def test_the_page_and_the_plot_show_the_figures() -> None:
    told = report(*(entry(each / 10, 0.01 + each / 200) for each in range(100)), entry(5, None))
    page = robots_page(told)
    assert "1 lost" in page
    assert "<svg" in page
    assert dict(rows(told))["lost"] == "1"
    assert robots_png(told).startswith(b"\x89PNG")
    assert sum(bar.photos for bar in told.histogram) == 100
    assert len(figure_of(report(entry(1, None))).axes) == 2  # nothing was counted at all
