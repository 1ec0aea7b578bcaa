"""Which columns a file of each kind has.

| kind | must have | may have |
|---|---|---|
| bins | bin | |
| products | product (the SKU) | name, abc, unit, unit_value, height_in, length_in, width_in, weight_lb |
| records | bin, quantity, effective_at | product, unit, key, source, received_at |
| movements | bin, quantity, moved_at | product, unit, key, received_at |
| photos | photo (a path, from the file's folder on), bin, taken_at | |
| counts | bin, count, counted_at | product, note, key |

Times are ISO 8601, without an offset UTC. Lines of records that share bin, effective_at and key are one record, a
product each, and lines of counts that share bin and counted_at are one count; a line without a product tells a bin's
total. A line without a count was not counted: a plan can be worked off in its own file. `key` is the sender's own name
of a fact; without one it is known by its content. `received_at` is for moving a ledger: when the fact was first known
(else: now).
"""

from typing import Final, Literal, TypeAlias

from bintally.errors import DataError, did_you_mean

Kind: TypeAlias = Literal["bins", "products", "records", "movements", "photos", "counts"]

MEASURES: Final = ("unit_value", "height_in", "length_in", "width_in", "weight_lb")

REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "bins": ("bin",),
    "products": ("product",),
    "records": ("bin", "quantity", "effective_at"),
    "movements": ("bin", "quantity", "moved_at"),
    "photos": ("photo", "bin", "taken_at"),
    "counts": ("bin", "count", "counted_at"),
}
OPTIONAL: Final[dict[str, tuple[str, ...]]] = {
    "bins": (),
    "products": ("name", "abc", "unit", *MEASURES),
    "records": ("product", "unit", "key", "source", "received_at"),
    "movements": ("product", "unit", "key", "received_at"),
    "photos": (),
    "counts": ("product", "note", "key"),
}
MOMENT: Final = {"records": "effective_at", "movements": "moved_at"}
"""Each kind's time in the world."""


def columns_of(kind: Kind, header: list[str], name: str) -> tuple[list[str], tuple[str, ...]]:
    """The header's columns in our words, and those that say nothing to us.

    Raises:
        DataError: a column is missing, or there twice.
    """
    columns = [column.strip().lower().replace(" ", "_") for column in header]
    known = (*REQUIRED[kind], *OPTIONAL[kind])
    for column in known:
        if columns.count(column) > 1:
            raise DataError(f"{name} has several columns {column!r}.", hint="Leave one.")
    others = tuple(column for column in columns if column not in known)
    for column in REQUIRED[kind]:
        if column not in columns:
            near = f" {did_you_mean(column, others)}" if others else ""
            raise DataError(
                f"{name} has no column {column!r}.{near}",
                hint=f"Files of {kind} have {', '.join(REQUIRED[kind])}"
                + (f", and may have {', '.join(OPTIONAL[kind])}." if OPTIONAL[kind] else "."),
            )
    return columns, others
