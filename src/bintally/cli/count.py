"""`bintally count`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import emit_json, progress_for
from bintally.errors import UsageError
from bintally.progress import Progress

if TYPE_CHECKING:
    from bintally.counting.batch import CountReport


def count(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Photos, folders, patterns, http(s) URLs, or - for one photo on stdin.", show_default=False
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", "--model", help="champion, fast, or a model's folder (else $BINTALLY_BUNDLE, else champion)."
        ),
    ] = None,
    counts: Annotated[str | None, typer.Option(help="Choose from these counts only, e.g. 1-5 or 0,2,6+.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this .jsonl or .csv file; run again to go on where a kill stopped it.")
    ] = None,
    from_file: Annotated[Path | None, typer.Option(help="A file with a photo's path or URL a line.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=16, help="Photos in one inference.")] = 8,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout, a row a photo.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON estimate a line on stdout; with --out, one JSON summary.")
    ] = False,
) -> None:
    """Counts the items in photos of bins and says how sure it is.

    `sure` is the probability of the count, `likely` the set of counts the true one is among as often as the model's
    card promises. `--json` prints one estimate a line (with `--out`: one summary). The exit code is 1 when a photo
    could not be read; the others are counted all the same.

    Example: `bintally count bins/ --counts 1-5 --out counts.jsonl`
    """
    if csv and (as_json or out):
        raise UsageError("--csv goes with neither --json nor --out.", hint="--out FILE.csv writes CSV into a file.")
    from bintally.counting.batch import count as count_photos

    for_people = not (csv or as_json)
    report = count_photos(
        photos=photos or [],
        listed=from_file,
        bundle=bundle,
        counts=counts,
        out=out,
        to=None if out else sys.stdout,
        style="csv" if csv else "jsonl" if as_json else "table",
        batch_size=batch_size,
        progress=_progress(rows_on_stdout=out is None, machine=not for_people),
    )
    if out and as_json:
        from bintally.records import to_plain

        emit_json(to_plain(report))
    if for_people:
        _say(report)
    if report.failed:
        raise typer.Exit(1)


def _progress(*, rows_on_stdout: bool, machine: bool) -> Progress:
    """A bar where it helps: never between rows on one screen, never in the log of a machine."""
    if rows_on_stdout or machine:
        return progress_for(json_output=not sys.stderr.isatty() or (rows_on_stdout and sys.stdout.isatty()))
    return progress_for(json_output=False)


def _say(report: "CountReport") -> None:
    """Totals, where there are several photos, and the model's licence."""
    if report.photos > 1:
        done = f" ({report.resumed:,} of them before)" if report.resumed else ""
        sys.stderr.write(
            f"{report.photos:,} photos{done}: {report.counted:,} counted, {report.abstained:,} abstained from,"
            f" {report.failed:,} unreadable; {report.photos_per_s:,.1f} photos/s.\n"
        )
    restricted = " (non-commercial)" if "-NC" in report.licence and "commercial" not in report.licence else ""
    sys.stderr.write(f"Model {report.model}, weights: {report.licence}{restricted}.\n")
