"""`bintally follow`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.counting.event_lines import FollowedBin, FollowedEvent


def follow(
    events: Annotated[str, typer.Argument(help="A file with one event, a JSON object, a line; or - for stdin.")],
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with the site's error rates (docs/guide.md lists them).")
    ] = None,
    max_count: Annotated[int | None, typer.Option(help="More than any bin holds.  [default: 30]")] = None,
    coverage: Annotated[float | None, typer.Option(help="Total probability of `likely`.  [default: 0.9]")] = None,
    looking_back: Annotated[
        bool, typer.Option("--looking-back", help="Say of every moment what is known today, not what was known then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Follows the count of bins over photos, transactions and counts, and judges each transaction.

    `sure` is the probability of the count, `likely` the smallest set of counts that holds the true one with the
    coverage asked for, `as recorded` the probability that exactly the recorded items moved, given all events.
    Lines may stand in any order; `time` puts them where they belong, and `bin` tells bins apart.

    Example: `bintally follow events.jsonl`, where events.jsonl holds

        {"event": "counted", "time": 1, "count": 4}

        {"event": "picked", "time": 2, "quantity": 1}

        {"event": "photo", "time": 3, "id": "a.jpg", "probabilities": {"3": 0.7, "4": 0.3}}
    """
    from bintally.counting.event_lines import follow_file
    from bintally.records import to_plain

    report = follow_file(
        events=events, settings=settings, max_count=max_count, coverage=coverage, looking_back=looking_back
    )
    if as_json:
        emit_json(to_plain(report))
        return
    for each in report.bins:
        console().print(_table(each))


def _table(followed: "FollowedBin") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "time", "event", title=None if followed.bin is None else f"bin {escape(followed.bin)}", title_justify="left"
    )
    for heading in ("count", "sure", "expected"):
        table.add_column(heading, justify="right")
    table.add_column("likely")
    table.add_column("as recorded", justify="right")
    for event in followed.events:
        table.add_row(
            escape(f"{event.time:g}" if isinstance(event.time, float) else event.time),
            escape(_told(event)),
            str(event.count),
            f"{event.probability:.0%}",
            f"{event.expected_count:.1f}",
            " ".join(map(str, sorted(event.count_set))),
            "" if event.as_recorded is None else f"{event.as_recorded:.1%}",
        )
    return table


def _told(event: "FollowedEvent") -> str:
    """An event in words: "picked 2", "photo b.jpg, with the one before"."""
    if event.recorded is not None:
        quantity = f"{event.recorded:+d}" if event.event == "transaction" else str(abs(event.recorded))
        return f"{event.event} {quantity}"
    used = {"change": ", with the one before", "photo": "", None: ", tells nothing" * (event.event == "photo")}
    return f"{event.event}{f' {event.id}' if event.id else ''}{used[event.used]}"
