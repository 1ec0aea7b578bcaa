"""The pictures of a simulation: records that are right over the weeks, what it costs, and what counting finds."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from bintally.pages import ACCENT, GOOD, INK, MUTED, SECOND, axes, axes_row, svg
from bintally.simulation.report import ArmFigures, Figure, SimulationReport
from bintally.simulation.words import ARM_WORDS, money

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

COLOURS: Final = {"bintally": ACCENT, "single": SECOND, "hand": GOOD, "calendar": "#8d6e97", "nothing": MUTED}
COST_COLOURS: Final = {
    "counts": "#2f6f8f", "photos": "#9fc3d3", "short picks": "#c53030", "missed orders": "#e08e79",
    "wrong records": "#f0cfae",
}  # fmt: skip

_DPI: Final = 160
_LINE: Final = {"bintally": 2.6}
_APART: Final = 0.034  # of the axis: nearer than this, two labels would lie on each other


def right_plot(report: SimulationReport) -> Markup:
    """The share of bins with a right record over the weeks."""
    figure, plot = axes(10.6, 4.0)
    _right(plot, report)
    return svg(figure)


def cost_plot(report: SimulationReport) -> Markup:
    """What each arm cost, by what it was spent on."""
    figure, plot = axes(5.2, 3.1)
    _cost(plot, report)
    return svg(figure)


def effort_plot(report: SimulationReport) -> Markup:
    """Counts by people against records that are right."""
    figure, plot = axes(5.2, 3.1)
    for arm in report.arms:
        counts, right = arm.figures["counts"], arm.figures["right_bins_at_end"]
        colour = COLOURS[arm.arm]
        _cross(plot, counts, right, colour)
        plot.annotate(
            ARM_WORDS[arm.arm], (counts.value or 0.0, right.value or 0.0), (7, 5), textcoords="offset points",
            color=colour, fontsize=8,
        )  # fmt: skip
    plot.margins(x=0.22, y=0.14)
    plot.set_xlim(left=-0.04 * plot.get_xlim()[1])
    plot.set_xlabel("counts by people", fontsize=8)
    plot.yaxis.set_major_formatter(_share)
    return svg(figure)


def hero_png(report: SimulationReport) -> bytes:
    """Both in one picture, for a slide: what is right over the weeks, and what it costs."""
    figure, (left, right) = axes_row(2, width_in=11.5, height_in=4.2)
    left.set_title("Bins whose record is right", loc="left", fontsize=11, color=INK, fontweight="bold")
    right.set_title(_cost_title(report), loc="left", fontsize=11, color=INK, fontweight="bold")
    _right(left, report)
    _cost(right, report)
    return _png(figure)


def _right(plot: "Axes", report: SimulationReport) -> None:
    from matplotlib.ticker import MaxNLocator

    for arm in reversed(report.arms):
        weeks = list(range(1, len(arm.right_by_week) + 1))
        low, value, high = _ends(arm.right_by_week)
        colour = COLOURS[arm.arm]
        plot.fill_between(weeks, low, high, color=colour, alpha=0.13, linewidth=0)
        plot.plot(weeks, value, color=colour, linewidth=_LINE.get(arm.arm, 1.8), solid_capstyle="round")
    plot.set_xlim(1, max(len(report.arms[0].right_by_week), 2))
    plot.set_ylim(top=1.0)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.set_xlabel("week", fontsize=8)
    plot.yaxis.set_major_formatter(_share)
    _label_ends(plot, report.arms)


def _label_ends(plot: "Axes", arms: Sequence[ArmFigures]) -> None:
    """Each line's name at its end, pushed apart where they would lie on each other."""
    low, high = plot.get_ylim()
    ends = sorted(((arm.right_by_week[-1].value or 0.0, arm.arm) for arm in arms), reverse=True)
    last = high + 1.0
    for value, name in ends:
        last = min(value, last - _APART * (high - low) * 1.6)
        plot.annotate(
            ARM_WORDS[name], (1.01, (last - low) / (high - low)), xycoords="axes fraction", va="center",
            color=COLOURS[name], fontsize=9, fontweight="bold" if name == "bintally" else "normal",
        )  # fmt: skip


def _cost(plot: "Axes", report: SimulationReport) -> None:
    names = [ARM_WORDS[arm.arm] for arm in reversed(report.arms)]
    left = [0.0] * len(names)
    for part, colour in COST_COLOURS.items():
        many = [arm.cost[part].value or 0.0 for arm in reversed(report.arms)]
        plot.barh(names, many, left=left, color=colour, height=0.62, label=part)
        left = [before + more for before, more in zip(left, many, strict=True)]
    for place, (arm, total) in enumerate(zip(reversed(report.arms), left, strict=True)):
        told = arm.figures["cost"]
        if told.low is not None and told.high is not None:
            plot.hlines(place, told.low, told.high, color=INK, linewidth=1.0)
        plot.text(
            max(total, told.high or 0.0), place, f"  {money(total)}", va="center", fontsize=8, color=INK,
            fontweight="bold" if arm.arm == "bintally" else "normal",
        )  # fmt: skip
    plot.grid(visible=False, axis="y")
    ends = [max(total, arm.figures["cost"].high or 0.0) for arm, total in zip(reversed(report.arms), left, strict=True)]
    plot.set_xlim(0, 1.18 * max(*ends, 1.0))
    plot.xaxis.set_major_formatter(lambda amount, _: f"{amount:,.0f}")
    plot.legend(frameon=False, fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.45, -0.1))


def _cost_title(report: SimulationReport) -> str:
    settings = report.settings
    return f"Cost of {settings['days']} days, {settings['bins']} bins, {settings['money']['currency']}"


def _cross(plot: "Axes", across: Figure, up: Figure, colour: str) -> None:
    if across.value is None or up.value is None:
        return
    plot.plot([across.value], [up.value], "o", color=colour, markersize=6)
    if None not in (across.low, across.high, up.low, up.high):
        plot.hlines(up.value, across.low, across.high, color=colour, linewidth=1.2, alpha=0.6)  # type: ignore[arg-type]
        plot.vlines(across.value, up.low, up.high, color=colour, linewidth=1.2, alpha=0.6)  # type: ignore[arg-type]


def _ends(weeks: Sequence[Figure]) -> tuple[list[float], list[float], list[float]]:
    nan = float("nan")
    low, value, high = (
        [nan if one is None else min(one, 1.0) for one in ends]
        for ends in zip(*((each.low, each.value, each.high) for each in weeks), strict=True)
    )
    return low, value, high


def _share(share: float, _: float) -> str:
    return f"{100 * share:.3g}%"


def _png(figure: "Drawing") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
