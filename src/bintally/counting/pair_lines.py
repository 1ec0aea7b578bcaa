"""Photos counted beside earlier photos of their bins, listed in a CSV file: a line a photo.

```
path,previous,previous_count
today/a.jpg,yesterday/a.jpg,4      the earlier photo was confirmed to show 4
today/b.jpg,yesterday/b.jpg,       only what the earlier photo looks like
today/c.jpg,,                      the photo alone
```
"""

import csv
import os
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.counting.ahead import Decoded, decoded_ahead
from bintally.counting.batch import CountConfig, CountReport, written
from bintally.counting.counter import Counter
from bintally.counting.inputs import STDIN, expand, id_of, is_url
from bintally.counting.output import shown
from bintally.counting.writers import Style
from bintally.errors import DataError, ModelError, UsageError
from bintally.progress import SILENT, Progress
from bintally.records import CountEstimate

COLUMNS: Final = ("path", "previous", "previous_count")

_WHOLE: Final = re.compile(r"(\d{1,9})(\.0*)?", re.ASCII)
"""Spreadsheets and data frames write 4 as 4.0 where a column has empty cells."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A photo and, where there is one, an earlier photo of its bin. `path` and `previous` are as they were written."""

    path: str
    previous: str | None = None
    previous_count: int | None = None
    places: tuple[str, ...] = ()  # where the photo and the earlier one are
    problem: str | None = None  # why there can be no answer, beside unreadable photos


