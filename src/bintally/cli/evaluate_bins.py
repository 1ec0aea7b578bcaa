"""`bintally evaluate-bins`: how good a bundle is at two photos of a bin, at bins over time, and at records."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for

if TYPE_CHECKING:
    from bintally.counting.bins_report import BinsReport


def evaluate_bins(
    bundle: Annotated[Path, typer.Argument(help="The bundle to judge: its folder, or champion.", metavar="BUNDLE")],
    data: Annotated[Path, typer.Option(help="The data folder, with its split.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option(help="Where bins.html, bins.json and pairs.parquet go.")],
    split: Annotated[str, typer.Option(help="train, val, test, or all: whatever their split.")] = "test",
    counts: Annotated[str, typer.Option(help="New counts asked about; pairs with others are left out.")] = "1-5",
    verification: Annotated[
        Path | None,
        typer.Option(
            help="Records to judge: a CSV with id, split, record_is_right, error, record (product -> quantity).",
            metavar="FILE",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of resampling and of the photos taken again.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval.")] = 2000,
    gallery: Annotated[int, typer.Option(help="Worst pairs shown; 0: no photos in the page.")] = 12,
    json: Json = False,
) -> None:
    """Judges what a bundle makes of two photos of a bin, of bins over time, and of stock records.

    Pairs are neighbours in a bin's photos, and the earlier one's recorded count is given. Whatever is measured stands
    beside an answer that never sees a photo. Writes a page to look at, its figures as JSON, and every pair's answer.

    Example: `bintally evaluate-bins champion --data data --out report --verification records.csv`
    """
    from bintally.counting.evaluate_bins import evaluate_bins as run
    from bintally.records import to_plain

    report = run(
        bundle=bundle,
        data=data,
        out=out,
        split=split,
        counts=counts,
        verification=verification,
        seed=seed,
        resamples=resamples,
        gallery=gallery,
        progress=progress_for(json_output=json),
    )
    if json:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "BinsReport") -> None:
    """The figures beside the blind ones, as tables on stderr."""
    from bintally.counting.evaluation_page import interval, number, percent

    out = console()
    if report.pairs is not None:
        out.print(_pairs(report))
        untouched = report.pairs.unchanged
        if untouched is not None:
            share = untouched.recognised.model
            out.print(f"Untouched bins recognised: [bold]{percent(share.value)}[/] ({interval(share)}).")
    if report.records is not None:
        for name, found in (
            ("with measures", report.records.with_measures),
            ("quantities alone", report.records.quantities_alone),
            ("blind", report.records.blind),
        ):
            out.print(
                f"Records, {name}: AUROC [bold]{number(found.auroc.value)}[/] ({interval(found.auroc, share=False)}), "
                f"right accepted {percent(found.accepted.value)} while 10% of the wrong ones escape."
            )
    for part in report.left_out:
        out.print(f"[yellow]Not judged: {part}.[/]")
    if report.unreadable:
        out.print(f"[bold red]{len(report.unreadable):,} photos could not be read and have no figures.[/]")
    out.print(f"[dim]{report.report}[/]")


def _pairs(report: "BinsReport") -> object:
    from rich.table import Table

    from bintally.counting.bins_page import pair_rows

    assert report.pairs is not None  # noqa: S101 - shown only where pairs were judged
    title = f"{report.subject.model}: {report.pairs.pairs:,} pairs of {report.pairs.bins:,} bins, new counts "
    table = Table(title=title + report.subject.counts, title_justify="left", box=None)
    for name in ("", "measured", "95% interval", "blind", "blind, told of a change"):
        table.add_column(name, justify="right" if name else "left")
    for row in pair_rows(report):
        table.add_row(row.title, f"[bold]{row.value}[/]", row.interval, row.blind, row.harder)
    return table
