"""The part of `bintally simulate` with `--robots`: a fleet as load for a running service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import console, emit_json, progress_for
from bintally.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from bintally.simulation.robots.ramp import RampReport, Round
    from bintally.simulation.robots.report import FleetReport

_PANEL = "Robots as load"

RobotsOption = Annotated[
    int | None,
    typer.Option("--robots", help="Let so many robots have photos counted by a service.", rich_help_panel=_PANEL),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="The service. Default, without --mqtt: http://127.0.0.1:8080.", rich_help_panel=_PANEL),
]
KeyOption = Annotated[
    str | None, typer.Option("--key", envvar="BINTALLY_KEY", help="API key of the service.", rich_help_panel=_PANEL)
]
MqttOption = Annotated[
    str | None,
    typer.Option(
        "--mqtt",
        envvar="BINTALLY_MQTT",
        help="Broker that the service takes photos from; with --url, every other robot publishes.",
        metavar="URL",
        rich_help_panel=_PANEL,
    ),
]
TopicOption = Annotated[
    str, typer.Option("--topic", help="First level of the service's topics.", rich_help_panel=_PANEL)
]
PhotosOption = Annotated[
    Path | None,
    typer.Option("--photos", help="Photos to send; default: rendered ones.", metavar="FOLDER", rich_help_panel=_PANEL),
]
MinutesOption = Annotated[float, typer.Option("--minutes", help="Length of the drive.", rich_help_panel=_PANEL)]
WarmUpOption = Annotated[
    float, typer.Option("--warm-up", help="First seconds, which are not measured.", rich_help_panel=_PANEL)
]
EveryOption = Annotated[
    float | None,
    typer.Option("--every", help="Mean seconds between photos of a robot.  [default: 5]", rich_help_panel=_PANEL),
]
RateOption = Annotated[
    float | None, typer.Option("--rate", help="The same as photos/s of a robot.", rich_help_panel=_PANEL)
]
TravelOption = Annotated[
    str,
    typer.Option("--travel", help="Times between photos: exponential (random) or fixed.", rich_help_panel=_PANEL),
]
BinCodesOption = Annotated[
    Path | None,
    typer.Option(
        "--bin-codes",
        help="Bins of the service's ledger (`bintally ledger export bins FILE`); default: none are named.",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
BinSiteOption = Annotated[str | None, typer.Option("--bin-site", help="Their site.", rich_help_panel=_PANEL)]
MixOption = Annotated[
    str | None,
    typer.Option(
        "--mix",
        help="Shares of photos: duplicates=0.02,late=0.02,batches=0.01,damaged=0.001,dropouts=0.005.",
        rich_help_panel=_PANEL,
    ),
]
PatienceOption = Annotated[
    float, typer.Option("--patience", help="Seconds after which a photo is lost.", rich_help_panel=_PANEL)
]
RampOption = Annotated[
    bool, typer.Option("--ramp", help="Find the largest fleet within --limit-ms.", rich_help_panel=_PANEL)
]
LimitOption = Annotated[float, typer.Option("--limit-ms", help="With --ramp: what p99 may be.", rich_help_panel=_PANEL)]


def simulate_robots(
    *,
    robots: int,
    url: str | None,
    key: str | None,
    mqtt: str | None,
    topic: str,
    photos: Path | None,
    minutes: float,
    warm_up: float,
    every: float | None,
    rate: float | None,
    travel: str,
    bin_codes: Path | None,
    bin_site: str | None,
    mix: str | None,
    patience: float,
    ramp: bool,
    limit_ms: float,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Lets the fleet drive and shows what came of it; exit code 1 where an answer was lost or doubled."""
    from bintally.simulation.robots import run
    from bintally.simulation.robots.bins import read_bins

    shared: dict[str, Any] = {
        "robots": robots,
        "url": url,
        "mqtt": mqtt,
        "topic": topic,
        "key": key,
        "photos": photos,
        "every_s": _every_s(every, rate),
        "travel": travel,
        "bins": () if bin_codes is None else read_bins(bin_codes),
        "site": bin_site,
        "mix": shares_of(mix),
        "seed": seed,
    }
    progress = progress_for(json_output=as_json)
    if ramp:
        found = run.largest_fleet(
            limit_ms=limit_ms, on_round=lambda each: None if as_json else show_round(each), **shared
        )
        _end(found, as_json=as_json, show=show_ramp, is_exact=found.is_exact)
        return
    report = run.simulate_robots(
        minutes=minutes, warm_up_s=warm_up, patience_s=patience, out=out, progress=progress, **shared
    )
    _end(report, as_json=as_json, show=show_drive, is_exact=report.is_exact)


