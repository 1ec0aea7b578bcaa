"""`bintally models init` and `register`."""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.cli.models.named import By, Model, Reason, RegistryOption, acting, opened, plain


def init(
    place: Annotated[Path, typer.Argument(help="Folder of the registry, which services and pipelines can reach.")],
    by: By = None,
    json_output: Json = False,
) -> None:
    """Make a registry, or bring an older one up to date. One that was lost is not made anew.

    Its database is a file in the folder, unless the folder's registry.toml names another.

    Example: `bintally models init /srv/models`
    """
    from bintally.registry.place import Registry

    with Registry.open(place, create=True, by=acting(by)) as registry:
        told = {"place": str(registry.place), "database": registry.database.name}
    if json_output:
        emit_json(told)
    else:
        from rich.markup import escape

        place_, database = escape(told["place"]), escape(told["database"])
        console().print(f"Registry [bold]{place_}[/], database {database}.", soft_wrap=True)


def register(
    bundle: Annotated[str, typer.Argument(help="Folder of the bundle, or champion or fast.")],
    run: Annotated[
        Path | None, typer.Option(help="Folder of its training: recipe, findings, time, what it learnt from.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="That training's data folder; default: beside the run.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder of `bintally evaluate --out`, for its card.")] = None,
    model: Model = "bintally",
    reason: Reason = "",
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Check a bundle, copy it into the registry, and write it down as the model's next version; log its run to MLflow.

    The same bundle again is the version it was.

    Example: `bintally models register runs/first/bundle --run runs/first/run`
    """
    from bintally.bundle import find_bundle
    from bintally.registry import tracking
    from bintally.registry.registration import register as registered

    folder, who, run_id, not_logged = find_bundle(bundle), acting(by), None, None
    with opened(registry) as held:
        if run is not None:
            run_id, not_logged = tracking.try_log(held, run, bundle=folder, report=report, model=model, by=who)
        told = registered(
            held, folder, model=model, by=who, run=run, data=data, report=report, run_id=run_id, reason=reason
        )
    if json_output:
        emit_json({"is_new": told.is_new, "not_logged": not_logged, **plain(told.version)})
        return
    out = console()
    was = "registered" if told.is_new else "was registered before"
    out.print(f"[bold]{told.version.name}[/] {was}: {told.version.state}.")
    if told.version.state == "Retired":
        out.print(f"To use it again: [cyan]bintally models approve {told.version.name}[/]")
    if run_id:
        out.print(f"Its training is logged as {run_id}.")
    if not_logged:
        from rich.markup import escape

        out.print(f"Its training is not logged to MLflow: {escape(not_logged)}. `bintally models log` does it later.")
    if run is None:
        out.print("[yellow]Without --run nobody knows what it learnt from: gates will not let it through.[/]")
