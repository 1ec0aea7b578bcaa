"""Plots of a run's page. Long curves are thinned so that what stands out stays and the page stays small."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bintally.pages import ACCENT, BAD, GOOD, GRID, INK, MUTED, SECOND, axes, axes_row, svg
from bintally.training.run_findings import RuleFindings
from bintally.training.run_log import PHASES, StepRow, SystemRow
from bintally.training.thinning import extremes, means, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PHASE_COLOURS: Final = {
    "data": "#c9503f",
    "transfer": "#e2a08f",
    "forward": "#d9822b",
    "backward": "#eab676",
    "optimizer": "#2f6f8f",
    "logging": "#8fb8c9",
    "validation": "#7d9b76",
    "other": "#aeb6bf",
}
_POINTS: Final = 900
_BARS: Final = 180
_WIDTH_IN: Final = 11.0
_LONG: Final = 1.3  # of the median: a step that is shown by itself
_GAP_S: Final = 60.0  # a longer silence is a pause between two sessions, and is drawn as so much


def epochs_plot(rows: Sequence[Mapping[str, float]], best_epoch: int | None, blind: float | None) -> Markup | None:
    """Losses, accuracy and RMSE by epoch; the kept one and the blind answer marked."""
    if not rows:
        return None
    from matplotlib.ticker import MaxNLocator

    figure, (losses, accuracy, rmse) = axes_row(3, width_in=_WIDTH_IN, height_in=2.7)
    epochs = [row["epoch"] for row in rows]
    for plot, name, colour, label in (
        (losses, "train_loss", SECOND, "train loss"),
        (losses, "log_loss", ACCENT, "log loss on val"),
        (accuracy, "accuracy", ACCENT, "exactly right on val"),
        (rmse, "rmse", ACCENT, "RMSE on val"),
    ):
        plot.plot(epochs, [row[name] for row in rows], color=colour, marker="o", markersize=3, label=label)
    if blind is not None:
        accuracy.axhline(blind, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="blind: the commonest count")
    accuracy.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    for plot in (losses, accuracy, rmse):
        if best_epoch is not None:
            plot.axvline(best_epoch, color=GOOD, linewidth=1.2, alpha=0.7)
        plot.set_xlabel("epoch" if best_epoch is None else "epoch (green: kept)", fontsize=8)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
        plot.margins(y=0.18)
        plot.legend(frameon=False, fontsize=8)
    return svg(figure)


def steps_plot(steps: Sequence[StepRow], findings: Sequence[RuleFindings]) -> Markup | None:
    """Each step's loss, raw and smoothed, with epochs and findings marked; and the learning rate."""
    if not steps:
        return None
    numbers, loss = _column(steps, "step"), _column(steps, "loss")
    figure, plot = axes(_WIDTH_IN, 2.7)
    shown = extremes(loss, _POINTS)
    plot.plot(numbers[shown], loss[shown], color=SECOND, linewidth=0.7, alpha=0.4, label="loss of a step")
    span = max(len(steps) // 50, 5)
    smooth = smoothed(loss, span)
    evenly = np.unique(np.linspace(0, len(steps) - 1, min(_POINTS // 2, len(steps))).astype(np.intp))
    plot.plot(numbers[evenly], smooth[evenly], color=INK, linewidth=1.7, label=f"mean of {span}")
    plot.set_xlim(numbers[0], max(numbers[-1], numbers[0] + 1))
    _epoch_lines(plot, steps)
    _finding_marks(plot, findings)
    low, high = _range(loss)
    plot.set_ylim(low, high)
    plot.legend(frameon=False, fontsize=8, loc="upper right", ncols=3)
    plot.set_xlabel("step (thin lines: epochs)", fontsize=8)
    return svg(figure)


def rate_plot(steps: Sequence[StepRow]) -> Markup | None:
    """The learning rate of the first group of weights."""
    if not steps:
        return None
    numbers, rate = _column(steps, "step"), _column(steps, "rate")
    figure, plot = axes(_WIDTH_IN, 1.3)
    shown = extremes(rate, _POINTS // 2)
    plot.plot(numbers[shown], rate[shown], color=ACCENT, linewidth=1.4)
    plot.set_xlim(numbers[0], max(numbers[-1], numbers[0] + 1))
    plot.set_ylim(bottom=0)
    plot.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    plot.yaxis.get_offset_text().set_fontsize(8)
    return svg(figure)


def timeline_plot(steps: Sequence[StepRow]) -> Markup | None:
    """Milliseconds of a step by phase, mean of stretches of steps; steps that took far longer as thin lines."""
    if len(steps) < 2:
        return None
    figure, plot = axes(_WIDTH_IN, 2.4)
    layers = [_phase(steps, phase) for phase in PHASES if phase != "validation"]
    at = means(_column(steps, "step"), _BARS)[1]
    heights = np.array([means(layer, _BARS)[1] for layer in layers])
    names = [phase for phase in PHASES if phase != "validation"]
    plot.stackplot(at, 1000 * heights, colors=[PHASE_COLOURS[name] for name in names], linewidth=0)
    whole = 1000 * np.array([row.duration_s for row in steps])
    typical, numbers = float(np.median(whole)), _column(steps, "step")
    long = np.array([place for place in extremes(whole, _POINTS) if whole[place] > _LONG * typical], np.intp)
    plot.vlines(numbers[long], typical, whole[long], color=INK, linewidth=0.8, alpha=0.6)
    plot.set_ylim(0, float(min(whole.max(), 6 * typical)) * 1.05 or 1.0)
    plot.set_xlim(at[0], at[-1])
    plot.set_ylabel("ms a step", fontsize=8)
    plot.set_xlabel("step (thin lines: single long steps, cut above 6 typical ones)", fontsize=8)
    return svg(figure)


def system_plot(rows: Sequence[SystemRow]) -> Markup | None:
    """How busy and how full the machine was, in percent, over minutes of training."""
    if not rows:
        return None
    minutes = _minutes(rows)
    gpus = len(rows[0].gpu_percent)
    figure, plots = axes_row(2, width_in=_WIDTH_IN, height_in=2.5)
    busy, full = plots
    _line(busy, minutes, [row.cpu_percent for row in rows], MUTED, "processor, all of it")
    _line(busy, minutes, [row.process_percent for row in rows], ACCENT, "this training")
    if any(row.io_percent is not None for row in rows):
        _line(busy, minutes, [_or_nan(row.io_percent) for row in rows], BAD, "waiting for the disk")
    _line(full, minutes, [row.memory_percent for row in rows], MUTED, "memory, all of it")
    for index in range(gpus):
        colour = (GOOD, SECOND, "#7b5ea7", "#b5651d")[index % 4]
        _line(busy, minutes, [_of(row.gpu_percent, index) for row in rows], colour, f"GPU {index}")
        _line(full, minutes, [_of(row.gpu_memory_percent, index) for row in rows], colour, f"GPU {index} memory")
    for plot, title in ((busy, "Busy"), (full, "Full")):
        plot.set_ylim(0, 103)
        plot.set_xlim(0, max(float(minutes[-1]), 1e-3))
        plot.set_title(title, loc="left", fontsize=10, color=INK)
        plot.yaxis.set_major_formatter(lambda percent, _: f"{percent:.0f}%")
        plot.set_xlabel("minutes", fontsize=8)
        plot.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=4)
    return svg(figure)


def _line(plot: "Axes", minutes: NDArray[np.float64], values: Sequence[float], colour: str, label: str) -> None:
    """The extremes faintly, the mean of stretches over them."""
    column = np.array(values, np.float64)
    shown = extremes(column, _POINTS // 2)
    plot.plot(minutes[shown], column[shown], color=colour, linewidth=0.6, alpha=0.35)
    evenly = np.unique(np.linspace(0, len(column) - 1, min(_POINTS // 3, len(column))).astype(np.intp))
    smooth = smoothed(column, max(len(column) // 60, 1))
    plot.plot(minutes[evenly], smooth[evenly], color=colour, linewidth=1.6, label=label)


def _epoch_lines(plot: "Axes", steps: Sequence[StepRow]) -> None:
    starts = [row.step for before, row in pairwise(steps) if row.epoch != before.epoch]
    for start in starts if len(starts) <= 60 else []:
        plot.axvline(start, color=GRID, linewidth=0.9, zorder=0)


def _finding_marks(plot: "Axes", findings: Sequence[RuleFindings]) -> None:
    """A tick on the lower edge where each rule fired first."""
    first, last = plot.get_xlim()
    named = [group for group in findings if group.rank < 5 and first <= group.first_step <= last][:6]
    for group in named:
        plot.axvline(group.first_step, color=BAD, linewidth=1, linestyle=(0, (2, 2)), alpha=0.8)
        plot.annotate(
            group.rule,
            (group.first_step, 0.02),
            (3, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=7,
            color=BAD,
            rotation=90,
            va="bottom",
        )


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """What is worth showing: all but a first few steps that are far above the rest."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, top = float(finite.min()), float(np.percentile(finite, 99.5))
    high = float(finite.max()) if finite.max() < low + 3 * (top - low) else low + 1.5 * (top - low)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + 2 * room


def _column(rows: Sequence[Any], name: str) -> NDArray[np.float64]:
    return np.array([getattr(row, name) for row in rows], np.float64)


def _phase(steps: Sequence[StepRow], phase: str) -> NDArray[np.float64]:
    """Seconds of each step; what precedes a session's first batch belongs to no step."""
    start = "other:start" if phase == "other" else ""
    return np.array([row.seconds.get(phase, 0.0) - row.seconds.get(start, 0.0) for row in steps])


def _minutes(rows: Sequence[SystemRow]) -> NDArray[np.float64]:
    steps_s = np.diff([row.at for row in rows], prepend=rows[0].at)
    minutes: NDArray[np.float64] = np.cumsum(np.clip(steps_s, 0.0, _GAP_S)) / 60
    return minutes


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _of(values: Sequence[float], index: int) -> float:
    return values[index] if index < len(values) else float("nan")