def count_pairs_file(
    *,
    pairs: Path | str,
    bundle: Path | str | None = None,
    counts: str | None = None,
    out: Path | str | None = None,
    to: TextIO | None = None,
    style: Style = "jsonl",
    batch_size: int = 8,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> CountReport:
    """Counts the photos of a CSV file beside the earlier ones it names, into the file `out` or onto the stream `to`.

    A path that is not there as it stands is looked for beside the CSV file. What can't be read gets a line with
    `error`; the others are counted.

    Raises:
        UsageError: the file can't be read, or an `out` that holds results of another model or other counts.
        DataError: the file lacks a column, or has no line.
        ModelError: the model can't be used, or does not compare photos.
        StorageError: disk full, or no permission.
    """
    config = _config(bundle=bundle, counts=counts, out=out, style=style, batch_size=batch_size, workers=workers)
    path = Path(pairs)
    return _count(config, [pair_of(cells, path.parent) for cells in read_rows(path, COLUMNS)], to, progress)


def count_beside(
    *,
    photo: Path | str,
    previous: Path | str,
    previous_count: int | None = None,
    bundle: Path | str | None = None,
    counts: str | None = None,
    out: Path | str | None = None,
    to: TextIO | None = None,
    style: Style = "jsonl",
    batch_size: int = 8,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> CountReport:
    """Counts one photo beside an earlier one, as `count_pairs_file` does many; `Counter.count` hands on the estimate.

    Raises:
        UsageError: a photo that does not exist or is not one photo, a count below 0.
        ModelError: the model can't be used, or does not compare photos.
        StorageError: disk full, or no permission.
    """
    config = _config(bundle=bundle, counts=counts, out=out, style=style, batch_size=batch_size, workers=workers)
    pair = one_pair(photo, previous, previous_count)
    if out is not None and STDIN in pair.places:
        raise UsageError("A photo from stdin has no name to resume by.", hint="Leave out --out and redirect with >.")
    return _count(config, [pair], to, progress)


def one_pair(photo: Path | str, previous: Path | str | None, previous_count: int | None) -> Pair:
    """The pair of two named photos, or of one alone.

    Raises:
        UsageError: a photo does not exist or is not one photo; a count below 0, or without its photo.
    """
    if previous is None:
        if previous_count is not None:
            raise UsageError("A previous count needs the photo it is of.", hint="Add --previous PHOTO.")
        place = _one(photo)
        return Pair(path=place, places=(place,))
    if previous_count is not None and previous_count < 0:
        raise UsageError(f"A previous count of {previous_count} is below 0.", hint="A bin holds 0 items or more.")
    places = (_one(photo), _one(previous))
    if places == (STDIN, STDIN):
        raise UsageError("Only one photo can come from stdin.", hint="Name the other one's file.")
    return Pair(path=places[0], previous=places[1], previous_count=previous_count, places=places)


Cells: TypeAlias = Mapping[str | None, Any]
"""A line of a CSV file by column: strings; at None, those that stand beyond the header."""


def read_rows(file: Path, columns: Sequence[str]) -> list[Cells]:
    """The lines of a CSV file with a header; a missing cell is an empty one.

    Raises:
        UsageError: the file can't be read.
        DataError: it is no CSV, lacks one of `columns`, or has no line below its header.
    """
    header = ",".join(columns)
    try:
        # A spreadsheet starts the file with a byte-order mark; a path need not be UTF-8.
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            reader = csv.DictReader(text, restval="", skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows: list[Cells] = list(reader)
    except OSError as error:
        raise UsageError(f"The list {file} can't be read: {error.strerror}.", hint="Look at the path.") from error
    except csv.Error as error:
        raise DataError(f"{file} is no CSV: {error}.", hint=f"Its first line should read {header}.") from error
    if lacking := [name for name in columns if name not in reader.fieldnames]:
        raise DataError(
            f"{file} lacks the column{'s'[: len(lacking) > 1]} {', '.join(lacking)}.",
            hint=f"Its first line should read {header}.",
        )
    if not rows:
        raise DataError(f"{file} has no line below its header.", hint="Write a line a photo.")
    return rows


def pair_of(cells: Cells, folder: Path) -> Pair:
    """The pair that a line of a CSV file names; `folder` is where the file is. What is wrong stands in `problem`."""
    path, previous, text = cells["path"], cells.get("previous", ""), cells.get("previous_count", "").strip()
    named = [name for name in (path, previous) if name.strip()]
    problem, whole = None, _WHOLE.fullmatch(text)
    if any(cell.strip() for cell in cells.get(None, ())):
        problem = "This line has more cells than the header; a comma in a name needs quotes around it."
    elif not path.strip():
        problem = "path: There is no photo."
    elif text and not whole:
        problem = f"previous_count: {text[:40]!r} is no whole number from 0 on."
    elif text and not previous.strip():
        problem = "previous_count: It needs the photo it is of, in `previous`."
    elif STDIN in named:
        problem = f"{'path' if path == STDIN else 'previous'}: No line can have its photo from stdin."
    return Pair(
        path=path,
        previous=previous if previous.strip() else None,
        previous_count=int(whole[1]) if whole and previous.strip() else None,
        places=() if problem else tuple(place_of(name, folder) for name in named),
        problem=problem,
    )


def place_of(name: str, folder: Path) -> str:
    """Where a file named in a list is: as it stands, else beside the list, which is in `folder`."""
    beside = str(folder / name)
    # Path.exists raises where a name is too long or a folder may not be looked into.
    exists = os.path.exists
    return beside if not is_url(name) and not exists(name) and exists(beside) else name


def places_of(pair: Pair) -> tuple[str, ...]:
    """The photos to decode for a pair: none where there can be no answer anyhow."""
    return pair.places


def error_of(pair: Pair, photos: Sequence[Decoded]) -> str | None:
    """Why there is no answer to a pair, naming the photo or cell at fault; None: there is one."""
    unreadable = [f"{name}: {photo.error}" for name, photo in zip(COLUMNS, photos, strict=False) if photo.error]
    return pair.problem or " ".join(unreadable) or None


def stacked(photos: Sequence[Decoded]) -> NDArray[np.uint8]:
    """The pixels [N, H, W, 3] of photos that could be read."""
    return np.stack([photo.pixels_hwc for photo in photos if photo.pixels_hwc is not None])


def _one(name: Path | str) -> str:
    """The one photo that `name` names.

    Raises:
        UsageError: none, a folder, or a pattern of several.
    """
    found = [] if Path(name).is_dir() else expand([name])
    if len(found) != 1:
        raise UsageError(
            f"{name} is not one photo.", hint="A photo is held against one earlier photo; --pairs FILE.csv lists many."
        )
    return found[0]


def _config(**values: Any) -> CountConfig:
    paths = {name: None if values[name] is None else Path(values[name]) for name in ("bundle", "out")}
    return CountConfig.of(values | paths)


def _count(config: CountConfig, pairs: Sequence[Pair], to: TextIO | None, progress: Progress) -> CountReport:
    counter = Counter(config.bundle, counts=config.counts)
    if counter.card.change is None and any(pair.previous is not None for pair in pairs):
        raise ModelError(
            f"The model {counter.card.name!r} does not compare photos.",
            hint="Use one that does, or count the new photos alone.",
        )
    return written(
        config,
        counter,
        pairs,
        missing=lambda results: results.missing(pairs),
        answers=_batches,
        to=to,
        progress=progress,
        pairs=True,
    )


def _batches(counter: Counter, pairs: Sequence[Pair], batch_size: int, workers: int) -> Generator[list[CountEstimate]]:
    with closing(decoded_ahead(pairs, places_of, counter.card, batch_size=batch_size, workers=workers)) as batches:
        for batch in batches:
            yield _estimates(counter, batch)


def _estimates(counter: Counter, batch: Sequence[tuple[Pair, Sequence[Decoded]]]) -> list[CountEstimate]:
    errors = [error_of(pair, photos) for pair, photos in batch]
    answers = {
        place: CountEstimate(error=shown(error), model=counter.card.name, previous_count=batch[place][0].previous_count)
        for place, error in enumerate(errors)
        if error
    }
    for photos, answer in ((1, _alone), (2, _beside)):
        places = [place for place, row in enumerate(batch) if place not in answers and len(row[1]) == photos]
        if places:
            answers |= zip(places, answer(counter, [batch[place] for place in places]), strict=True)
    return [_named(pair, answers[place]) for place, (pair, _) in enumerate(batch)]


def _alone(counter: Counter, rows: Sequence[tuple[Pair, Sequence[Decoded]]]) -> list[CountEstimate]:
    photos = [photo for _, [photo] in rows]
    return counter.count_pixels(stacked(photos), decode_ms=[photo.decode_ms for photo in photos])


def _beside(counter: Counter, rows: Sequence[tuple[Pair, Sequence[Decoded]]]) -> list[CountEstimate]:
    return counter.count_pairs(
        stacked([later for _, [later, _] in rows]),
        stacked([earlier for _, [_, earlier] in rows]),
        [pair.previous_count for pair, _ in rows],
        decode_ms=[later.decode_ms + earlier.decode_ms for _, [later, earlier] in rows],
    )


def _named(pair: Pair, estimate: CountEstimate) -> CountEstimate:
    return msgspec.structs.replace(
        estimate,
        path=shown(pair.path),
        bin_image_id=shown(id_of(pair.path) or "") or None,
        previous=None if pair.previous is None else shown(pair.previous),
    )
