"""`bintally models promote` and `rollback`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for
from bintally.cli.models.named import By, Model, Reason, RegistryOption, VersionArgument, acting, opened, plain

if TYPE_CHECKING:
    from bintally.progress import Progress
    from bintally.registry.gates import GateOutcome
    from bintally.registry.place import Registry
    from bintally.registry.promotion import Promotion
    from bintally.registry.rollback import Rollback


def promote(
    version: VersionArgument,
    data: Annotated[
        Path | None, typer.Option(help="Data folder with the frozen photos; default: the gates' last word counts.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe whose [promote] says what gates want.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Whatever the gates say; --reason is kept.")] = False,
    model: Model = "bintally",
    reason: Reason = "",
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Make a version the champion, if the gates let it; exit code 1 where it was not promoted.

    Example: `bintally models promote bintally/3 --data runs/first/data`

    Example: `bintally models promote bintally/3 --force --reason "the gates judged photos of the old camera"`
    """
    from bintally.registry.promotion import promote as promoted
    from bintally.registry.promotion import promoting
    from bintally.registry.versions import version_of

    who = acting(by)
    with opened(registry) as held:
        with held.read() as connection:
            found = version_of(connection, version, model=model)
        with promoting(held, found.model, by=who) as turn:
            progress = progress_for(json_output=json_output)
            gates = None if data is None else _judged(held, found.name, data, recipe, progress)
            told = promoted(
                held, found.name, gates=gates, force_reason=reason if force else None, turn=turn, by=who, reason=reason
            )
    if json_output:
        emit_json(_told(told, gates))
    else:
        _show(told, gates)
    if not told.promoted:
        raise typer.Exit(1)


def rollback(
    to: Annotated[str | None, typer.Option(help="An earlier champion; default: the last one that can be used.")] = None,
    of: Annotated[str | None, typer.Option(help="Only if this is the champion.")] = None,
    model: Model = "bintally",
    reason: Reason = "",
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Make the champion before this one the champion again. Services that follow take it within seconds.

    Example: `bintally models rollback --reason "it counts shadows"`
    """
    from bintally.registry.rollback import rollback as rolled_back

    with opened(registry) as held:
        told = rolled_back(held, model=model, to=to, of=of, by=acting(by), reason=reason)
    if json_output:
        emit_json({"before": told.before.name, **plain(told.version), "skipped": told.skipped})
    else:
        _show_rollback(told)


def _judged(registry: "Registry", name: str, data: Path, recipe: Path | None, progress: "Progress") -> "GateOutcome":
    """What the gates say of a version beside today's champion."""
    from bintally.registry import gates
    from bintally.registry.aliases import CHAMPION, alias_target
    from bintally.registry.versions import by_id, version_of

    with registry.read() as connection:
        version = version_of(connection, name)
        target = alias_target(connection, version.model, CHAMPION)
        champion = None if target is None else by_id(connection, target)
    settings = None if recipe is None else gates.PromoteSettings.of_recipe(recipe)
    return gates.run(registry, version, champion, data, settings, progress=progress)


def _told(promotion: "Promotion", gates: "GateOutcome | None") -> dict[str, object]:
    from bintally.records import to_plain

    return {
        "promoted": promotion.promoted,
        "why": promotion.why,
        "before": promotion.before and promotion.before.name,
        **plain(promotion.version),
        "gates": None if gates is None else to_plain(gates),
    }


def _show(promotion: "Promotion", gates: "GateOutcome | None") -> None:
    from rich.markup import escape
    from rich.table import Table

    out = console()
    if gates is not None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for gate in gates.gates:
            table.add_row(gate.gate, "[green]passed[/]" if gate.passed else "[red]failed[/]", escape(gate.reason))
        out.print(table)
    if promotion.promoted:
        before = f", after {promotion.before.name}" if promotion.before and promotion.change_id else ""
        out.print(f"[green]{promotion.version.name} is the champion[/]{before}: {escape(promotion.why)}")
    else:
        out.print(f"[bold red]Not promoted:[/] {escape(promotion.why)}")


def _show_rollback(told: "Rollback") -> None:
    from rich.markup import escape

    out = console()
    out.print(f"[green]{told.version.name} is the champion again[/], after {told.before.name}.")
    for name, why in told.skipped.items():
        out.print(f"  [dim]not {name}: {escape(why)}[/]", soft_wrap=True)
