"""A check of a policy as one self-contained page."""

from collections.abc import Iterable
from typing import Final

from markupsafe import Markup

from bintally.bundle import Figure
from bintally.counting.evaluation_page import interval, percent
from bintally.inventory.policy.report import AtPromise, Fixed, KindReport, PolicyReport
from bintally.pages import ACCENT, BAD, MUTED, SECOND, axes_row, render, svg

WORDS: Final = {
    "photo": "One photo",
    "change": "A photo beside an earlier one whose count was confirmed",
    "followed": "Up to three photos from a confirmed count on",
}
ALONE: Final = ", and the photos' word alone"
"""Where the bin was counted before, its history is the rate of wrong records."""

_SHOWN: Final = (0.02, 0.05, 0.10)  # shares of wrong records that are plotted


def policy_page(report: PolicyReport) -> str:
    """The page of `report`."""
    return render(
        "policy.html",
        report=report,
        words=WORDS,
        alone=ALONE,
        plots={(kind.kind, kind.derived): _plot(kind) for kind in report.kinds},
        percent=percent,
        interval=interval,
        by_promise=by_promise,
        by_threshold=by_threshold,
        worst_site=lambda kind: max(
            (each.sites.beyond_chance or 0.0 for each in kind.promises if each.sites), default=0.0
        ),
        worst_half=lambda kind: max((each.halves.above for each in kind.promises if each.halves), default=0.0),
    )


def by_promise(kind: KindReport) -> dict[float, list[AtPromise]]:
    """A row for each promise, a cell for each share of wrong records."""
    return {
        promised: [each for each in kind.promises if each.promised == promised]
        for promised in dict.fromkeys(each.promised for each in kind.promises)
    }


def by_threshold(kind: KindReport) -> dict[float, list[Fixed]]:
    """A row for each fixed threshold, a cell for each share of wrong records."""
    return {
        least: [each for each in kind.fixed if each.least == least]
        for least in dict.fromkeys(each.least for each in kind.fixed)
    }


def _plot(kind: KindReport) -> Markup:
    """Escape against coverage, of the policy, of fixed thresholds and of accepting everything."""
    figure, plots = axes_row(len(_SHOWN), width_in=11.0, height_in=3.4)
    for plot, wrong in zip(plots, _SHOWN, strict=True):
        fixed = [each for each in kind.fixed if each.wrong == wrong and each.escape is not None]
        for place, names in _places((each.coverage, each.escape, f"{each.least:.2f}") for each in fixed).items():
            plot.plot(*place, "s", color=SECOND, markersize=4)
            plot.annotate(names[-1], place, fontsize=7, color=MUTED, xytext=(5, -2), textcoords="offset points")
        plot.plot([1.0], [wrong], "D", color=BAD, markersize=5)
        kept = [each for each in kind.promises if each.wrong == wrong and each.escape is not None]
        for each in kept:
            assert each.escape is not None  # noqa: S101 - those without were left out
            plot.plot([each.coverage.value] * 2, [each.escape.low, each.escape.high], color=ACCENT, linewidth=1.5)
        for place, names in _places((each.coverage, each.escape, f"{each.promised:.0%}") for each in kept).items():
            plot.plot(*place, "o", color=ACCENT, markersize=6)
            plot.annotate(" ".join(names), place, fontsize=8, xytext=(6, -3), textcoords="offset points")
        plot.set_title(f"{wrong:.0%} of records wrong", fontsize=9)
        plot.set_xlabel("records accepted", fontsize=8)
        plot.set_xlim(0, 1.05)
        plot.set_ylim(0, 1.1 * max([wrong, *(each.escape.high for each in kept if each.escape)]))
        plot.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
        plot.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.1f}%")
    plots[0].set_ylabel("wrong among the accepted", fontsize=8)
    return svg(figure)


def _places(points: Iterable[tuple[Figure, Figure | None, str]]) -> dict[tuple[float, float], list[str]]:
    """What stands at each place of a plot, so that names are not written over each other."""
    found: dict[tuple[float, float], list[str]] = {}
    for coverage, escape, name in points:
        if escape is not None:
            found.setdefault((round(coverage.value, 2), round(escape.value, 3)), []).append(name)
    return found
