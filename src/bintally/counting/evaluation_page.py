"""An evaluation's report as one self-contained page: plots, slices, and the photos behind the figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from markupsafe import Markup

from bintally.bundle import Figure
from bintally.counting.report import Calibration, EvaluationReport, Population, Shown, Slice
from bintally.errors import PhotoError
from bintally.pages import ACCENT, BAD, GRID, INK, MUTED, SECOND, SEQUENTIAL, axes, data_uri, render, svg
from bintally.photos import open_image, read_photo
from bintally.records import key_of

_PHOTO_PX: Final = 240  # longest side in the gallery: some 10 kB each

TITLES: Final = {
    "accuracy": "Exactly right",
    "within_one": "At most one off",
    "rmse": "RMSE of the expected count",
    "mae": "MAE of the expected count",
    "log_loss": "Log loss",
}
"""Headline figures in the words of the page, in its order."""

_SHARES: Final = ("accuracy", "within_one")  # shown in percent


def evaluation_page(report: EvaluationReport, data: Path) -> str:
    """The page of `report`; photos are read from the data folder `data` and embedded."""
    return render(
        "evaluation.html",
        report=report,
        subject=report.subject,
        population=report.population,
        left_out=_left_out(report.population),
        headline=[headline(name, report) for name in TITLES],
        confusion=_confusion(report),
        per_count=_per_count(report),
        reliability=reliability(report.calibration),
        risk_coverage=_risk_coverage(report),
        slices=_by_cut(report.slices),
        worst=[_card(shown, data, report) for shown in report.worst],
        surest=[_card(shown, data, report) for shown in report.surest],
        percent=percent,
        number=number,
        interval=interval,
        amount=amount,
    )


def percent(share: float | None) -> str:
    """0.4412 as "44.1%"; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.1f}%"


def amount(things: int, name: str) -> str:
    """1 as "1 photo", 1200 as "1,200 photos"."""
    return f"{things:,} {name}{'s' * (things != 1)}"


def number(value: float | None) -> str:
    """0.8934 as "0.893"; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def interval(figure: Figure | None, *, share: bool = True) -> str:
    """As in 41.2 to 47.0%, or 0.861 to 0.923; nothing where there is no figure."""
    if figure is None:
        return ""
    if share:
        return f"{100 * figure.low:.1f} to {100 * figure.high:.1f}%"
    return f"{figure.low:.3f} to {figure.high:.3f}"


def _left_out(population: Population) -> list[str]:
    reasons = {
        "with other recorded counts": population.other_counts,
        "set aside by the check": population.set_aside,
        "without a recorded count": population.without_count,
    }
    return [f"{photos:,} {reason}" for reason, photos in reasons.items() if photos]


class Headline(NamedTuple):
    """One headline figure in words."""

    title: str
    value: str
    interval: str
    blind: tuple[str, str]  # fitted on train, in hindsight


def headline(name: str, report: EvaluationReport) -> Headline:
    """The headline figure `name` (of `TITLES`) as it is shown on page and terminal."""
    share = name in _SHARES
    figure, told = report.figures[name], percent if share else number
    train, hindsight = (told(blind.figures[name]) for blind in report.blind)
    return Headline(TITLES[name], told(figure.value), interval(figure, share=share), (train, hindsight))


def _by_cut(found: Sequence[Slice]) -> dict[str, list[Slice]]:
    cuts: dict[str, list[Slice]] = {}
    for part in found:
        cuts.setdefault(part.by, []).append(part)
    return cuts


def _card(shown: Shown, data: Path, report: EvaluationReport) -> dict[str, Any]:
    """One photo of the gallery: the picture, and each count's probability for the small bars beneath."""
    try:
        image = open_image(read_photo(data / shown.path), draft_px=(_PHOTO_PX, _PHOTO_PX))
        uri = data_uri(image, longest_px=_PHOTO_PX, quality=72)
    except PhotoError:  # moved or overwritten since it was judged a minute ago
        uri = ""
    recorded = key_of(shown.recorded_count, report.subject.keys)
    counted = max(shown.probabilities, key=shown.probabilities.__getitem__)
    return {"shown": shown, "uri": uri, "recorded": recorded, "counted": counted}


