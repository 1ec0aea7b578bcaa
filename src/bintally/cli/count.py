"""`bintally count`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import emit_json, progress_beside_rows, say_model
from bintally.errors import UsageError

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
    previous: Annotated[
        str | None, typer.Option(help="An earlier photo of the same bin; with it, one photo is counted.")
    ] = None,
    previous_count: Annotated[
        int | None, typer.Option(min=0, help="The count that the earlier photo was confirmed to show.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Many photos with earlier ones: a CSV file with columns path, previous, previous_count."),
    ] = None,
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

    An earlier photo of the same bin, best with its confirmed count, tells far more than a photo alone; `unchanged` is
    then the probability that the count is still the same.

    Example: `bintally count bins/ --counts 1-5 --out counts.jsonl`

    Example: `bintally count new.jpg --previous earlier.jpg --previous-count 4`
    """
    if csv and (as_json or out):
        raise UsageError("--csv goes with neither --json nor --out.", hint="--out FILE.csv writes CSV into a file.")
    for_people = not (csv or as_json)
    report = _counted(
        photos or [],
        from_file,
        previous,
        previous_count,
        pairs,
        bundle=bundle,
        counts=counts,
        out=out,
        to=None if out else sys.stdout,
        style="csv" if csv else "jsonl" if as_json else "table",
        batch_size=batch_size,
        progress=progress_beside_rows(rows_on_stdout=out is None, machine=not for_people),
    )
    if out and as_json:
        from bintally.records import to_plain

        emit_json(to_plain(report))
    if for_people:
        _say(report)
    if report.failed:
        raise typer.Exit(1)


def _counted(
    photos: list[str],
    from_file: Path | None,
    previous: str | None,
    previous_count: int | None,
    pairs: Path | None,
    **how: Any,
) -> "CountReport":
    """Photos alone, one beside an earlier one, or a list of both."""
    if pairs is not None:
        if photos or from_file or previous is not None or previous_count is not None:
            raise UsageError(
                "--pairs names all photos by itself.", hint="Leave out the photos, --from-file and --previous."
            )
        from bintally.counting.pair_lines import count_pairs_file

        return count_pairs_file(pairs=pairs, **how)
    if previous is not None:
        if len(photos) != 1 or from_file:
            raise UsageError(
                "--previous goes with one photo.", hint="For many, list photos and earlier ones: --pairs FILE.csv."
            )
        from bintally.counting.pair_lines import count_beside

        return count_beside(photo=photos[0], previous=previous, previous_count=previous_count, **how)
    if previous_count is not None:
        raise UsageError("--previous-count needs the photo it is of.", hint="Add --previous PHOTO.")
    from bintally.counting.batch import count as count_photos

    return count_photos(photos=photos, listed=from_file, **how)


def _say(report: "CountReport") -> None:
    """Totals, where there are several photos, and the model's licence."""
    if report.photos > 1:
        done = f" ({report.resumed:,} of them before)" if report.resumed else ""
        sys.stderr.write(
            f"{report.photos:,} photos{done}: {report.counted:,} counted, {report.abstained:,} abstained from,"
            f" {report.failed:,} unreadable; {report.photos_per_s:,.1f} photos/s.\n"
        )
    say_model(report.model, report.licence)
