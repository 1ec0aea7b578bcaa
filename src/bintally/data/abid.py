"""The Amazon Bin Image Dataset's file formats, read and written: metadata JSON, the course list, label tables.

Sources: the dataset's page (registry.opendata.aws/amazon-bin-imagery) and the published metadata files:
`BIN_FCSKU_DATA` {ASIN: `asin`, `name`, `quantity`, `height|length|width` {unit "IN", value}, `weight` {unit "pounds",
value}} and `EXPECTED_QUANTITY`, which is the recorded count, the label. Names, lengths and weights can be null or left
out. The course list is `file_list.json` of Udacity's "Inventory Monitoring at Distribution Centers", ids by count:
{"1": ["data/metadata/100313.json", ...], ...}.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from bintally.errors import DataError, SourceError
from bintally.manifest import SPLITS
from bintally.records import BinRecord, Product

PHOTOS: Final = "bin-images"
METADATA: Final = "metadata"
LABELS: Final = "labels.csv"
LONGEST_ID: Final = 200  # bytes: a file name holds 255, with a suffix and room for the hidden name it is written under


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


class Label(msgspec.Struct, frozen=True):
    """What a list, a table or a folder's name tells about a photo, beside its metadata. None: it does not tell."""

    count: int | None = None
    source: str | None = None  # as the manifest's `count_source`
    group: str | None = None
    split: str | None = None
    encoding: str | None = None

    def or_else(self, other: "Label") -> "Label":
        """This label, its gaps filled from `other`."""
        teller = self if self.count is not None else other
        return Label(
            count=teller.count,
            source=teller.source,
            group=self.group or other.group,
            split=self.split or other.split,
            encoding=self.encoding or other.encoding,
        )


class Labels(msgspec.Struct, frozen=True):
    """A table of labels by id (or by path, for one's own photos), and what in it could not be used."""

    by_id: dict[str, Label] = {}
    problems: tuple[str, ...] = ()


def parse_metadata(data: bytes) -> Metadata:
    """A metadata file's content; never fails, since what is wrong with one file is for `check` to judge."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Metadata(None, problems=(f"no JSON: {error}",))
    if not isinstance(document, dict):
        return Metadata(None, problems=("no JSON object",))
    quantity = _whole(document.get("EXPECTED_QUANTITY"))
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


def parse_list(data: bytes, name: str) -> Labels:
    """A list of photos to fetch: the course's JSON of ids by count, or a CSV with at least an `id` column.

    Raises:
        SourceError: neither.
    """
    if not name.lower().endswith(".json"):
        return parse_labels(data, name, source="list", needs_count=False)
    try:
        by_count = msgspec.json.decode(data, type=dict[int, list[str]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{name} is no list of photos: {error}.",
            hint='It should read {"1": ["data/metadata/100313.json", ...], ...}.',
        ) from error
    labels: dict[str, Label] = {}
    problems: list[str] = []
    for count, paths in by_count.items():
        for path in paths:
            known = PurePosixPath(path).stem
            if _whole(count) is None or not is_file_name(known):
                problems.append(f"{name}: {path!r} with count {count} is no photo's")
                continue
            _put(labels, known, Label(count, "list"), name, problems)
    return Labels(labels, tuple(problems))


def parse_labels(
    data: bytes, name: str, *, key: str = "id", source: str = "labels", needs_count: bool = True
) -> Labels:
    """A CSV with the columns `key` and `count`, and `group`, `split`, `encoding` if it has them; others are ignored.

    A value that makes no sense is left out and told in `problems`.

    Raises:
        SourceError: no CSV, or a column is missing.
    """
    try:
        text = data.decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{name} can't be read as a CSV table: {error}.", hint="Save it as CSV in UTF-8.") from error
    columns = next(csv.reader(io.StringIO(text)), [])
    has = ", ".join(map(repr, columns)) or "none"
    lacking = [column for column in (key, "count") if column not in columns and (column == key or needs_count)]
    if lacking:
        raise SourceError(
            f"{name} has no column {' and '.join(map(repr, lacking))}; it has {has}.",
            hint=f"Its first line should read {key},count (and, if you have them, group,split,encoding).",
        )
    labels: dict[str, Label] = {}
    problems: list[str] = []
    for line, row in enumerate(rows, start=2):
        where = f"{name} line {line}"
        if not (row[key] or "").strip():
            problems.append(f"{where}: no {key}")
            continue
        if key == "id" and not is_file_name(row[key].strip()):
            problems.append(f"{where}: {row[key]!r} can't be an id: it is no file name")
            continue
        _put(labels, row[key].strip(), _label(row, source, where, problems), where, problems)
    return Labels(labels, tuple(problems))


def is_file_name(bin_image_id: str) -> bool:
    """Whether an id can name a file: an id never leads out of its folder."""
    fits = 0 < len(bin_image_id.encode()) <= LONGEST_ID
    return fits and not bin_image_id.startswith(".") and not set(bin_image_id) & set("/\\\0")


def _label(row: Mapping[str, str | None], source: str, where: str, problems: list[str]) -> Label:
    values = {name: (row.get(name) or "").strip() or None for name in ("count", "group", "split", "encoding")}
    count = _written_count(values["count"])
    if values["count"] and count is None:
        problems.append(f"{where}: count {values['count']!r} is no whole number")
    split = values["split"] if values["split"] in SPLITS else None
    if values["split"] and split is None:
        problems.append(f"{where}: split {values['split']!r} is none of {', '.join(SPLITS)}")
    told_by = source if count is not None else None
    return Label(count, told_by, values["group"], split, values["encoding"])


def _written_count(text: str | None) -> int | None:
    return _whole(int(text)) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


def _put(labels: dict[str, Label], key: str, label: Label, where: str, problems: list[str]) -> None:
    """The first label of a key stays: a second one is told, not silently preferred."""
    if labels.setdefault(key, label) != label:
        problems.append(f"{where}: {key!r} stands twice with different values; the first counts")


def _product(asin: str, entry: Any) -> Product | None:
    if not isinstance(entry, dict) or (quantity := _whole(entry.get("quantity"))) is None:
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


def _whole(value: Any) -> int | None:
    """A count: a whole number from 0 on that fits the manifest; None for anything else (true and "3" are no counts)."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _shown(document: Mapping[str, Any], key: str) -> str:
    return repr(document[key])[:40] if key in document else "missing"


def joined(problems: Iterable[str], *, shown: int = 3) -> str:
    """The first few of many problems in one sentence."""
    told = list(problems)
    more = f" and {len(told) - shown} more" if len(told) > shown else ""
    return "; ".join(told[:shown]) + more
