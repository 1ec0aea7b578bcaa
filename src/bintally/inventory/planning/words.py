"""Why a bin is planned, in words, the weightiest first."""

from collections.abc import Iterator
from typing import Any

from bintally.inventory.planning.candidates import COUNT, OVERDUE


def reasons_of(row: dict[str, Any], currency: str) -> tuple[str, ...]:
    """The reasons of a row of `choose`'s table."""
    return tuple(_reasons(row, currency))


def is_kept(row: dict[str, Any]) -> bool:
    """Whether that look was planned before and not done."""
    return bool(row["planned"] == row["look"] or (row["planned"] == OVERDUE and row["look"] == COUNT))


def percent(share: float) -> str:
    """A share with two digits, such as 4.2%."""
    return "<0.1%" if 0.0 < share < 0.001 else f"{100 * share:.2g}%" if share < 0.995 else f"{100 * share:.3g}%"


def _reasons(row: dict[str, Any], currency: str) -> Iterator[str]:
    if row["why"] == OVERDUE:
        yield _overdue(row)
    yield f"wrong with {percent(row['wrong'])}: {_since(row)}"
    yield f"an error here costs {row['loss']:,.2f} {currency}"
    if row["why"] != OVERDUE and row["overdue"] >= 1.0:
        yield _overdue(row)
    if is_kept(row):
        yield "planned before and not done"
    if row["worth"] <= 0.0 and row["why"] != OVERDUE:
        yield "worth less than it costs: nothing better was left"


def _overdue(row: dict[str, Any]) -> str:
    every = f"class {row['abc']} is counted every {row['due_days']:.0f} days"
    if row["days_since_count"] is None:
        return f"{every}, and nobody has counted it yet"
    return f"{every}, and the last count is {_days(row['days_since_count'])} old"


def _since(row: dict[str, Any]) -> str:
    counted, seen = row["days_since_count"], row["days_since_photo"]
    moves = f"{row['moves_since']:,} movement{'s'[: row['moves_since'] != 1]}"
    if counted is not None and (seen is None or row["right"] is None or counted <= seen):
        return f"{moves} in the {_days(counted)} since it was counted"
    if row["right"] is None:
        return f"nobody has looked at it yet, {moves}"
    ago = "" if seen is None else f" {_days(seen)} ago"
    return f"{percent(1.0 - row['right'])} by the photo{ago}, {moves} since"


def _days(days: float) -> str:
    whole = int(days)
    return f"{whole:,} day{'s'[: whole != 1]}"
