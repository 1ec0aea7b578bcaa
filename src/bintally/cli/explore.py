"""`bintally explore`."""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for


def explore(
    data: Annotated[Path, typer.Argument(help="Folder with a manifest, made by `bintally fetch`.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; DATA/explore.html if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the photos shown.")] = 0,
    photos_per_count: Annotated[int, typer.Option(help="Random photos of each count.")] = 8,
    json_output: Json = False,
) -> None:
    """Draws one page of what is in a data folder: counts, photos, products, bins over time, what check found.

    The page needs no other file and no network; send it to whoever should see it.

    Example: `bintally explore data/sample`
    """
    from bintally.data import explore as stage
    from bintally.records import to_plain

    settings = stage.ExploreSettings.of({"seed": seed, "photos_per_count": photos_per_count})
    report = stage.explore(data=data, out=out, settings=settings, progress=progress_for(json_output=json_output))
    if json_output:
        emit_json(to_plain(report))
        return
    counts = "  ".join(f"[bold]{key}[/]: {photos:,}" for key, photos in report.counts.items())
    console().print(f"photos by count  {counts}")
    console().print(f"{report.bins:,} bins, {report.products:,} products")
    console().print(f"Look at [bold]{report.page}[/] ({report.page_bytes / 1e6:.1f} MB)")