def _confusion(report: EvaluationReport) -> Markup:
    """Rows are what the records say; colour is the share of the row, the number the photos."""
    keys, cells = report.subject.keys, np.array(report.confusion)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    figure, plot = axes(5.2, 4.4)
    plot.imshow(shares, cmap=SEQUENTIAL, vmin=0, vmax=max(0.6, float(shares.max())))
    plot.grid(visible=False)
    for row, column in np.ndindex(*cells.shape):
        share = shares[row, column]
        ink = "white" if share > 0.45 else INK
        plot.text(column, row - 0.08, f"{100 * share:.0f}%", ha="center", va="center", color=ink, fontsize=9)
        plot.text(column, row + 0.24, f"{cells[row, column]:,}", ha="center", va="center", color=ink, fontsize=6.5)
    plot.set_xticks(range(len(keys)), keys)
    plot.set_yticks(range(len(keys)), keys)
    plot.set_xlabel("counted")
    plot.set_ylabel("recorded")
    plot.spines[:].set_visible(False)
    return svg(figure)


def _per_count(report: EvaluationReport) -> Markup:
    """Recall and precision of each count, with their intervals."""
    rows = report.per_count
    figure, plot = axes(5.2, 2.6)
    for offset, colour, name in ((-0.14, ACCENT, "recall"), (0.14, SECOND, "precision")):
        found = [(k + offset, getattr(row, name)) for k, row in enumerate(rows) if getattr(row, name) is not None]
        if found:
            _points(plot, [x for x, _ in found], [value for _, value in found], colour, name)
    plot.set_xticks(range(len(rows)), [row.key for row in rows])
    plot.set_xlim(-0.6, len(rows) - 0.4)
    _shares_axis(plot.yaxis)
    plot.set_ylim(0, 1.02)
    plot.set_xlabel("count")
    plot.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)
    return svg(figure)


def reliability(calibration: Calibration) -> Markup:
    """How sure against how often right, drawn; on the diagonal a probability means what it says."""
    bins = calibration.bins
    figure, plot = axes(5.2, 4.0)
    plot.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated")
    _points(
        plot,
        [part.confidence for part in bins],
        [part.right for part in bins],
        ACCENT,
        f"{len(bins)} equal groups of photos",
    )
    plot.set_xlim(0, 1.02)
    plot.set_ylim(0, 1.02)
    _shares_axis(plot.xaxis)
    _shares_axis(plot.yaxis)
    plot.set_xlabel("probability of the count given")
    plot.set_ylabel("share right")
    plot.legend(frameon=False, fontsize=8, loc="upper left")
    return svg(figure)


def _risk_coverage(report: EvaluationReport) -> Markup:
    """Errors among accepted photos against the share accepted, surest first."""
    curve = report.selective.curve
    figure, plot = axes(5.2, 4.0)
    coverage, risk = [point.coverage for point in curve], [point.risk for point in curve]
    plot.axhline(1 - report.figures["accuracy"].value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    plot.plot(coverage, risk, color=ACCENT, linewidth=2)
    for tolerated, share in report.selective.coverage_at.items():
        if share.value:
            plot.plot([share.value], [float(tolerated)], "o", color=BAD, markersize=4)
            plot.annotate(
                f"{100 * share.value:.0f}% at {100 * float(tolerated):.0f}% wrong",
                (share.value, float(tolerated)),
                (6, -3),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                va="top",
            )
    plot.annotate(
        "accept all",
        (0.01, 1 - report.figures["accuracy"].value),
        (0, 4),
        textcoords="offset points",
        fontsize=8,
        color=MUTED,
    )
    plot.set_xlim(0, 1.01)
    plot.set_ylim(0, max(0.1, *risk, 1 - report.figures["accuracy"].value) * 1.12)
    _shares_axis(plot.xaxis)
    _shares_axis(plot.yaxis)
    plot.set_xlabel("share of photos accepted, surest first")
    plot.set_ylabel("share of them wrong")
    return svg(figure)


def _points(plot: Any, x: Sequence[float], figures: Sequence[Figure], colour: str, label: str) -> None:
    """Dots with their intervals as bars."""
    y = np.array([figure.value for figure in figures])
    low, high = (np.array([getattr(figure, end) for figure in figures]) for end in ("low", "high"))
    reach = np.maximum([y - low, high - y], 0)
    plot.errorbar(x, y, yerr=reach, fmt="o", color=colour, markersize=4.5, elinewidth=1.4, ecolor=colour, label=label)


def _shares_axis(axis: Any) -> None:
    axis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    axis.grid(visible=True, color=GRID, linewidth=0.8)
