"""`bintally evaluate`: how good a bundle is, on photos whose counts are recorded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for

if TYPE_CHECKING:
    from bintally.counting.report import EvaluationReport


def evaluate(
    bundle: Annotated[
        Path, typer.Argument(help="The bundle to judge: its folder, champion or fast.", metavar="BUNDLE")
    ],
    data: Annotated[Path, typer.Option(help="The data folder, with its split.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option(help="Where report.html, metrics.json and predictions.parquet go.")],
    split: Annotated[str, typer.Option(help="train, val, test, or all: whatever their split.")] = "test",
    counts: Annotated[str | None, typer.Option(help="Counts asked about, e.g. 1-5; others are left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of resampling: the same seed, the same intervals.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval.")] = 2000,
    gallery: Annotated[int, typer.Option(help="Worst mistakes shown; 0: no photos in the page.")] = 24,
    json: Json = False,
) -> None:
    """Judges a bundle through the path that serves: accuracy, calibration, slices, mistakes, all with intervals.

    Blind answers, which never look at a photo, are judged beside it. Writes a page to look at, its figures as JSON, and
    every photo's prediction for comparing two models pair by pair.

    Example: `bintally evaluate runs/baseline/bundle --data data --out report --counts 1-5`
    """
    from bintally.counting.evaluate import evaluate as run
    from bintally.records import to_plain

    report = run(
        bundle=bundle,
        data=data,
        out=out,
        split=split,
        counts=counts,
        seed=seed,
        resamples=resamples,
        gallery=gallery,
        progress=progress_for(json_output=json),
    )
    if json:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "EvaluationReport") -> None:
    """The headline figures beside the blind ones, as a table on stderr."""
    from rich.table import Table

    from bintally.counting.evaluation_page import TITLES, headline

    people, found = report.population, report.calibration
    title = (
        f"{report.subject.model}: {people.judged:,} photos of {people.groups:,} bins, counts {report.subject.counts}"
    )
    table = Table(title=title, title_justify="left", box=None)
    for name in ("", "measured", "95% interval", "blind (train)", "blind (hindsight)"):
        table.add_column(name, justify="right" if name else "left")
    for name in TITLES:
        row = headline(name, report)
        table.add_row(row.title, f"[bold]{row.value}[/]", row.interval, *row.blind)
    out = console()
    out.print(table)
    out.print(f"Calibration error {found.ece:.3f}; by chance alone up to {found.ece_if_calibrated:.3f}.")
    if people.abstained:
        out.print(f"[yellow]{people.abstained:,} photos were not taken for bins; they count all the same.[/]")
    if people.unreadable:
        out.print(f"[bold red]{people.unreadable:,} photos could not be read and have no figures.[/]")
    out.print(f"[dim]{report.report}[/]")
