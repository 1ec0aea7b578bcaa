"""A comparison as one self-contained page: differences with intervals, curves over each other, and photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from bintally.counting.comparison import Comparison, Disagreement, Pair, apart, p_value
from bintally.counting.entrants import Entrant
from bintally.counting.evaluation_page import amount, interval, number, percent
from bintally.errors import PhotoError
from bintally.manifest import Manifest
from bintally.pages import ACCENT, GOOD, GRID, INK, MUTED, SECOND, axes_row, data_uri, render, svg
from bintally.photos import open_image, read_photo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PHOTO_PX: Final = 240
_COLOURS: Final = (ACCENT, SECOND, "#7b5ea7", GOOD, "#b5651d", "#4a90a4", "#a94064", "#8a8d3f")
_FIGURES: Final = {"accuracy": "Exactly right", "log_loss": "Log loss", "rmse": "RMSE"}
_HIGHER_IS_BETTER: Final = frozenset({"accuracy"})
_CURVES: Final = {"log_loss": "Log loss on val", "accuracy": "Exactly right on val"}


def compare_page(found: Comparison, data: Path | None) -> str:
    """The page of `found`; photos are read from the data folder `data`, if one is named, and embedded.

    Raises:
        ManifestError: `data` is no data folder.
    """
    colours = {entrant.label: _COLOURS[place % len(_COLOURS)] for place, entrant in enumerate(found.entrants)}
    return render(
        "compare.html",
        found=found,
        colours=colours,
        title=_title(found),
        forest=_forest(found, colours),
        curves=_curves(found.entrants, colours),
        cards=_cards(found, data),
        has_photos=data is not None,
        percent=percent,
        number=number,
        interval=interval,
        amount=amount,
        p_value=p_value,
        told=_told,
    )


def _title(found: Comparison) -> str:
    seen = [pair for pair in found.pairs if pair.seen]
    if not seen:
        return f"No difference in accuracy to be seen on {amount(found.photos, 'photo')}"
    if len(found.pairs) == 1:
        better = found.pairs[0].differences["accuracy"].value > 0
        winner, loser = (seen[0].label, seen[0].against) if better else (seen[0].against, seen[0].label)
        return f"{winner} is right more often than {loser}"
    best = max(found.entrants, key=lambda entrant: entrant.figures["accuracy"].value)
    return f"{best.label} is right most often: {percent(best.figures['accuracy'].value)}"


def _told(name: str, value: float) -> str:
    return percent(value) if name == "accuracy" else number(value)


def _forest(found: Comparison, colours: dict[str, str]) -> Markup:
    """A panel a figure, a row a pair: the difference and its interval; left or right of 0, better is named."""
    from matplotlib.ticker import MaxNLocator

    figure, panels = axes_row(3, width_in=10.6, height_in=1.35 + 0.34 * len(found.pairs))
    for panel, (name, title) in zip(panels, _FIGURES.items(), strict=True):
        unit = 100.0 if name in _HIGHER_IS_BETTER else 1.0
        for row, pair in enumerate(found.pairs):
            _whisker(panel, row, pair, name, unit, colours[pair.label])
        panel.axvline(0, color=INK, linewidth=1)
        panel.set_ylim(len(found.pairs) - 0.4, -0.6)
        panel.set_yticks(range(len(found.pairs)), [pair.label for pair in found.pairs] if panel is panels[0] else [])
        panel.tick_params(axis="y", labelcolor=INK)
        panel.grid(visible=False, axis="y")
        panel.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
        reach = 1.05 * max(abs(end) for end in panel.get_xlim())
        panel.set_xlim(-reach, reach)
        panel.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
        panel.set_title(title, loc="left", fontsize=10, color=INK)
        better = "better to the right" if name in _HIGHER_IS_BETTER else "better to the left"
        panel.set_xlabel(f"{'points' if unit > 1 else 'difference'}, {better}", fontsize=8)
    return svg(figure)


def _whisker(panel: "Axes", row: int, pair: Pair, name: str, unit: float, colour: str) -> None:
    difference = pair.differences[name]
    shown = colour if apart(difference) else MUTED
    panel.plot([unit * difference.low, unit * difference.high], [row, row], color=shown, linewidth=2.2)
    panel.plot([unit * difference.value], [row], "o", color=shown, markersize=6)


def _curves(entrants: Sequence[Entrant], colours: dict[str, str]) -> Markup | None:
    """Val's figures over epochs and over minutes; None where no run tells them."""
    runs = [entrant for entrant in entrants if entrant.history]
    if not runs:
        return None
    figure, plots = axes_row(4, width_in=11.4, height_in=2.9)
    for place, (name, title) in enumerate(_CURVES.items()):
        for over, plot in (("epoch", plots[2 * place]), ("minutes", plots[2 * place + 1])):
            for entrant in runs:
                _curve(plot, entrant, name, over, colours[entrant.label])
            plot.set_title(title if over == "epoch" else " ", loc="left", fontsize=10, color=INK)
            plot.set_xlabel("epoch (dot: kept)" if over == "epoch" else "minutes of training", fontsize=8)
            plot.set_xlim(left=0)
            if name == "accuracy":
                plot.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    plots[0].legend(frameon=False, fontsize=8)
    return svg(figure)


def _curve(plot: "Axes", entrant: Entrant, name: str, over: str, colour: str) -> None:
    rows = entrant.history
    minutes = [sum(row["seconds"] for row in rows[: place + 1]) / 60 for place in range(len(rows))]
    at = [row["epoch"] for row in rows] if over == "epoch" else minutes
    values = [row[name] for row in rows]
    plot.plot(at, values, color=colour, linewidth=1.8, label=entrant.label)
    kept = [place for place, row in enumerate(rows) if int(row["epoch"]) == entrant.best_epoch]
    plot.plot([at[place] for place in kept], [values[place] for place in kept], "o", color=colour, markersize=5)


def _cards(found: Comparison, data: Path | None) -> list[dict[str, Any]]:
    if data is None:
        return [{"shown": shown, "uri": "", "rows": _rows(shown, found)} for shown in found.disagreements]
    table = Manifest.read(data).table
    paths = dict(zip(table["bin_image_id"], table["path"], strict=True))
    return [
        {"shown": shown, "uri": _uri(data, paths.get(shown.bin_image_id)), "rows": _rows(shown, found)}
        for shown in found.disagreements
    ]


def _rows(shown: Disagreement, found: Comparison) -> list[dict[str, Any]]:
    """Each model's answer: its bars, and whether it is right."""
    rows = []
    for label, probabilities in shown.probabilities.items():
        counted = found.keys[max(range(len(found.keys)), key=probabilities.__getitem__)]
        bars = list(zip(found.keys, probabilities, strict=True))
        rows.append({"label": label, "counted": counted, "right": counted == shown.recorded_key, "bars": bars})
    return rows


def _uri(data: Path, path: str | None) -> str:
    if path is None:
        return ""
    try:
        image = open_image(read_photo(data / path), draft_px=(_PHOTO_PX, _PHOTO_PX))
        return data_uri(image, longest_px=_PHOTO_PX, quality=72)
    except PhotoError:  # moved or overwritten since it was judged
        return ""
