"""`bintally split`: train, val and test that don't leak into each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for

if TYPE_CHECKING:
    from bintally.data.split import SplitReport


def split(
    data: Annotated[Path, typer.Argument(help="The data folder.", metavar="FOLDER")],
    how: Annotated[
        str,
        typer.Option(
            help="grouped: photos of one bin over time stay together. given: the split that came with the source. "
            "auto: given where there is one, else grouped. random_that_leaks: photo by photo, to show what that does."
        ),
    ] = "grouped",
    fractions: Annotated[
        str, typer.Option(help="Train/val/test, e.g. 70/20/10 or 80/10/10; two parts (80/20) are train/val.")
    ] = "70/20/10",
    seed: Annotated[int, typer.Option(help="The same seed and photos give the same split.")] = 0,
    counts: Annotated[str | None, typer.Option(help="Counts that train must have photos of, e.g. 1-5.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Draw anew; else photos that were split here before stay where they were.")
    ] = False,
    json: Json = False,
) -> None:
    """Splits photos into train, val and test: bins whole, counts evenly mixed, and proven not to leak.

    Writes FOLDER/split.parquet, and the report with the leakage proof to FOLDER/split.json.

    Example: `bintally split data --fractions 80/10/10`
    """
    from bintally.data.split import SplitConfig
    from bintally.data.split import split as run
    from bintally.records import to_plain

    values = {"how": how, "fractions": fractions, "seed": seed, "counts": counts, "fresh": fresh}
    config = SplitConfig.of({"data": data, **values})
    report = run(**config.model_dump(), progress=progress_for(json_output=json))
    if json:
        emit_json(to_plain(report))
    else:
        _show(report)


def _show(report: "SplitReport") -> None:
    from rich import box
    from rich.table import Table

    from bintally.records import COUNT_KEYS

    table = Table("split", "photos", "share", *COUNT_KEYS, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for name, sizes in report.sizes.items():
        photos = sum(sizes.values())
        table.add_row(name, f"{photos:,}", f"{photos / report.photos:.1%}", *(f"{size:,}" for size in sizes.values()))
    out = console()
    out.print(table)
    out.print(f"{report.photos:,} photos of {report.groups:,} bins ({report.how}); {report.left_out:,} not used.")
    if report.since.kept:
        out.print(f"{report.since.kept:,} of them stayed where they were.")
    out.print(f"Leakage proof: {report.leakage.sentence()}.")
    for name, share in report.leakage.seen_in_train.items():
        out.print(f"{share:.1%} of {name}'s photos show a bin that train has too.")
    for warning in report.warnings:
        out.print(f"[bold red]{warning}[/]" if "LEAKS" in warning else f"[yellow]{warning}[/]")
    out.print(f"[dim]{report.path}[/]")
