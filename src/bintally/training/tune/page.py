"""`tune.html`: the leaderboard and its plots."""

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from bintally import pages
from bintally.artifacts import write_text
from bintally.training.recipe import Recipe
from bintally.training.tune.leaderboard import Leaderboard, TrialRow
from bintally.training.tune.settings import Parameter, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE: Final = "tune.html"
WORDS: Final = {
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "rmse": "RMSE",
    "forward_ms": "forward pass, ms",
}
FEW: Final = 30
"""Below so many complete trials, importance is a guess (PED-ANOVA compares the best tenth with all)."""


def write_page(board: Leaderboard, recipe: Recipe, out: Path) -> Path:
    """Writes `OUT/tune.html`."""
    complete = [row for row in board.rows if row.status == "complete"]
    html = pages.render(
        PAGE,
        recipe=recipe,
        board=board,
        words=WORDS,
        best=board.front[0] if board.front else None,
        complete=len(complete),
        few=FEW,
        history=_history(board),
        importance=_importance(board.importance) if board.importance else "",
        parallel=_parallel(complete, board, recipe.tune.space) if len(complete) > 1 else "",
        front=_front(complete, board) if len(board.aims) > 1 and complete else "",
    )
    write_text(out / PAGE, html)
    return out / PAGE


def _history(board: Leaderboard) -> Markup:
    from matplotlib.ticker import MaxNLocator

    name, way = next(iter(board.aims.items()))
    rows = sorted((row for row in board.rows if row.objective), key=lambda row: row.number)
    figure, plot = pages.axes(6.4, 3.0)
    for status, filled in (("complete", True), ("pruned", False)):
        points = [row for row in rows if row.status == status]
        if points:
            plot.scatter(
                [row.number for row in points],
                [row.objective[name] for row in points],
                s=26,
                label=status,
                facecolor=pages.ACCENT if filled else "none",
                edgecolor=pages.ACCENT if filled else pages.MUTED,
                zorder=3,
            )
    done = [row for row in rows if row.status == "complete"]
    if done:
        best = min if way == "minimize" else max
        steps = list(accumulate((row.objective[name] for row in done), best))
        plot.step([row.number for row in done], steps, where="post", color=pages.SECOND, lw=1.4, label="best so far")
    plot.set_xlabel("trial", fontsize=8)
    plot.set_ylabel(f"{WORDS[name]} on val", fontsize=8)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    if _is_wide([row.objective[name] for row in rows]):
        plot.set_yscale("log")
        plot.yaxis.set_major_formatter("{x:g}")
        plot.yaxis.set_minor_formatter("{x:g}")
        plot.tick_params(axis="y", which="minor", colors=pages.MUTED, labelsize=7, length=0)
    if rows:
        plot.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return pages.svg(figure)


def _is_wide(values: Sequence[float]) -> bool:
    """Whether a trial that went astray would press all others together."""
    return bool(values) and 0 < 3 * min(values) < max(values)


def _importance(shares: dict[str, float]) -> Markup:
    figure, plot = pages.axes(6.4, 0.7 + 0.36 * len(shares))
    names = list(shares)[::-1]
    bars = plot.barh(names, [shares[name] for name in names], color=pages.ACCENT, height=0.6)
    plot.bar_label(bars, fmt=lambda share: f"{share:.0%}", padding=3, fontsize=8, color=pages.INK)
    plot.set_xlim(0, 1.1 * max(shares.values()) or 1)
    plot.grid(visible=False)
    plot.tick_params(axis="y", colors=pages.INK)
    plot.xaxis.set_visible(False)
    plot.spines["bottom"].set_visible(False)
    return pages.svg(figure)


