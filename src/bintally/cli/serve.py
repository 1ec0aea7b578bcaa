"""`bintally serve`: the page and the API."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.records import to_plain

if TYPE_CHECKING:
    from bintally.serving.operation.check import CheckReport

_MODEL: Final = "The model"
_DOOR: Final = "Who may ask, and how"
_BINS: Final = "Bins that are known"
_KEPT: Final = "What is kept"


def serve(
    bundle: Annotated[
        Path | None, typer.Argument(help="Folder of the model, champion or fast; default: champion.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.  [default: 8080]")] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.  [default: 127.0.0.1]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port, each with a model.  [default: 1]")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of photos the page offers; default: rendered ones.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Cores each worker counts with; default: all, shared out.", rich_help_panel=_MODEL),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of models to load by name (/models).", rich_help_panel=_MODEL),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Public key; only models it signed are loaded; repeatable.", rich_help_panel=_MODEL
        ),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(metavar="PLACE", help="Registry whose champion is served, and followed.", rich_help_panel=_MODEL),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The registry's model.  [default: bintally]", rich_help_panel=_MODEL),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Alias that is followed.  [default: champion]", rich_help_panel=_MODEL),
    ] = None,
    max_slower: Annotated[
        float | None,
        typer.Option(help="Versions so many times as slow are refused.  [default: 3]", rich_help_panel=_MODEL),
    ] = None,
    shadow: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT", help="Photos the challenger counts, too; default: as it says.", rich_help_panel=_MODEL
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="API keys of `bintally keys`.", rich_help_panel=_DOOR)
    ] = None,
    require_keys: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="always, never or auto: unless on loopback.", rich_help_panel=_DOOR),
    ] = None,
    max_photo_mb: Annotated[
        int | None, typer.Option(help="Largest photo taken, in MB.  [default: 20]", rich_help_panel=_DOOR)
    ] = None,
    allow_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="Host that photos may be fetched from by URL; repeatable.", rich_help_panel=_DOOR
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Broker to take photos from: mqtt://HOST.", rich_help_panel=_DOOR),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Ledger whose bins are followed: file, folder, URL.", rich_help_panel=_BINS),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Policy that records are judged by.", rich_help_panel=_BINS)
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of what outlives the service.", rich_help_panel=_KEPT),
    ] = None,
    capture: Annotated[
        float | None, typer.Option(help="Percent of requests that are captured.  [default: 0]", rich_help_panel=_KEPT)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only try everything a start needs, count one photo, and say what is wrong.")
    ] = False,
    sagemaker: Annotated[
        bool,
        typer.Option("--sagemaker", help="Be a SageMaker container: /opt/ml/model, port 8080, IAM instead of keys."),
    ] = False,
    json_output: Json = False,
) -> None:
    """Serves a page where a photo is dropped and counted, and an API for machines, until Ctrl-C.

    Machines send a photo to /v1/counts, as it is (Content-Type: image/jpeg) or in JSON; /openapi.json says how.
    What no option says is read from BINTALLY_SERVE_... variables; docs/serving.md lists them, and more settings.

    Example: `bintally serve --port 8080`

    Example: `bintally serve fast --host 0.0.0.0 --workers 2 --check`

    Example: `bintally serve --registry models/`
    """
    options = {
        "bundle": bundle,
        "port": port,
        "host": host,
        "workers": workers,
        "samples": samples,
        "threads": threads,
        "models": models,
        "trust": trust,
        "registry": registry,
        "registry_model": model,
        "registry_alias": alias,
        "max_slower": max_slower,
        "shadow": shadow,
        "keys": keys,
        "require_keys": require_keys,
        "max_photo_mb": max_photo_mb,
        "allow_url": allow_url,
        "mqtt": mqtt,
        "ledger": ledger,
        "policy": policy,
        "state": state,
        "capture": capture,
        "sagemaker": sagemaker or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if check:
        _check(given, json_output=json_output)
    else:
        _serve(given, json_output=json_output)


def _serve(given: dict[str, Any], *, json_output: bool) -> None:
    from bintally.serving import server

    def ready(serving: server.Serving) -> None:
        if json_output:
            emit_json(to_plain(serving))
            return
        if not sys.stderr.isatty():  # a log, which says it in its own way
            return
        console().print(f"Counting with [bold]{serving.model}[/] ([dim]{serving.licence}[/])")
        console().print(f"[bold]{serving.url}[/]  until Ctrl-C")

    server.serve(on_ready=ready, **given)


def _check(given: dict[str, Any], *, json_output: bool) -> None:
    from bintally.serving.operation.check import check

    report = check(**given)
    if json_output:
        emit_json(to_plain(report))
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: "CheckReport") -> None:
    from rich.table import Table

    title = "The service can start" if report.ok else "The service can't start like this"
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    for each in report.checks:
        mark = "[green]ok[/]" if each.ok else "[red]no[/]"
        table.add_row(mark, each.name, f"{each.said} {each.hint}".strip())
    console().print(table)
