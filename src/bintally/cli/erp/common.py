"""What all verbs of `bintally erp` share: which connection, and how spans of time and corrections are told."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import MOST_NUMBER
from bintally.errors import UsageError

if TYPE_CHECKING:
    from bintally.inventory.erp.protocol import Line

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="The connection; needed where there are several.")]
Number = Annotated[
    int, typer.Argument(metavar="ID", max=MOST_NUMBER, help="The posting's number: `bintally erp dead-letters`.")
]
Note = Annotated[str, typer.Option("--note", help="Why, for whoever reads it later.")]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str) -> float:
    """A time span such as 30s, 5m, 1h or 90, in seconds.

    Raises:
        UsageError: it is none.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise UsageError(f"{text!r} is no time to wait.", hint="Write it like 30s, 5m or 1h; a day at most.")
    return seconds


def lines_words(lines: "Iterable[Line]") -> str:
    """A correction, product by product."""
    return ", ".join(f"{line.product or 'in all'} {line.before} -> {line.after}" for line in lines)


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment is, roughly."""
    if moment is None:
        return "never"
    seconds = max((now - moment).total_seconds(), 0.0)
    for size, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {word} ago"
    return "just now"


def shown(moment: datetime) -> str:
    """A moment, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
