"""`bintally models list`, `show` and `history`."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.cli.models.named import Model, RegistryOption, VersionArgument, opened, plain

if TYPE_CHECKING:
    from rich.table import Table
    from sqlalchemy import Connection

    from bintally.registry.aliases import Change
    from bintally.registry.gate_runs import KeptRun
    from bintally.registry.versions import Version

_STATES = {"PendingManualApproval": "yellow", "Approved": "green", "Rejected": "red", "Retired": "dim"}


def list_(
    model: Annotated[str | None, typer.Option(help="Only of this model; default: all.")] = None,
    registry: RegistryOption = None,
    json_output: Json = False,
) -> None:
    """List all versions, the newest first, with their states and aliases.

    Example: `bintally models list`
    """
    from bintally.registry.versions import versions

    with opened(registry) as held, held.read() as connection:
        found = [
            (version, _aliases(connection, version), held.bundle_of(version.bundle_sha256).is_dir())
            for version in versions(connection, model)
        ]
    if json_output:
        emit_json(
            [{**plain(version), "aliases": aliases, "has_bundle": is_kept} for version, aliases, is_kept in found]
        )
    elif not found:
        console().print("No version yet: [cyan]bintally models register BUNDLE --run RUN[/]")
    else:
        console().print(_listed(found))


def show(
    version: VersionArgument,
    model: Model = "bintally",
    registry: RegistryOption = None,
    json_output: Json = False,
) -> None:
    """Show a version: where it comes from, what it was measured to do, what gates, people and services said of it.

    Example: `bintally models show champion`
    """
    from bintally.records import to_plain
    from bintally.registry.deployments import deployments
    from bintally.registry.gate_runs import gate_runs
    from bintally.registry.versions import version_of

    with opened(registry) as held, held.read() as connection:
        found = version_of(connection, version, model=model)
        aliases = _aliases(connection, found)
        gates = gate_runs(connection, found.id)
        taken = deployments(connection, version_id=found.id)
        is_kept = held.bundle_of(found.bundle_sha256).is_dir()
    if json_output:
        told = {"aliases": aliases, "has_bundle": is_kept, "gate_runs": to_plain(gates), "deployments": to_plain(taken)}
        emit_json({**plain(found), **told})
        return
    from rich.markup import escape

    out = console()
    out.print(_shown(found, aliases, is_kept=is_kept))
    if gates:
        out.print(_gates(gates[-1]))
    for each in taken[-3:]:
        said = escape(f"{each.service}: {each.outcome} {each.reason}")
        out.print(f"[dim]{_time(each.at)}[/] {said}", soft_wrap=True)


def history(
    alias: Annotated[str, typer.Option(help="Of which alias.")] = "champion",
    at: Annotated[datetime | None, typer.Option(help="Only the version it pointed to at that moment (UTC).")] = None,
    model: Model = "bintally",
    registry: RegistryOption = None,
    json_output: Json = False,
) -> None:
    """Which version was live when, who changed that, and why.

    Example: `bintally models history --at 2026-11-20T08:00:00`
    """
    from bintally.records import to_plain
    from bintally.registry.aliases import history as changes_of

    with opened(registry) as held, held.read() as connection:
        changes = changes_of(connection, model, alias)
        if not changes:
            _must_be_known(connection, model, alias)
    if at is not None:
        moment = at.replace(tzinfo=at.tzinfo or UTC)
        changes = [change for change in changes if change.at <= moment][-1:]
    if json_output:
        emit_json(to_plain(changes))
    elif not changes:
        console().print(f"The {alias} of {model} pointed to nothing" + (" then." if at else " yet."))
    else:
        console().print(_timeline(changes))


def _must_be_known(connection: "Connection", model: str, alias: str) -> None:
    from bintally.errors import UsageError, did_you_mean
    from bintally.registry.aliases import CHALLENGER, CHAMPION
    from bintally.registry.versions import no_model, versions

    if not versions(connection, model):
        raise no_model(connection, model)
    if alias not in (CHAMPION, CHALLENGER):
        raise UsageError(f"{model} has no alias {alias!r}.", hint=did_you_mean(alias, [CHAMPION, CHALLENGER]))


def _aliases(connection: "Connection", version: "Version") -> list[str]:
    from bintally.registry.aliases import pointing_to

    return pointing_to(connection, version)


def _listed(found: "list[tuple[Version, list[str], bool]]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("version", "", "state", "right on val", "MB", "registered"):
        table.add_column(name, justify="right" if name == "MB" else "left", no_wrap=name in ("version", "state"))
    for version, aliases, is_kept in found:
        colour = _STATES.get(version.state, "dim")
        table.add_row(
            f"[bold]{version.name}[/]",
            f"[green]{' '.join(aliases)}[/]",
            f"[{colour}]{version.state}[/]",
            _figure(version, "val", "accuracy"),
            f"{version.bundle_bytes / 1e6:.1f}" if is_kept else "[dim]removed[/]",
            f"{_time(version.registered_at)} {escape(version.registered_by)}",
        )
    return table


def _shown(version: "Version", aliases: list[str], *, is_kept: bool) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    card, recipe = version.card, version.lineage.get("recipe") or {}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=version.name, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "state": " ".join([version.state, *(f"[green]{alias}[/]" for alias in aliases)]),
        "model": escape(f"{card.name}, exported {card.created}, bintally {card.code_version}"),
        "recipe": escape(str(recipe.get("name", "not known"))),
        "data": escape(str(card.dataset.get("fingerprint", "not known"))[:20]),
        "right on val": _figure(version, "val", "accuracy"),
        "right on test": _figure(version, "test", "accuracy"),
        "bundle": f"{version.bundle_sha256} ({f'{version.bundle_bytes / 1e6:.1f} MB' if is_kept else 'removed'})",
        "registered": f"{_time(version.registered_at)} by {escape(version.registered_by)}",
        "licence": escape(card.licence),
    }
    for name, text in rows.items():
        table.add_row(f"[dim]{name}[/]", text)
    return table


def _gates(run: "KeptRun") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    verdict = "passed" if run.passed else "did not pass"
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title_justify="left")
    table.title = f"{verdict} its gates on {_time(run.at)}"
    for gate in run.body.get("gates", ()):
        mark = "[green]passed[/]" if gate["passed"] else "[red]failed[/]"
        table.add_row(gate["gate"], mark, escape(gate["reason"]))
    return table


def _timeline(changes: "list[Change]") -> "Table":
    """The changes, the newest first, each with how long it held."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("since (UTC)", "for", "version", "", "by", "why"):
        table.add_column(name, no_wrap=name != "why")
    until = datetime.now(UTC)
    for place, change in enumerate(reversed(changes)):
        held = max(until - change.at, timedelta())  # moments never go back, though a clock may
        version = change.version or "nothing"
        marked = f"[green]● {version}[/]" if place == 0 else f"│ {version}"
        table.add_row(
            _time(change.at),
            _lasted(held.total_seconds()),
            marked,
            change.kind,
            escape(change.by),
            escape(change.reason),
        )
        until = change.at
    return table


def _figure(version: "Version", split: str, name: str) -> str:
    judged = version.card.metrics.get(split)
    figure = None if judged is None else judged.figures.get(name)
    if judged is None or figure is None:
        return "[dim]not known[/]"
    blind = judged.blind.get(name)
    beside = "" if blind is None else f" [dim]blind {blind:.3f}[/]"
    return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f}){beside}"


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _lasted(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
