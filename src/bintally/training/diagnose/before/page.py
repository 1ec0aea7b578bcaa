"""The page of a diagnosis: what to do first, then a section a check with its plot."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from bintally import pages
from bintally.errors import BintallyError
from bintally.photos import open_image, read_photo
from bintally.training.diagnose.before.inputs import IMBALANCE, MEAN, imbalance
from bintally.training.diagnose.before.label_noise import LabelNoise
from bintally.training.diagnose.before.lr_range import LrRange
from bintally.training.diagnose.before.noise_scale import NoiseScale
from bintally.training.diagnose.before.report import DataFacts, DiagnoseReport
from bintally.training.plan import Plan

SHOWN: Final = 24
_THUMB_PX: Final = 260
_SMALL: Final = 8  # points


def draw_page(report: DiagnoseReport, plan: Plan) -> str:
    """The page of `report`, as HTML."""
    return pages.render(
        "diagnose.html",
        report=report,
        facts=report.leakage and _facts(report.leakage),
        labels=report.labels and _labels(report.labels, plan),
        rate=report.rate and _rate(report.rate),
        noise=report.noise and _noise(report.noise),
    )


def _facts(facts: DataFacts) -> dict[str, Any]:
    figure, plot = pages.axes(5.2, 2.6)
    bars = plot.bar(list(facts.photos), list(facts.photos.values()), color=pages.ACCENT, width=0.78)
    plot.bar_label(bars, [f"{photos:,}" for photos in facts.photos.values()], padding=2, fontsize=_SMALL)
    plot.margins(y=0.12)
    plot.set_xlabel("recorded count", fontsize=_SMALL)
    plot.set_ylabel("photos in train", fontsize=_SMALL)
    return {
        "counts": pages.svg(figure),
        "imbalance": imbalance(facts.photos),
        "most_imbalance": IMBALANCE,
        "most_mean": MEAN,
        "channels": list(zip(("red", "green", "blue"), facts.inputs.mean, facts.inputs.std, strict=True)),
    }


def _rate(rate: LrRange) -> Markup | None:
    """Loss over rate, with what it suggests; None where nothing was finite."""
    if not rate.losses:
        return None
    figure, plot = pages.axes(8.4, 3.2)
    plot.plot(rate.rates, rate.losses, color=pages.MUTED, alpha=0.45, lw=0.9, label="each batch")
    plot.plot(rate.rates, rate.smoothed, color=pages.ACCENT, lw=2, label="smoothed")
    for value, color, style, label in (
        (rate.own, pages.INK, "--", f"the recipe's: {rate.own:.1e}"),
        (rate.steepest, pages.SECOND, "-", "steepest descent"),
        (rate.tenth_of_minimum, pages.GOOD, "-", "a tenth of the minimum's"),
    ):
        if value is not None:
            shown = label if value == rate.own else f"{label}: {value:.1e}"
            plot.axvline(value, color=color, ls=style, lw=1.2, label=shown)
    plot.set_xscale("log")
    low, high = min(rate.smoothed), float(np.median(rate.losses))
    plot.set_ylim(low - 0.6 * max(high - low, 0.05), high + 2 * max(high - low, 0.05))
    plot.set_xlabel(f"learning rate of the {rate.of}", fontsize=_SMALL)
    plot.set_ylabel("loss", fontsize=_SMALL)
    plot.legend(frameon=False, fontsize=_SMALL, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return pages.svg(figure)


def _noise(noise: NoiseScale) -> Markup | None:
    """How far a step gets, by batch size; None where the noise scale is beyond what could be measured."""
    if noise.photos is None:
        return None
    sizes = np.geomspace(1, max(16 * noise.photos, 4 * noise.batch_size), 200)
    figure, plot = pages.axes(8.4, 3.0)
    lowest = sizes / (sizes + (noise.high or 1e12))
    plot.fill_between(sizes, lowest, sizes / (sizes + noise.low), color=pages.ACCENT, alpha=0.15, lw=0, label="95%")
    plot.plot(sizes, sizes / (sizes + noise.photos), color=pages.ACCENT, lw=2, label="measured")
    plot.axvline(noise.batch_size, color=pages.INK, ls="--", lw=1.2, label=f"the recipe's: {noise.batch_size}")
    plot.axvline(noise.photos, color=pages.SECOND, lw=1.2, label=f"the noise scale: {noise.photos:,.0f}")
    plot.set_xscale("log", base=2)
    plot.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
    plot.yaxis.set_major_formatter(lambda value, _place: f"{value:.0%}")
    plot.set_ylim(0, 1)
    plot.set_xlabel("photos in a batch", fontsize=_SMALL)
    plot.set_ylabel("progress of a step, of the most possible", fontsize=_SMALL)
    plot.legend(frameon=False, fontsize=_SMALL, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return pages.svg(figure)


def _labels(labels: LabelNoise, plan: Plan) -> dict[str, Any]:
    figure, plot = pages.axes(5.2, 2.6)
    keys = list(labels.wrong_by_key)
    bars = plot.bar(keys, list(labels.wrong_by_key.values()), color=pages.ACCENT, width=0.78)
    plot.bar_label(bars, [f"{share:.0%}" for share in labels.wrong_by_key.values()], padding=2, fontsize=_SMALL)
    plot.margins(y=0.12)
    plot.yaxis.set_major_formatter(lambda value, _place: f"{value:.0%}")
    plot.set_xlabel("recorded count", fontsize=_SMALL)
    plot.set_ylabel("wrong, as estimated" if labels.believable else "look wrong to the model", fontsize=_SMALL)
    rows = plan.train.select("bin_image_id", "path", "recorded_count").rows()
    return {
        "by_key": pages.svg(figure),
        "shown": [
            {
                "id": rows[suspect.row][0],
                "uri": _thumbnail(plan.data / rows[suspect.row][1]),
                "recorded": rows[suspect.row][2],
                "likely": plan.keys[suspect.likely],
                "probability": suspect.probability,
                "recorded_probability": suspect.recorded_probability,
            }
            for suspect in labels.suspects[:SHOWN]
        ],
    }


def _thumbnail(path: Path) -> str | None:
    """A small picture; None where there is none to be had, which the page shows as an empty frame."""
    try:
        return pages.data_uri(open_image(read_photo(path), draft_px=(_THUMB_PX, _THUMB_PX)), longest_px=_THUMB_PX)
    except BintallyError:
        return None
