"""`bintally check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for

if TYPE_CHECKING:
    from bintally.data.check import CheckReport


def check(
    data: Annotated[Path, typer.Argument(help="Folder with a manifest, made by `bintally fetch`.")],
    dark_below: Annotated[float, typer.Option(help="Mean luma (0-255) under which a photo is called dark.")] = 40.0,
    blurred_below: Annotated[float, typer.Option(help="Sharpness under which a photo is called blurred.")] = 6.0,
    near_duplicate_bits: Annotated[
        int, typer.Option(help="Bits of 64 in which the hashes of near duplicates may differ.")
    ] = 3,
    workers: Annotated[int | None, typer.Option(help="Processes that look at photos; all cores if left out.")] = None,
    json_output: Json = False,
) -> None:
    """Looks at every photo and record: which can't be used, which are odd, and why.

    Nothing is moved or deleted: DATA/checked.parquet has a row for each photo with its size, brightness, sharpness and
    what was found, DATA/check.json the numbers.

    Example: `bintally check data/sample`
    """
    from bintally.data import check as stage
    from bintally.records import to_plain

    settings = stage.CheckSettings.of(
        {"dark_below": dark_below, "blurred_below": blurred_below, "near_duplicate_bits": near_duplicate_bits}
    )
    report = stage.check(data=data, workers=workers, settings=settings, progress=progress_for(json_output=json_output))
    if json_output:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "CheckReport") -> None:
    """What was found, as a table on stderr."""
    from rich.table import Table

    from bintally.data.reasons import QUARANTINE, WARNINGS

    table = Table(title=f"{report.usable:,} of {report.photos:,} photos can be used", title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    table.add_column("photos", justify="right")
    table.add_column("what it means")
    table.add_column("for example", style="dim")
    for style, found, meanings in (("red", report.reasons, QUARANTINE), ("yellow", report.warnings, WARNINGS)):
        for name, photos in found.items():
            table.add_row(f"[{style}]{name}[/]", f"{photos:,}", meanings[name], ", ".join(report.examples[name][:3]))
    console().print(table)
    console().print(
        f"{report.quarantined:,} set aside (red), {report.warned:,} stay in with a warning (yellow), "
        f"{report.without_record:,} without a record; in {report.table}"
    )
