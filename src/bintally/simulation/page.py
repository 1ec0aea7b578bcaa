"""A simulation as one self-contained page: what bintally is worth at a site like this, and what that rests on."""

from collections.abc import Iterator
from typing import Any

from bintally.pages import render
from bintally.simulation import words
from bintally.simulation.plot import COLOURS, cost_plot, effort_plot, right_plot
from bintally.simulation.report import OURS, SimulationReport
from bintally.simulation.settings import SimulationSettings


def simulation_page(report: SimulationReport) -> str:
    """The page of `report`."""
    settings = SimulationSettings.of(report.settings)
    ours = next((arm for arm in report.arms if arm.arm == OURS), None)
    return render(
        "simulation.html",
        report=report,
        settings=settings,
        ours=ours,
        headline=words.headline(report),
        others=[arm for arm in report.arms if arm.arm != OURS],
        rows=words.ROWS,
        words=words,
        colours=COLOURS,
        plots={"right": right_plot(report), "cost": cost_plot(report), "effort": effort_plot(report)},
        what_if=list(words.what_if(report)),
        losses=list(words.losses(report)),
        rates=list(_rates(settings)),
        photos=_photos(report),
        books=[each for each in report.told.get(OURS, {}).items() if not each[0].startswith("photos")],
    )


def _rates(settings: SimulationSettings) -> Iterator[tuple[str, str, Any, str]]:
    """Section, name, value and meaning of every setting."""
    for section in ("stock", "errors", "people", "robots", "money"):
        held = getattr(settings, section)
        for name, field in type(held).model_fields.items():
            yield section, name, getattr(held, name), field.description or ""


def _photos(report: SimulationReport) -> list[tuple[str, int, float]]:
    """Where bintally's photos were drawn from: in words, how many, their share."""
    books = report.told.get(OURS) or report.told.get("single") or {}
    drawn = {name.removeprefix("photos, "): many for name, many in books.items() if name.startswith("photos, ")}
    total = sum(drawn.values())
    return [(name, many, many / total) for name, many in drawn.items()]
