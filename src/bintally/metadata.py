"""A bin's stock record as the Amazon Bin Image Dataset publishes it: one metadata JSON a photo, read and written.

Source: the dataset's page (registry.opendata.aws/amazon-bin-imagery) and the published files: `BIN_FCSKU_DATA`
{ASIN: `asin`, `name`, `quantity`, `height|length|width` {unit "IN", value}, `weight` {unit "pounds", value}} and
`EXPECTED_QUANTITY`, which is the recorded count, the label. Names, lengths and weights can be null or left out.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from bintally.errors import DataError
from bintally.records import BinRecord, Product


class Metadata(msgspec.Struct, frozen=True):
    """What a metadata file says, as far as it can be made sense of; `problems` says what can't."""

    expected_quantity: int | None
    products: tuple[Product, ...] = ()
    problems: tuple[str, ...] = ()

    def record(self, bin_image_id: str) -> BinRecord:
        """The stock record of a bin.

        Raises:
            DataError: the file told no count.
        """
        if self.expected_quantity is None:
            raise DataError(f"The metadata of bin {bin_image_id!r} tells no count: {'; '.join(self.problems)}.")
        return BinRecord(bin_image_id, self.expected_quantity, self.products)


def parse_metadata(data: bytes) -> Metadata:
    """A metadata file's content; never fails, since what is wrong with one file is for `check` to judge."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Metadata(None, problems=(f"no JSON: {error}",))
    if not isinstance(document, dict):
        return Metadata(None, problems=("no JSON object",))
    quantity = whole(document.get("EXPECTED_QUANTITY"))
    problems = [] if quantity is not None else [f"EXPECTED_QUANTITY is {_shown(document, 'EXPECTED_QUANTITY')}"]
    contents = document.get("BIN_FCSKU_DATA")
    if not isinstance(contents, dict):
        return Metadata(quantity, (), (*problems, f"BIN_FCSKU_DATA is {_shown(document, 'BIN_FCSKU_DATA')}"))
    products = []
    for asin, entry in contents.items():
        product = _product(asin, entry)
        if product is None:
            problems.append(f"product {asin} has no quantity that is a whole number")
        else:
            products.append(product)
    return Metadata(quantity, tuple(products), tuple(problems))


def metadata_json(record: BinRecord) -> bytes:
    """A record as a metadata file of the dataset's shape; `parse_metadata` reads it back."""
    contents = {
        product.asin: {
            "asin": product.asin,
            "height": _measure(product.height_in, "IN"),
            "length": _measure(product.length_in, "IN"),
            "name": product.name,
            "normalizedName": product.name,
            "quantity": product.quantity,
            "weight": _measure(product.weight_lb, "pounds"),
            "width": _measure(product.width_in, "IN"),
        }
        for product in record.products
    }
    document = {"BIN_FCSKU_DATA": contents, "EXPECTED_QUANTITY": record.recorded_count}
    return json.dumps(document, indent=4, sort_keys=True, ensure_ascii=False).encode()


def _product(asin: str, entry: Any) -> Product | None:
    if not isinstance(entry, dict) or (quantity := whole(entry.get("quantity"))) is None:
        return None
    lengths = (_value(entry, side) for side in ("height", "length", "width", "weight"))
    return Product(asin, str(entry.get("name") or ""), quantity, *lengths)


def _value(entry: Mapping[str, Any], side: str) -> float | None:
    measure = entry.get(side)
    value = measure.get("value") if isinstance(measure, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None


def _measure(value: float | None, unit: str) -> dict[str, Any] | None:
    return None if value is None else {"unit": unit, "value": value}


def whole(value: Any) -> int | None:
    """A count: a whole number from 0 on that fits the manifest; None for anything else (true and "3" are no counts)."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _shown(document: Mapping[str, Any], key: str) -> str:
    return repr(document[key])[:40] if key in document else "missing"
