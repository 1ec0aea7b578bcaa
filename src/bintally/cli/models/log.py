"""`bintally models log`."""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.cli.models.named import By, Model, RegistryOption, acting, opened


def log(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a finished training; none: only versions and aliases.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="What was exported of it.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder of `bintally evaluate --out` on that bundle.")] = None,
    model: Model = "bintally",
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Tell MLflow of a training, once, and of all versions, states and aliases that it does not know yet.

    Example: `bintally models log runs/first/run --bundle runs/first/bundle --report runs/first/report`

    Example: `bintally models log`
    """
    from bintally.errors import UsageError
    from bintally.records import to_plain
    from bintally.registry import tracking

    if run is None and (bundle or report):
        raise UsageError("Which run are they of?", hint="Name the folder of the training, too.")
    who = acting(by)
    with opened(registry) as held:
        logged = None if run is None else tracking.log(held, run, bundle=bundle, report=report, model=model, by=who)
        mirrored = tracking.mirror(held, by=who)
    if json_output:
        emit_json({"run": to_plain(logged), **to_plain(mirrored)})
        return
    from rich.markup import escape

    out = console()
    if logged is not None:
        was = "logged" if logged.is_new else "was logged before"
        out.print(
            f"{escape(str(run))} {was} as [bold]{logged.run_id}[/], experiment {escape(logged.experiment)}.",
            soft_wrap=True,
        )
    for change in mirrored.changes:
        out.print(f"  {escape(change)}", soft_wrap=True)
    known = "knows of all versions and aliases" if mirrored.changes else "knew of all versions and aliases"
    out.print(f"MLflow ({escape(mirrored.where)}) {known}.", soft_wrap=True)