def _parallel(rows: Sequence[TrialRow], board: Leaderboard, space: dict[str, Parameter]) -> Markup:
    """A line a trial across one axis a parameter, with the aims last; the best are drawn last, and darkest."""
    from matplotlib import colormaps

    keys = list(rows[0].parameters)
    scales = [_Scale([row.parameters[key] for row in rows], space.get(key)) for key in keys]
    scales += [_Scale([row.objective[name] for row in rows], None) for name in board.aims]
    figure, plot = pages.axes(9.6, 3.4)
    colours = colormaps[pages.SEQUENTIAL]
    for place, row in reversed(list(enumerate(rows))):
        values = [*row.parameters.values(), *row.objective.values()]
        heights = [scale.height(value) for scale, value in zip(scales, values, strict=True)]
        colour = colours(0.95 - 0.75 * place / max(len(rows) - 1, 1))
        plot.plot(range(len(heights)), heights, color=colour, lw=2.2 if row.on_front else 1.2)
    for place, scale in enumerate(scales):
        _upright(plot, place, scale)
    plot.set_xticks(range(len(scales)), [*(_broken(key) for key in keys), *(WORDS[name] for name in board.aims)])
    plot.set_xlim(-0.15, len(scales) - 0.6)
    plot.set_ylim(-0.06, 1.06)
    plot.yaxis.set_visible(False)
    plot.spines[["left", "bottom"]].set_visible(False)
    plot.tick_params(axis="x", colors=pages.INK)
    return pages.svg(figure)


class _Scale:
    """One axis of the parallel coordinates: values to heights 0..1, and the labels that stand beside it."""

    def __init__(self, values: Sequence[Value], parameter: Parameter | None) -> None:
        self._choices = list(parameter.choices) if parameter and parameter.choices else None
        numbers = [] if self._choices else [float(value) for value in values]
        self._log = parameter.log if parameter else _is_wide(numbers)
        if parameter and parameter.low is not None and parameter.high is not None:
            numbers += [float(parameter.low), float(parameter.high)]
        self._low, self._high = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)

    def height(self, value: Value) -> float:
        if self._choices is not None:
            return (self._choices.index(value) + 0.5) / len(self._choices)
        low, high, at = (self._on(number) for number in (self._low, self._high, float(value)))
        return (at - low) / (high - low) if high > low else 0.5

    def labels(self) -> list[tuple[float, str]]:
        if self._choices is not None:
            return [(self.height(choice), str(choice)) for choice in self._choices]
        middle = math.sqrt(self._low * self._high) if self._log else (self._low + self._high) / 2
        return [(self.height(value), f"{value:.4g}") for value in (self._low, middle, self._high)]

    def _on(self, number: float) -> float:
        return math.log(number) if self._log else number


def _upright(plot: "Axes", place: int, scale: _Scale) -> None:
    plot.axvline(place, color=pages.MUTED, lw=1)
    for height, text in scale.labels():
        plot.annotate(
            text,
            (place, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=pages.INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
        )


def _broken(key: str) -> str:
    section, _, name = key.rpartition(".")
    return f"{section}.\n{name}" if section else name


def _front(rows: Sequence[TrialRow], board: Leaderboard) -> Markup:
    """Accuracy against latency; the line joins the trials that none beats in both."""
    up, across = board.aims
    figure, plot = pages.axes(6.4, 3.4)
    plot.scatter([row.objective[across] for row in rows], [row.objective[up] for row in rows], s=26, color=pages.MUTED)
    front = sorted(board.front, key=lambda row: row.objective[across])
    plot.plot(
        [row.objective[across] for row in front], [row.objective[up] for row in front],
        color=pages.ACCENT, marker="o", ms=6, drawstyle="steps-post", label="none is better in both",
    )  # fmt: skip
    for row in front:
        plot.annotate(
            f"{row.number}", (row.objective[across], row.objective[up]), xytext=(5, 5), textcoords="offset points",
            fontsize=8, color=pages.INK,
        )  # fmt: skip
    plot.set_xlabel(WORDS[across], fontsize=8)
    plot.set_ylabel(f"{WORDS[up]} on val", fontsize=8)
    plot.legend(frameon=False, fontsize=8, loc="lower right")
    return pages.svg(figure)
