"""`bintally verify`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import progress_beside_rows, say_model

if TYPE_CHECKING:
    from bintally.counting.verify_lines import VerifyReport


def verify(
    photo: Annotated[
        str | None, typer.Argument(help="The photo of a bin: a file, an http(s) URL or -.", show_default=False)
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(help='A JSON file, or the JSON itself: {"product": quantity, ...}, or metadata with measures.'),
    ] = None,
    previous: Annotated[str | None, typer.Option(help="An earlier photo of the same bin.")] = None,
    previous_count: Annotated[
        int | None, typer.Option(min=0, help="The count that the earlier photo was confirmed to show.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Many: a CSV file with columns path, record and, if wanted, previous, previous_count."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "--model", help="A model's name or folder (else $BINTALLY_BUNDLE, else champion)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON verdict a line on stdout.")] = False,
) -> None:
    """Says how likely a stock record is right, by a photo of the bin, and why.

    `right?` is that probability. An earlier photo, best with its count, tells far more than a photo alone. The exit
    code is 1 when a line of the CSV file could not be judged; the others are judged all the same.

    Example: `bintally verify bin.jpg --record record.json`, where record.json holds

        {"B005LZT9CO": 1, "B013S9P6UI": 2}
    """
    from bintally.counting.verify_lines import verify as verify_photos

    report = verify_photos(
        photo=photo,
        record=record,
        previous=previous,
        previous_count=previous_count,
        listed=csv,
        bundle=bundle,
        to=sys.stdout,
        style="jsonl" if as_json else "table",
        progress=progress_beside_rows(rows_on_stdout=True, machine=as_json),
    )
    if not as_json:
        _say(report)
    if report.failed:
        raise typer.Exit(1)


def _say(report: "VerifyReport") -> None:
    """Totals, where there are several records, and the model's licence."""
    if report.photos > 1:
        sys.stderr.write(
            f"{report.photos:,} records: {report.right:,} taken for right ({report.threshold:.0%} or more),"
            f" {report.wrong:,} for wrong, {report.abstained:,} abstained from, {report.failed:,} not judged.\n"
        )
    say_model(report.model, report.licence)
