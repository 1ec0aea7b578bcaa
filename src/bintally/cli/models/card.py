"""`bintally models card`: what a model is, was measured to do, and is not for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console
from bintally.cli.models.named import BundleFlag, Called, RegistryOption, bundle_called, opened

if TYPE_CHECKING:
    from bintally.registry.card.settings import CardSettings
    from bintally.registry.card.told import ModelCard

_ASSUMED = "What a training cost"


def card(
    called: Called,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write: .md, .html or .json; default: print Markdown.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder of `bintally evaluate --out`, or an earlier card's .json: more figures.")
    ] = None,
    is_bundle: BundleFlag = False,
    registry: RegistryOption = None,
    power_w: Annotated[
        float | None, typer.Option(help="What the machine is assumed to draw, in W.", rich_help_panel=_ASSUMED)
    ] = None,
    carbon_g_per_kwh: Annotated[
        float | None, typer.Option(help="What its electricity emits, in g of CO2e a kWh.", rich_help_panel=_ASSUMED)
    ] = None,
    json_output: Json = False,
) -> None:
    """Write the model card of a version or a bundle, in the sections of Mitchell et al. 2019.

    Figures of a --report are kept with a version: they are in its card from then on.

    Example: `bintally models card bintally/3 --report report --out card.html`

    Example: `bintally models card champion --bundle`
    """
    from bintally.artifacts import write_bytes
    from bintally.registry.card.written import written

    assumed = {"power_w": power_w, "carbon_g_per_kwh": carbon_g_per_kwh}
    told = {name: value for name, value in assumed.items() if value is not None}
    folder = bundle_called(called, is_bundle=is_bundle)
    made = _of_version(called, report, registry, told) if folder is None else _of_bundle(folder, report, told)
    if out is not None:
        write_bytes(out, written(made, out.suffix))
        console().print(f"{out}", soft_wrap=True, markup=False)
    if json_output:
        typer.echo(made.to_json().decode().rstrip())
    elif out is None:
        typer.echo(written(made, ".md").decode().rstrip())


def _of_bundle(folder: Path, report: Path | None, told: dict[str, float]) -> "ModelCard":
    from bintally.bundle import Bundle
    from bintally.registry.card.gather import of_bundle
    from bintally.registry.card.judged import read_evaluation
    from bintally.registry.card.settings import CardSettings

    bundle = Bundle.open(folder)
    evaluation = None if report is None else read_evaluation(report, bundle.card)
    return of_bundle(bundle, evaluation=evaluation, settings=_settings(CardSettings(), told))


def _of_version(called: str, report: Path | None, place: Path | None, told: dict[str, float]) -> "ModelCard":
    from bintally.registry.card.kept import card_of, keep_card
    from bintally.registry.versions import version_of

    with opened(place) as registry:
        with registry.read() as connection:
            version = version_of(connection, called)
        if report is not None:
            keep_card(registry, version, report=report)
        return card_of(registry, version, settings=_settings(registry.settings.card, told))


def _settings(settings: "CardSettings", told: dict[str, float]) -> "CardSettings":
    """What is said now counts more than what registry.toml says."""
    return type(settings).of({**settings.model_dump(), **told})
