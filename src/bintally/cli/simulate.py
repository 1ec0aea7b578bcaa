"""`bintally simulate`: what bintally is worth at a site whose truth is known; with `--robots`, a fleet as load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli import simulate_robots as fleet
from bintally.cli.common import Json, console, emit_json, progress_for
from bintally.errors import UsageError

if TYPE_CHECKING:
    from bintally.simulation.report import SimulationReport


def simulate(
    settings: Annotated[
        Path | None, typer.Argument(help="What the site is like: a TOML file.", metavar="[SETTINGS.toml]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for report.html, simulation.png, figures.json.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Days to live through.  [default: 60]")] = None,
    bins: Annotated[int | None, typer.Option(help="Bins of the site.  [default: 100]")] = None,
    seeds: Annotated[int | None, typer.Option(help="Sites, each with its own chance.  [default: 3]")] = None,
    seed: Annotated[int | None, typer.Option(help="The first site's, or the fleet's.  [default: 0]")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A data folder with photos that the model did not learn from; default: what the bundled model saw.",
            metavar="FOLDER",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which of its photos: test, val, or all.")] = "test",
    bundle: Annotated[str | None, typer.Option(help="The model: a bundle's folder, or champion.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the ledgers in the folder.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; default: a core each.")] = None,
    robots: fleet.RobotsOption = None,
    url: fleet.UrlOption = None,
    key: fleet.KeyOption = None,
    mqtt: fleet.MqttOption = None,
    topic: fleet.TopicOption = "bintally",
    photos: fleet.PhotosOption = None,
    minutes: fleet.MinutesOption = 1.0,
    warm_up: fleet.WarmUpOption = 0.0,
    every: fleet.EveryOption = None,
    rate: fleet.RateOption = None,
    travel: fleet.TravelOption = "exponential",
    bin_codes: fleet.BinCodesOption = None,
    bin_site: fleet.BinSiteOption = None,
    mix: fleet.MixOption = None,
    patience: fleet.PatienceOption = 60.0,
    ramp: fleet.RampOption = False,
    limit_ms: fleet.LimitOption = 1000.0,
    json: Json = False,
) -> None:
    """Lives through months of sites whose truth is known, and tells what each way of keeping records is worth.

    Items are picked, stowed, misplaced and stolen at known rates; robots take photos, people count, corrections go to a
    stock system. Beside it, on the same sites with the same luck: each photo alone, counts by hand, the ABC calendar,
    nothing. With `--robots`, a fleet has its photos counted by a running service instead.

    Example: `bintally simulate --out simulated --days 180 --bins 200 --seeds 5`
    """
    if robots is not None:
        fleet.simulate_robots(
            robots=robots, url=url, key=key, mqtt=mqtt, topic=topic, photos=photos, minutes=minutes, warm_up=warm_up,
            every=every, rate=rate, travel=travel, bin_codes=bin_codes, bin_site=bin_site, mix=mix, patience=patience,
            ramp=ramp, limit_ms=limit_ms, seed=seed or 0, out=out, as_json=json,
        )  # fmt: skip
        return
    from bintally.records import to_plain
    from bintally.simulation.run import simulate as run
    from bintally.simulation.settings import SimulationSettings

    if out is None:
        raise UsageError("Where should the simulated sites go?", hint="Say --out FOLDER.")
    asked: dict[str, Any] = {"days": days, "bins": bins, "seeds": seeds, "first_seed": seed}
    report = run(
        settings=SimulationSettings.asked(settings, {name: each for name, each in asked.items() if each is not None}),
        out=out,
        data=data,
        split=split,
        bundle=bundle,
        keep=keep,
        workers=workers,
        progress=progress_for(json_output=json),
    )
    if json:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "SimulationReport") -> None:
    """The figures of each arm, on stderr."""
    from rich.table import Table

    from bintally.simulation.words import ARM_WORDS, ROWS, interval, losses, told

    out = console()
    settings = report.settings
    title = f"{len(report.seeds)} sites of {settings['bins']} bins, {settings['days']} days; photos: {report.bank}"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("")
    for arm in report.arms:
        table.add_column(ARM_WORDS[arm.arm], justify="right")
    for row in ROWS:
        cells = [
            (told(arm.figures[row.name], row.kind), interval(arm.figures[row.name], row.kind)) for arm in report.arms
        ]
        title = f"{row.title}, {settings['money']['currency']}" if row.kind == "money" else row.title
        table.add_row(title, *(f"[bold]{value}[/]\n[dim]{ends}[/]" if ends else value for value, ends in cells))
    out.print(table)
    for sentence in losses(report):
        out.print(f"[yellow]{sentence}[/]")
    out.print(f"[dim]{report.report}[/]")
