"""What somebody says is in a bin, as it comes: product -> quantity, or ABID's metadata with names and measures.

```
{"B005LZT9CO": 1, "B013S9P6UI": 2}
{"BIN_FCSKU_DATA": {"B005LZT9CO": {"name": ..., "quantity": 1, "height": {"unit": "IN", "value": 2.8}, ...}}, ...}
```
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bintally.errors import DataError, UsageError
from bintally.metadata import parse_metadata, whole
from bintally.records import Product

_SHOULD = 'It should read {"product": quantity, ...}, or be a metadata file with BIN_FCSKU_DATA.'


class StockRecord(msgspec.Struct, frozen=True):
    """The products a bin is said to hold. `name`: what the record goes by."""

    products: tuple[Product, ...]
    name: str | None = None

    @property
    def items(self) -> int:
        """The count the record says."""
        return sum(product.quantity for product in self.products)


def read_record(record: "StockRecord | Mapping[str, Any] | Path | str | bytes") -> StockRecord:
    """A record from a dict, from JSON, or from a JSON file's path.

    Raises:
        UsageError: there is no such file.
        DataError: no record of either form.
    """
    if isinstance(record, StockRecord):
        return record
    if isinstance(record, Mapping):
        return _parsed(dict(record), None)
    if isinstance(record, bytes) or (isinstance(record, str) and record.lstrip().startswith("{")):
        return _parsed(_decoded(record, "The record"), None)
    path = Path(record)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"The record {path} can't be read: {reason}.", hint="Name a file, or give the JSON itself."
        ) from error
    return _parsed(_decoded(data, str(path)), str(path))


def _decoded(data: bytes | str, name: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DataError(f"{name} is no JSON: {error}.", hint=_SHOULD) from error
    if not isinstance(document, dict):
        raise DataError(f"{name} is no JSON object.", hint=_SHOULD)
    return document


def _parsed(document: dict[str, Any], name: str | None) -> StockRecord:
    if "BIN_FCSKU_DATA" not in document:
        return StockRecord(tuple(_product(asin, quantity) for asin, quantity in document.items()), name)
    try:
        metadata = parse_metadata(msgspec.json.encode(document))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:  # a dict of what no JSON can hold
        raise DataError(f"{name or 'The record'} can't be understood: {error}.", hint=_SHOULD) from error
    # The total may be left out of a record; what it holds may not be unclear.
    if problems := [problem for problem in metadata.problems if not problem.startswith("EXPECTED_QUANTITY")]:
        raise DataError(f"{name or 'The record'} can't be understood: {'; '.join(problems)}.", hint=_SHOULD)
    return StockRecord(metadata.products, name)


def _product(asin: Any, quantity: Any) -> Product:
    if not isinstance(asin, str):
        raise DataError(f"The record's product {asin!r} is no string.", hint=_SHOULD)
    if (number := whole(quantity)) is None:
        raise DataError(f"The record's quantity of {asin!r} is {quantity!r}, no whole number from 0 on.", hint=_SHOULD)
    return Product(asin, "", number)
