"""`bintally serve`: the page and the API."""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.records import to_plain


def serve(
    bundle: Annotated[
        Path | None, typer.Argument(help="Folder of the model, champion or fast; default: champion.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    allow_url: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Host that photos may be fetched from by URL; repeatable.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of photos the page offers; default: rendered ones.")
    ] = None,
    max_photo_mb: Annotated[int, typer.Option(help="Largest photo taken, in MB.")] = 20,
    json_output: Json = False,
) -> None:
    """Serves a page where a photo is dropped and counted, and an API for machines, until Ctrl-C.

    Machines send a photo to /invocations, as it is (Content-Type: image/jpeg) or in JSON; /openapi.json says how.

    Example: `bintally serve --port 8080`
    """
    from bintally.serving import server

    def ready(serving: server.Serving) -> None:
        if json_output:
            emit_json(to_plain(serving))
            return
        console().print(f"Counting with [bold]{serving.model}[/] ([dim]{serving.licence}[/])")
        console().print(f"[bold]{serving.url}[/]  until Ctrl-C")

    server.serve(
        bundle=bundle,
        host=host,
        port=port,
        allow_url=allow_url or (),
        samples=samples,
        max_photo_mb=max_photo_mb,
        on_ready=ready,
    )
