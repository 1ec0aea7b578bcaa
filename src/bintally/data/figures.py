"""The drawings of the explore page: numbers in, inline SVG out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bintally.pages import ACCENT, BAD, GRID, INK, MUTED, SECOND, SEQUENTIAL, axes, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS: Final = (ACCENT, SECOND, MUTED, INK)
"""Colours of the encodings of a source, in order of their names."""

_SMALL: Final = 8  # points
_FEW_BARS: Final = 14  # so many can carry their numbers

Floats = NDArray[np.floating]


def bars(
    values: Mapping[str, int],
    *,
    across: str,
    up: str = "photos",
    colors: Sequence[str] | str = ACCENT,
    shares: bool = False,
    log: bool = False,
    size_in: tuple[float, float] = (5.2, 2.9),
) -> Markup:
    """A bar for each value, with its number (or its share of all, in percent) on top where there is room."""
    figure, plot = axes(*size_in)
    drawn = plot.bar(list(values), list(values.values()), color=colors, width=0.78)
    if log:
        plot.set_yscale("log")
        plot.set_ylim(bottom=0.7)
    if len(values) <= _FEW_BARS:
        total = max(sum(values.values()), 1)
        texts = [f"{value / total:.1%}" if shares else f"{value:,}" for value in values.values()]
        plot.bar_label(drawn, texts, padding=2, fontsize=_SMALL, color=INK)
        plot.margins(y=0.12)
    _labels(plot, across, up)
    return svg(figure)


def tail(counts: NDArray[np.int64], *, first: int) -> Markup:
    """How many photos have each count from `first` on, on a logarithmic scale: the tail is long and thin."""
    from matplotlib.ticker import MaxNLocator

    figure, plot = axes(5.2, 2.9)
    heights = np.bincount(counts[counts >= first])[first:]
    drawn = plot.bar(np.arange(first, first + len(heights)), heights, color=ACCENT, width=0.85)
    if len(heights) <= _FEW_BARS:
        texts = [f"{photos:,}" if photos else "" for photos in heights]
        plot.bar_label(drawn, texts, padding=2, fontsize=_SMALL, color=INK)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.set_yscale("log")
    plot.set_ylim(bottom=0.7)
    _plain_numbers(plot, "y")
    _labels(plot, "recorded count", "photos (log scale)")
    return svg(figure)


def histogram(
    values: Mapping[str, Floats],
    *,
    across: str,
    up: str = "photos",
    log: bool = False,
    mark: tuple[float, str] | None = None,
    bins: int = 60,
) -> Markup:
    """One outline for each kind in `values`; `mark` draws a limit and its name."""
    figure, plot = axes(5.2, 2.9)
    known = {kind: array[array > 0] if log else array for kind, array in values.items()}
    known = {kind: array for kind, array in known.items() if len(array)}
    edges = _edges(np.concatenate(list(known.values())) if known else np.ones(1), bins, log=log)
    for color, (kind, array) in zip(_cycle(len(known)), known.items(), strict=True):
        plot.hist(array, edges.tolist(), color=color, alpha=0.28, histtype="stepfilled")
        plot.hist(array, edges.tolist(), color=color, histtype="step", linewidth=1.4, label=kind)
    if log:
        plot.set_xscale("log")
        _plain_numbers(plot, "x")
    if mark:
        plot.axvline(mark[0], color=BAD, linewidth=1, linestyle=(0, (4, 3)))
        over = plot.get_xaxis_transform()
        plot.annotate(
            mark[1],
            (mark[0], 1),
            (4, -2),
            xycoords=over,
            textcoords="offset points",
            color=BAD,
            fontsize=_SMALL,
            va="top",
        )
    if len(known) > 1:
        plot.legend(frameon=False, fontsize=_SMALL, labelcolor=INK)
    _labels(plot, across, up)
    return svg(figure)


def sizes(width_px: Mapping[str, Floats], height_px: Mapping[str, Floats]) -> Markup:
    """Widths against heights of each kind: a bubble for each 12 px cell, its area the number of photos in it."""
    cell_px = 12
    figure, plot = axes(5.2, 3.6)
    largest = 1
    cells: dict[str, tuple[Floats, NDArray[np.int64]]] = {}
    for kind, widths in width_px.items():
        at = np.stack([widths, height_px[kind]], axis=1) // cell_px
        cells[kind] = np.unique(at, axis=0, return_counts=True)
        largest = max(largest, int(cells[kind][1].max(initial=1)))
    for color, (kind, (at, photos)) in zip(_cycle(len(cells)), cells.items(), strict=True):
        centres = (at + 0.5) * cell_px
        area = 4 + 220 * photos / largest
        plot.scatter(centres[:, 0], centres[:, 1], s=area, color=color, alpha=0.55, linewidths=0, label=kind)
    plot.grid(visible=True, axis="both", color=GRID, linewidth=0.8)
    plot.set_aspect("equal", adjustable="datalim")
    plot.margins(0.12)
    if len(cells) > 1:
        for handle in plot.legend(frameon=False, fontsize=_SMALL, labelcolor=INK).legend_handles:
            if handle is not None and hasattr(handle, "set_sizes"):
                handle.set_sizes([36])
    _labels(plot, "width, px", "height, px")
    return svg(figure)


def matrix(cells: NDArray[np.int64], *, rows: Sequence[str], columns: Sequence[str], across: str, up: str) -> Markup:
    """Numbers of photos as a table of shades; the scale is a square root, so that rare cells still show."""
    figure, plot = axes(5.2, 3.6)
    shades = np.ma.masked_equal(np.sqrt(cells), 0)
    plot.imshow(shades, cmap=SEQUENTIAL, aspect="auto", origin="lower", vmin=0)
    plot.grid(visible=False)
    plot.spines[["left", "bottom"]].set_visible(False)
    plot.set_xticks(range(len(columns)), columns)
    plot.set_yticks(range(len(rows)), rows)
    bright = np.sqrt(cells.max(initial=1)) * 0.62
    for (row, column), photos in np.ndenumerate(cells):
        if photos:
            color = "white" if np.sqrt(photos) > bright else INK
            plot.text(column, row, f"{photos:,}", ha="center", va="center", fontsize=7.5, color=color)
    _labels(plot, across, up)
    return svg(figure)


def _edges(values: Floats, bins: int, *, log: bool) -> Floats:
    """Even edges over all but the outermost thousandth of a long tail."""
    low, high = (float(edge) for edge in np.quantile(values, (0.001, 0.999)))
    if high <= low:
        low, high = low * 0.9 - 0.1 * (not log), low * 1.1 + 0.1
    return np.geomspace(low, high, bins) if log else np.linspace(low, high, bins)


def _cycle(kinds: int) -> list[str]:
    return [KINDS[kind % len(KINDS)] for kind in range(kinds)]


def _plain_numbers(plot: "Axes", axis: str) -> None:
    """10 and 100 rather than 10¹ and 10²."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    along = plot.xaxis if axis == "x" else plot.yaxis
    along.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    along.set_minor_formatter(NullFormatter())
    plot.tick_params(which="minor", length=0)


def _labels(plot: "Axes", across: str, up: str) -> None:
    plot.set_xlabel(across, fontsize=9)
    plot.set_ylabel(up, fontsize=9)
