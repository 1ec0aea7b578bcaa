"""`bintally fetch`: photos and records in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json, progress_for
from bintally.records import to_plain

if TYPE_CHECKING:
    from bintally.data.fetch import FetchReport

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="abid, s3://BUCKET/PREFIX, gs://..., https://..., folder, CSV of path,count; or sample."
    ),
]


def fetch(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Data folder to fetch into.")] = Path("data"),
    list_file: Annotated[
        Path | None, typer.Option("--list", help="Only the photos of this file_list.json, or CSV with id,count.")
    ] = None,
    ids: Annotated[str | None, typer.Option(help="Only these ids: 00001-00500, or with commas. Zeros count.")] = None,
    counts: Annotated[str | None, typer.Option(help="Only photos with these recorded counts: 1-5, or 0,6+.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many, in order of ids.")] = None,
    photos: Annotated[int, typer.Option(help="Size of the rendered sample.")] = 2400,
    seed: Annotated[int, typer.Option(help="Seed of the rendered sample.")] = 0,
    endpoint: Annotated[
        str | None, typer.Option(help="Another S3 or GCS service; $AWS_ENDPOINT_URL says the same for S3.")
    ] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Ask a public bucket without credentials.")] = False,
    concurrency: Annotated[int, typer.Option(help="Objects asked for at the same time.")] = 64,
    retries: Annotated[int, typer.Option(help="How often a failed object is asked for again.")] = 5,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds after which an answer has failed.")] = 30.0,
    json_output: Json = False,
) -> None:
    """Fetch photos and their records into a data folder with a manifest.

    A fetch that was stopped, by a kill too, goes on where it was when the same command runs again. What can't be had is
    counted here and listed in OUT/fetch.json.

    Example: `bintally fetch abid --out data --list file_list.json --counts 1-5`
    """
    from bintally.data.fetch import fetch as run

    report = run(
        source=source,
        out=out,
        list_file=list_file,
        ids=ids,
        counts=counts,
        limit=limit,
        photos=photos,
        seed=seed,
        endpoint=endpoint,
        anonymous=anonymous,
        concurrency=concurrency,
        retries=retries,
        timeout_s=timeout_s,
        progress=progress_for(json_output=json_output),
    )
    if json_output:
        emit_json(to_plain(report))
    else:
        show(report)


def show(report: "FetchReport") -> None:
    """The report as a table for people."""
    from rich.table import Table

    table = Table(title=f"Fetched from {report.source}", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    rate = report.fetched / report.seconds if report.seconds else 0.0
    now = f"{report.fetched:,} ({report.bytes / 1e6:,.1f} MB in {report.seconds:,.1f} s, {rate:,.0f}/s)"
    left_out = f", {report.uncounted:,} left out" if report.uncounted else ""
    table.add_row("photos", f"{report.photos:,} of {report.asked:,} asked for")
    table.add_row("came now", now)
    table.add_row("already here", f"{report.reused:,}")
    table.add_row("missing, broken", f"{report.missing:,}, {report.broken:,}")
    table.add_row("without metadata", f"{report.without_metadata:,}")
    table.add_row("without a count", f"{report.without_count:,}{left_out}")
    table.add_row("contradictions, odd", f"{report.contradictions:,}, {report.odd:,}")
    table.add_row("by count", "  ".join(f"[bold]{key}[/]: {number:,}" for key, number in report.counts.items()))
    table.add_row("written", ", ".join(f"{report.folder}/{name}" for name in report.outputs))
    console().print(table)