def _end(report: Any, *, as_json: bool, show: Any, is_exact: bool) -> None:
    from bintally.records import to_plain

    if as_json:
        emit_json(to_plain(report))
    else:
        show(report)
    if not is_exact:
        raise typer.Exit(1)


def show_drive(report: "FleetReport") -> None:
    """A drive's figures, on stderr."""
    from rich.markup import escape
    from rich.table import Table

    from bintally.simulation.robots.page import rows

    out = console()
    exact = "[green]every photo was answered, once[/]" if report.is_exact else "[red]answers were lost or doubled[/]"
    table = Table(title=f"{report.robots:,} robots: {exact}", title_justify="left", show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in rows(report):
        is_bad = name in ("lost", "counted twice", "another's answer") and text != "0"
        table.add_row(name, f"[red]{escape(text)}[/]" if is_bad else escape(text))
    out.print(table)
    for code, hint in report.hints.items():
        if report.unexpected_refusals and not (code == "bad_photo" and report.expected_refusals):
            out.print(f"[yellow]{escape(f'{code}: {hint}')}[/]")
    for sentence in report.cautions:
        out.print(f"[yellow]{sentence}[/]")
    if report.examples:
        out.print(f"[red]{escape(', '.join(report.examples))}[/]")
    if report.page:
        out.print(f"[dim]{escape(report.page)}[/]")


def show_round(each: "Round") -> None:
    """One drive of a ramp, as it ends."""
    from bintally.simulation.robots.page import milliseconds

    ended = "[green]carried[/]" if each.is_carried else f"[red]{each.why}[/]"
    console().print(
        f"{each.robots:>6,} robots  {each.counted_per_s:>7,.1f} photos/s  p50 {milliseconds(each.p50_ms):>9}  "
        f"p99 {milliseconds(each.p99_ms):>9}  generator {each.cpu:>4.0%}  {ended}"
    )


def show_ramp(report: "RampReport") -> None:
    """The largest fleet."""
    console().print(f"[bold]{report.robots:,} robots[/] are carried with p99 within {report.limit_ms:,.0f} ms.")
    if report.is_generator_the_limit:
        console().print("[yellow]This generator could ask no more: the service may carry a larger fleet.[/]")


def shares_of(mix: str | None) -> dict[str, float]:
    """The shares that `--mix` names.

    Raises:
        UsageError: not of the form NAME=SHARE,..., or an unknown name.
    """
    from bintally.simulation.robots.settings import Mix

    shares = {}
    for part in filter(None, (mix or "").split(",")):
        name, _, share = part.partition("=")
        if name.strip() not in Mix.model_fields:
            raise UsageError(f"--mix {name!r} is not known.", hint=did_you_mean(name.strip(), Mix.model_fields))
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise UsageError(f"--mix {part!r} has no share.", hint="Such as --mix duplicates=0.05,late=0.") from None
    return shares


def _every_s(every: float | None, rate: float | None) -> float:
    if every is not None and rate is not None:
        raise UsageError("--every and --rate say the same.", hint="Leave one of them out.")
    if rate is not None:
        if not rate > 0:
            raise UsageError("--rate must be above 0.", hint="Such as --rate 0.2: a photo in 5 seconds.")
        return 1 / rate
    return 5.0 if every is None else every
