"""What tells the Amazon Bin Image Dataset's photos and their counts apart: the course list, label tables.

Sources: the dataset's page (registry.opendata.aws/amazon-bin-imagery); the course list is `file_list.json` of Udacity's
"Inventory Monitoring at Distribution Centers", ids by count: {"1": ["data/metadata/100313.json", ...], ...}. Metadata
files: `bintally.metadata`.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

import msgspec

from bintally.errors import SourceError
from bintally.manifest import SPLITS
from bintally.metadata import whole

PHOTOS: Final = "bin-images"
METADATA: Final = "metadata"
LABELS: Final = "labels.csv"
LONGEST_ID: Final = 200  # bytes: a file name holds 255, with a suffix and room for the hidden name it is written under


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
            if whole(count) is None or not is_file_name(known):
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
    return whole(int(text)) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


def _put(labels: dict[str, Label], key: str, label: Label, where: str, problems: list[str]) -> None:
    """The first label of a key stays: a second one is told, not silently preferred."""
    if labels.setdefault(key, label) != label:
        problems.append(f"{where}: {key!r} stands twice with different values; the first counts")


def joined(problems: Iterable[str], *, shown: int = 3) -> str:
    """The first few of many problems in one sentence."""
    told = list(problems)
    more = f" and {len(told) - shown} more" if len(told) > shown else ""
    return "; ".join(told[:shown]) + more
