"""`bintally models shadow`: a version counts live photos beside the champion, unheard; and what that tells."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, SiteOption, console, emit_json
from bintally.cli.models.named import By, Model, Reason, RegistryOption, acting, opened
from bintally.errors import UsageError
from bintally.records import to_plain

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bintally.registry.shadow.running import Running
    from bintally.registry.versions import Version

app = typer.Typer(help="A version counts live photos beside the champion, unheard.", no_args_is_help=True)


@app.command()
def start(
    version: Annotated[str, typer.Argument(help="A number, MODEL/NUMBER or an alias.")],
    share: Annotated[
        float, typer.Option(metavar="PERCENT", help="Of the live photos that it counts, too; services may differ.")
    ] = 10.0,
    model: Model = "bintally",
    reason: Reason = "",
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Makes a version the challenger: services that follow the registry count some of their photos with it, too.

    Nobody hears its answers, and no request waits for them. Pairs of both answers are kept in the registry's folder.

    Example: `bintally models shadow start bintally/7 --share 10 --reason "better on test"`
    """
    from bintally.registry import shadow

    with opened(registry) as held:
        begun = shadow.start(held, version, model=model, percent=share, by=acting(by), reason=reason)
    if json_output:
        emit_json(_told(begun))
    else:
        console().print(_words(begun))


@app.command()
def stop(
    model: Model = "bintally",
    reason: Reason = "",
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Ends the shadow: there is no challenger any more. What was paired stays.

    Example: `bintally models shadow stop`
    """
    from bintally.registry import shadow

    with opened(registry) as held:
        ended = shadow.stop(held, model=model, by=acting(by), reason=reason)
    if json_output:
        emit_json({"version": ended.name})
    else:
        console().print(f"[bold]{ended.name}[/] is the challenger no more.")


@app.command()
def show(
    version: Annotated[
        str | None, typer.Argument(help="The challenger; default: of the shadow that is under way, or was last.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="The champion beside it; default: that of today, or then.")
    ] = None,
    confirmed: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV or JSON lines: count, and photo_sha256, request_id or bin_image_id."),
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Ledger whose reviewers counted some of the photos.")
    ] = None,
    site: SiteOption = None,
    model: Model = "bintally",
    registry: RegistryOption = None,
    json_output: Json = False,
) -> None:
    """What the pairs tell: how often both agree, where they differ, and, where somebody counted, who is right.

    Example: `bintally models shadow show`

    Example: `bintally models shadow show bintally/7 --confirmed counts.csv`
    """
    from bintally.registry.shadow.confirmed import confirmed_figures
    from bintally.registry.shadow.figures import figures_of
    from bintally.registry.shadow.pairs import folder_of, read_pairs
    from bintally.registry.shadow.running import under_way

    with opened(registry) as held:
        with held.read() as connection:
            challenger, champion = _sides(connection, model, version, against)
            running = under_way(connection, model)
        kept = read_pairs(folder_of(held.place, challenger.id, champion.id))
    figures = figures_of(kept, challenger=challenger.name, champion=champion.name)
    counts = _counts(confirmed, ledger, site)
    judged = None if counts is None else confirmed_figures(kept.pairs, counts)
    if json_output:
        told = None if running is None else _told(running)
        emit_json({"under_way": told, "figures": to_plain(figures), "confirmed": to_plain(judged)})
        return
    from bintally.cli.models.shadow_tables import show_confirmed, show_figures

    out = console()
    out.print("No shadow is under way." if running is None else _words(running))
    show_figures(out, figures)
    if judged is not None:
        show_confirmed(out, judged)


def _sides(connection: "Connection", model: str, version: str | None, against: str | None) -> "tuple[Version, Version]":
    """Challenger and champion."""
    from bintally.registry.aliases import CHAMPION
    from bintally.registry.shadow.running import last, under_way
    from bintally.registry.versions import version_of

    running, before = under_way(connection, model), last(connection, model)
    known = (running.challenger, running.champion) if running is not None else before
    if version is None:
        if known is None:
            raise UsageError(
                f"No version of {model} was in the shadow yet.",
                hint="`bintally models shadow start VERSION` begins.",
            )
        challenger, champion = known
    else:
        challenger = version_of(connection, version, model=model)
        pair = next((pair for pair in (known, before) if pair is not None and pair[0].id == challenger.id), None)
        champion = version_of(connection, against or CHAMPION, model=model) if pair is None else pair[1]
    return challenger, champion if against is None else version_of(connection, against, model=model)


def _counts(confirmed: Path | None, ledger: str | None, site: str | None) -> dict[str, int] | None:
    """Confirmed counts by what photos are called; None: nobody named any."""
    if confirmed is None and ledger is None:
        return None
    counts = {} if ledger is None else _of_ledger(ledger, site)
    if confirmed is not None:
        from bintally.registry.shadow.confirmed import read_confirmed

        counts |= read_confirmed(confirmed)
    return counts


def _of_ledger(place: str, site: str | None) -> dict[str, int]:
    from bintally.inventory.ledger import Ledger, site_of
    from bintally.inventory.review.labels import labels

    with Ledger.open(place) as ledger, ledger.read() as connection:
        found = labels(connection, site_of(connection, site))
    return {label.photo_sha256: label.count for label in found if label.count is not None}


def _words(running: "Running") -> str:
    from rich.markup import escape

    who = running.by + (f" ({running.reason})" if running.reason else "")
    return (
        f"[bold]{running.challenger.name}[/] counts {running.percent:g}% of the photos in the shadow of "
        f"[bold]{running.champion.name}[/] since {running.since:%Y-%m-%d %H:%M} UTC, started by {escape(who)}."
    )


def _told(running: "Running") -> dict[str, object]:
    return {
        "challenger": running.challenger.name,
        "champion": running.champion.name,
        "percent": running.percent,
        "since": running.since.isoformat(),
        "by": running.by,
        "reason": running.reason,
    }
