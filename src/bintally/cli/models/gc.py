"""`bintally models gc`: old versions' bundles go, and what lies about."""

from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.cli.models.named import By, RegistryOption, acting, opened

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.registry.retention.collect import Collected


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what goes and what stays, and why.")] = False,
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Remove old versions' bundles and predictions, old pairs of shadows, and what kills have left.

    Versions, their cards and their history stay. What an alias, a shadow under way, a running service or a rollback
    needs stays, too; registry.toml's [retention] says what else.

    Example: `bintally models gc --dry-run`
    """
    from bintally.records import to_plain
    from bintally.registry.retention.collect import gc as collect

    with opened(registry) as held:
        found = collect(held, by=acting(by), dry_run=dry_run)
    if json_output:
        emit_json({**to_plain(found), "bytes": found.bytes})
    else:
        _show(found)


def _show(found: "Collected") -> None:
    out = console()
    if found.is_dry and found.stays:
        out.print(_stays(found))
        out.print()
    if not found.goes:
        out.print("There is nothing to remove.")
        return
    out.print(_goes(found))
    amount = f"[bold]{found.bytes / 1e6:,.1f} MB[/]"
    if found.is_dry:
        out.print(f"{amount} would go; without --dry-run they do.")
    else:
        out.print(f"{amount} removed. Of {len(found.stays)} versions the bundles stay; [cyan]--dry-run[/] says why.")


def _stays(found: "Collected") -> "Table":
    from rich.markup import escape

    table = _table("stays", "why", "MB")
    for each in found.stays:
        table.add_row(each.version, escape(each.why), f"{each.bytes / 1e6:,.1f}")
    return table


def _goes(found: "Collected") -> "Table":
    from rich.markup import escape

    table = _table("goes" if found.is_dry else "gone", "", "why", "MB")
    for each in found.goes:
        name = f"{each.what[:40]}…" if len(each.what) > 41 else each.what
        retired = " [yellow]retired[/]" if each.what in found.retired else ""
        table.add_row(
            f"[red]{escape(name)}[/]{retired}", f"[dim]{each.kind}[/]", escape(each.why), f"{each.bytes / 1e6:,.1f}"
        )
    return table


def _table(*names: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="right" if name == "MB" else "left", no_wrap=name != "why")
    return table
