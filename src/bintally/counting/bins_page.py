"""A report on bins and records as one self-contained page: figures beside the blind ones, and pairs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from bintally.counting.bins_report import AfterPhotos, Beside, BinsReport, OfError, RecordReport, ShownPair
from bintally.counting.evaluation_page import amount, interval, number, percent
from bintally.errors import PhotoError
from bintally.pages import ACCENT, BAD, MUTED, SECOND, axes, data_uri, render, svg
from bintally.photos import open_image, read_photo
from bintally.records import key_of

_PHOTO_PX: Final = 260  # longest side in the gallery: some 12 kB each

TITLES: Final = {
    "accuracy": "Exactly right",
    "rmse": "RMSE of the expected count",
    "log_loss": "Log loss",
    "auroc": "Is the recorded new count right: AUROC",
    "accepted": "Right records accepted, 10% of wrong ones escaping",
}
"""Figures of pairs in the words of the page, in its order."""

_SHARES: Final = ("accuracy", "accepted")  # shown in percent
_HOW: Final = {
    "alone": "that photo",
    "followed": "all so far",
    "confirmed": "first confirmed",
}


def bins_page(report: BinsReport, data: Path) -> str:
    """The page of `report`; photos are read from the data folder `data` and embedded."""
    pairs, records = report.pairs, report.records
    return render(
        "bins.html",
        report=report,
        subject=report.subject,
        pairs=pairs,
        figures=pair_rows(report),
        over_time=_over_time(report.over_time.steps) if report.over_time else {},
        scores=_scores(records) if records else {},
        errors=_errors(records) if records else [],
        curve=_curve(records) if records else "",
        worst=_cards(pairs.worst, data, report) if pairs else [],
        surest=_cards(pairs.surest, data, report) if pairs else [],
        how=_HOW,
        percent=percent,
        number=number,
        interval=interval,
        amount=amount,
    )


class Row(NamedTuple):
    """One figure in words."""

    title: str
    value: str
    interval: str
    blind: str
    harder: str


def pair_rows(report: BinsReport) -> list[Row]:
    """The figures of pairs as they are shown on page and terminal; none where no pairs were judged."""
    if report.pairs is None:
        return []
    return [_row(TITLES[name], report.pairs.figures[name], share=name in _SHARES) for name in TITLES]


def _row(title: str, found: Beside, *, share: bool) -> Row:
    told = percent if share else number
    harder = "" if found.harder is None else told(found.harder.value)
    return Row(title, told(found.model.value), interval(found.model, share=share), told(found.blind.value), harder)


def _over_time(steps: Sequence[AfterPhotos]) -> dict[str, dict[int, list[AfterPhotos]]]:
    """By the counts asked about, then by the least number of photos of the bins."""
    found: dict[str, dict[int, list[AfterPhotos]]] = {}
    for step in steps:
        if (step.how, step.photos) == ("followed", 1):  # that is the photo alone
            continue
        found.setdefault(step.counts, {}).setdefault(step.of_bins, []).append(step)
    return found


def _scores(records: RecordReport) -> dict[str, Any]:
    return {
        "with the products' measures": records.with_measures,
        "quantities alone": records.quantities_alone,
        "blind to the photo": records.blind,
    }


def _errors(records: RecordReport) -> list[tuple[OfError, OfError, OfError]]:
    """Each kind of error, by the three scores."""
    return list(
        zip(records.with_measures.by_error, records.quantities_alone.by_error, records.blind.by_error, strict=True)
    )


def _curve(records: RecordReport) -> Markup:
    """Right records accepted against wrong ones that escape."""
    figure, plot = axes(5.2, 4.2)
    for name, colour, found in (
        ("with measures", ACCENT, records.with_measures),
        ("quantities alone", SECOND, records.quantities_alone),
        ("blind to the photo", MUTED, records.blind),
    ):
        points = [(0.0, 0.0), *((point.escaped, point.accepted) for point in found.curve)]
        plot.plot(*zip(*points, strict=True), color=colour, linewidth=2, label=f"{name}: {found.auroc.value:.3f}")
    at_card = records.with_measures.at_card
    if at_card is not None:
        plot.plot(
            [at_card.escaped.value], [at_card.accepted.value], "o", color=BAD, markersize=5, label="val's threshold"
        )
    plot.axvline(0.1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    plot.set_xlim(0, 1.01)
    plot.set_ylim(0, 1.01)
    for axis in (plot.xaxis, plot.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    plot.set_xlabel("wrong records that escape")
    plot.set_ylabel("right records accepted")
    plot.legend(frameon=False, fontsize=8, loc="lower right")
    return svg(figure)


def _cards(shown: Sequence[ShownPair], data: Path, report: BinsReport) -> list[dict[str, Any]]:
    """Pairs of the gallery: both pictures, and each count's probability for the small bars beneath."""
    return [
        {
            "pair": pair,
            "photos": [_uri(data / path) for path in (pair.earlier_path, pair.later_path)],
            "recorded": key_of(pair.new_count, report.subject.keys),
            "bars": _bars(pair.probabilities, pair.blind),
        }
        for pair in shown
    ]


def _bars(probabilities: Mapping[str, float], blind: Mapping[str, float]) -> list[tuple[str, float, float]]:
    return [(key, share, blind[key]) for key, share in probabilities.items()]


def _uri(path: Path) -> str:
    try:
        image = open_image(read_photo(path), draft_px=(_PHOTO_PX, _PHOTO_PX))
        return data_uri(image, longest_px=_PHOTO_PX, quality=72)
    except PhotoError:  # moved or overwritten since it was judged a minute ago
        return ""
