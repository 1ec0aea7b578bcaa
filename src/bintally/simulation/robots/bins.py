"""Codes of the ledger's bins, as `bintally ledger export bins bins.csv` writes them."""

import csv
from pathlib import Path
from typing import Final

from bintally.errors import DataError

_COLUMN: Final = "bin"


def read_bins(path: Path) -> tuple[str, ...]:
    """The codes in a file: the column `bin` of a CSV, or else the first word of each line, before a comma.

    Raises:
        DataError: it can't be read, or has none.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} can't be read: {getattr(error, 'strerror', None) or error}.",
            hint="`bintally ledger export bins bins.csv` writes such a file.",
        ) from None
    has_header = bool(rows) and _COLUMN in rows[0]
    place = rows[0].index(_COLUMN) if has_header else 0
    codes = [row[place].strip() for row in rows[has_header:] if len(row) > place]
    found = tuple(dict.fromkeys(code for code in codes if code))
    if not found:
        raise DataError(f"There is no bin in {path}.", hint="`bintally ledger export bins bins.csv` writes them.")
    return found
