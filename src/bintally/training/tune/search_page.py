"""The page of a search: leaderboard, accuracy against latency, and who used the time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from bintally.bundle import Figure
from bintally.pages import ACCENT, GOOD, INK, MUTED, SECOND, axes, render, svg
from bintally.training.tune.search_state import Spent

if TYPE_CHECKING:
    from bintally.training.tune.search_leaderboard import LeaderRow
    from bintally.training.tune.search_report import SearchReport

_LABELLED: Final = 24
_WIDTH_IN: Final = 11.0


def search_page(report: "SearchReport") -> str:
    """The page of `report`, self-contained."""
    return render(
        "search.html",
        report=report,
        rows=report.rows,
        tried=sum(row.trial is not None for row in report.rows),
        pareto=_pareto_plot(report.rows, report.blind["accuracy"]),
        timeline=_timeline(report.spent, 60 * report.minutes),
        percent=lambda figure: f"{figure.value:.1%}",
        interval=_interval,
    )


def _interval(figure: Figure, *, share: bool = False) -> str:
    return f"{figure.low:.1%} to {figure.high:.1%}" if share else f"{figure.low:.3f} to {figure.high:.3f}"


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (latency, accuracy) points that no other one beats in one without losing in the other."""
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    front, best = [], float("-inf")
    for place in order:
        if points[place][1] > best:
            front.append(place)
            best = points[place][1]
    return front


def _pareto_plot(rows: Sequence["LeaderRow"], blind_accuracy: float) -> Markup:
    shown = [
        (row, row.latency_ms, row.accuracy) for row in rows if row.latency_ms is not None and row.accuracy is not None
    ]
    figure, plot = axes(_WIDTH_IN, 3.6)
    for row, latency_ms, accuracy in shown:
        colour = GOOD if row.status == "winner" else ACCENT if row.latency_by == "onnx" else SECOND
        plot.errorbar(
            [latency_ms],
            [accuracy.value],
            yerr=[[accuracy.value - accuracy.low], [accuracy.high - accuracy.value]],
            fmt="s" if row.latency_by == "onnx" else "o",
            ms=5,
            lw=0.8,
            color=colour,
        )
    for row, latency_ms, accuracy in shown[:_LABELLED]:
        label = row.name if row.trial is None else f"{row.trial:02d}"
        plot.annotate(
            label, (latency_ms, accuracy.value), xytext=(6, 3), textcoords="offset points", fontsize=7, color=INK
        )
    points = [(latency_ms, accuracy.value) for _, latency_ms, accuracy in shown]
    front = [points[place] for place in pareto(points)]
    plot.plot([x for x, _ in front], [y for _, y in front], color=MUTED, lw=1, ls=":")
    plot.axhline(blind_accuracy, color=MUTED, lw=1, ls="--")
    plot.set_xlabel("ms a photo, one thread (square: as served; dot: torch, one view)", fontsize=8)
    plot.set_ylabel("accuracy on val", fontsize=8)
    return svg(figure)


def _timeline(spent: Sequence[Spent], budget_s: float) -> Markup:
    figure, plot = axes(_WIDTH_IN, 0.6 + 0.24 * max(len(spent), 1))
    for place, part in enumerate(spent):
        colour = SECOND if part.trial is None else ACCENT
        plot.barh(place, max(part.end_s - part.start_s, 1e-3) / 60, left=part.start_s / 60, color=colour, height=0.7)
    names = [part.what if part.trial is None else f"{part.trial:02d} {part.what}" for part in spent]
    plot.set_yticks(range(len(spent)), names, fontsize=7)
    plot.invert_yaxis()
    plot.axvline(budget_s / 60, color=MUTED, lw=1, ls="--")
    plot.set_xlabel("minutes (dashed: the budget)", fontsize=8)
    return svg(figure)
