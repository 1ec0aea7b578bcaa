"""A drive as one plot (latency over time, and how it is spread) and as a page."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from bintally.pages import ACCENT, BAD, INK, SECOND, axes_row, render, svg
from bintally.simulation.robots.report import FleetReport, Latency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI: Final = 150
_SMALL: Final = 8  # points


def robots_page(report: FleetReport) -> str:
    """The page of `report`."""
    return render(
        "robots.html",
        report=report,
        plot=svg(figure_of(report)),
        rows=list(rows(report)),
        milliseconds=milliseconds,
        tries=sum(report.tries.values()),
    )


def robots_png(report: FleetReport) -> bytes:
    """The plot of `report`."""
    file = io.BytesIO()
    figure_of(report).savefig(file, format="png", dpi=_DPI, facecolor="white")
    return file.getvalue()


def figure_of(report: FleetReport) -> "Figure":
    """Latency by the second a photo was due in, and its histogram; both on a logarithmic scale."""
    figure, (over_time, spread) = axes_row(2, width_in=10.4, height_in=3.4)
    _over_time(over_time, report)
    _spread(spread, report)
    return figure


def _over_time(plot: "Axes", report: FleetReport) -> None:
    known = [each for each in report.course if each.p50_ms is not None]
    seconds = [each.second for each in known]
    plot.plot(seconds, [each.max_ms or 0 for each in known], ".", color=SECOND, markersize=4, label="slowest")
    plot.plot(seconds, [each.p50_ms or 0 for each in known], color=ACCENT, linewidth=1.6, label="median")
    missing = [each for each in report.course if each.counted < each.due]
    if missing:
        over = plot.get_xaxis_transform()
        plot.plot([each.second for each in missing], [0.02] * len(missing), "|", color=BAD, transform=over)
        plot.plot([], [], "|", color=BAD, label="not all counted")
    plot.set_yscale("log")
    plot.set_xlabel("second of the drive", fontsize=_SMALL)
    plot.set_ylabel("latency from the due moment, ms", fontsize=_SMALL)
    plot.legend(frameon=False, fontsize=_SMALL, labelcolor=INK)
    _plain(plot, "y")


def _spread(plot: "Axes", report: FleetReport) -> None:
    bars = report.histogram
    plot.bar(
        [bar.from_ms for bar in bars],
        [bar.photos for bar in bars],
        [bar.to_ms - bar.from_ms for bar in bars],
        align="edge",
        color=ACCENT,
        edgecolor="white",
        linewidth=0.5,
    )
    plot.set_xscale("log")
    over = plot.get_xaxis_transform()
    for name, value, height in (("p50", report.latency_ms.p50, 1.01), ("p99", report.latency_ms.p99, 1.07)):
        if value is not None:
            plot.axvline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            plot.text(value, height, f"{name} {milliseconds(value)}", transform=over, fontsize=_SMALL, ha="center")
    plot.set_xlabel("latency from the due moment, ms", fontsize=_SMALL)
    plot.set_ylabel("photos", fontsize=_SMALL)
    _plain(plot, "x")


def _plain(plot: "Axes", axis: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    scale = plot.yaxis if axis == "y" else plot.xaxis
    scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    scale.set_minor_formatter(NullFormatter())


def rows(report: FleetReport) -> Iterator[tuple[str, str]]:
    """The figures in words, for a table."""
    every = ", ".join(f"{number:,} by {door}" for door, number in sorted(report.doors.items()))
    yield "photos", f"{report.photos:,} of {report.robots:,} robots: {every}"
    yield "counted", f"{report.counted:,}{f', {report.degraded:,} of them degraded' if report.degraded else ''}"
    yield "refused", _refused(report)
    yield "lost", f"{report.lost:,}"
    yield "counted twice", f"{report.doubled:,}"
    yield "another's answer", f"{report.misfits:,}"
    yield "answers that came again", f"{report.repeated:,}"
    yield "tried again", _listed(report.tries) or "0"
    yield "not as usual", _listed({kind: number for kind, number in report.kinds.items() if kind != "usual"}) or "none"
    yield "verdicts", _listed(report.verdicts, share=True) or "none"
    yield "photos/s", f"{report.counted_per_s:,.1f} counted of {report.due_per_s:,.1f} due"
    yield "latency, ms", _spelled(report.latency_ms)
    if len(report.latency_ms_by_door) > 1:
        for door, latency in report.latency_ms_by_door.items():
            yield f"   by {door}", _spelled(latency)
    yield "generator", f"late by p99 {milliseconds(report.lag_ms.p99)}, {report.cpu:.0%} of a core"


def milliseconds(value: float | None) -> str:
    """A latency with its unit; None is one without end."""
    if value is None:
        return "no answer"
    return f"{value / 1000:,.2f} s" if value >= 1000 else f"{value:,.3g} ms"


def _spelled(latency: Latency) -> str:
    named = (("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("max", latency.max))
    return ", ".join(f"{name} {milliseconds(value)}" for name, value in named)


def _refused(report: FleetReport) -> str:
    if not report.refused:
        return "0"
    expected = f" ({report.expected_refusals:,} of them damaged on purpose)" if report.expected_refusals else ""
    return f"{_listed(report.refused)}{expected}"


def _listed(numbers: dict[str, int], *, share: bool = False) -> str:
    total = max(sum(numbers.values()), 1)
    return ", ".join(
        f"{name} {number:,}{f' ({number / total:.0%})' if share else ''}" for name, number in numbers.items()
    )
