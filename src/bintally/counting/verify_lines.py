"""Records held against photos: one, or many listed in a CSV file, a line a photo.

```
path,record,previous,previous_count
today/a.jpg,"{""B005LZT9CO"": 1, ""B013S9P6UI"": 2}",,      a record in JSON ...
today/b.jpg,records/b.json,yesterday/b.jpg,4                ... or its file; beside an earlier photo
```
"""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import VerificationCard
from bintally.counting.ahead import Decoded, decoded_ahead
from bintally.counting.counter import Counter
from bintally.counting.output import shown
from bintally.counting.pair_lines import Cells, Pair, error_of, one_pair, pair_of, place_of, read_rows, stacked
from bintally.counting.stock_record import StockRecord, read_record
from bintally.counting.verification import Verification
from bintally.errors import BintallyError, ModelError, UsageError
from bintally.progress import SILENT, Progress
from bintally.records import key_of
from bintally.settings import cpu_count

COLUMNS: Final = ("path", "record")

_BATCH: Final = 8
_REASONS: Final = 2  # that a person is told; JSON has all


class VerifyReport(msgspec.Struct, frozen=True):
    """What a run of `verify` did."""

    model: str
    licence: str
    threshold: float  # at or above it a record is taken for right
    photos: int
    right: int
    wrong: int
    abstained: int  # of photos that are not taken for bins, records are judged neither way
    failed: int
    seconds: float


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A record, and the photos it is held against. `name`: the record's file, as it was written."""

    pair: Pair
    record: StockRecord | None
    name: str | None = None


def verify(
    *,
    photo: Path | str | None = None,
    record: StockRecord | Mapping[str, Any] | Path | str | bytes | None = None,
    previous: Path | str | None = None,
    previous_count: int | None = None,
    listed: Path | str | None = None,
    bundle: Path | str | None = None,
    to: TextIO | None = None,
    style: Literal["table", "jsonl"] = "jsonl",
    progress: Progress = SILENT,
) -> VerifyReport:
    """Says of a record, or of each in the CSV file `listed`, whether a photo bears it out; verdicts go to `to`.

    A line of `listed` that can't be read gets a verdict with `error`; the others are judged. To have the verdict of one
    photo itself, use `Counter.verify`.

    Raises:
        UsageError: a photo, a record or the list does not exist.
        DataError: `record` is none; `listed` lacks a column or has no line.
        ModelError: the model can't be used, or does not judge records.
    """
    cases = _cases(photo, record, previous, previous_count, None if listed is None else Path(listed))
    counter = Counter(bundle)
    card = _able(counter, cases)
    started, tally = time.perf_counter(), _Tally(card.threshold)
    with ExitStack() as stack:
        task = stack.enter_context(progress.task("verify", total=len(cases), unit="photos"))
        for number, batch in enumerate(stack.enter_context(closing(_verdicts(counter, cases)))):
            if to is not None:
                _write(to, batch, counter.card.count_keys, style, is_first=number == 0)
            tally.add(batch)
            task.advance(len(batch))
    return VerifyReport(
        model=counter.card.name,
        licence=counter.card.licence,
        threshold=card.threshold,
        photos=len(cases),
        seconds=round(time.perf_counter() - started, 3),
        **tally.totals,
    )


def _cases(
    photo: Path | str | None,
    record: StockRecord | Mapping[str, Any] | Path | str | bytes | None,
    previous: Path | str | None,
    previous_count: int | None,
    listed: Path | None,
) -> list[Case]:
    if listed is not None:
        if any(each is not None for each in (photo, record, previous, previous_count)):
            raise UsageError("A list names all photos and records by itself.", hint="Leave out the others.")
        return [_case(cells, listed.parent) for cells in read_rows(listed, COLUMNS)]
    if photo is None or record is None:
        raise UsageError(
            "A photo and a record are held against each other.",
            hint="bintally verify photo.jpg --record record.json, or --csv FILE.csv for many.",
        )
    told = read_record(record)
    return [Case(pair=one_pair(photo, previous, previous_count), record=told, name=told.name)]


def _case(cells: Cells, folder: Path) -> Case:
    pair, cell = pair_of(cells, folder), cells["record"].strip()
    name = None if cell.startswith("{") or not cell else cell
    try:
        if not cell:
            raise UsageError("There is no record.")
        return Case(pair=pair, record=read_record(cell if name is None else Path(place_of(name, folder))), name=name)
    except BintallyError as error:
        problem = pair.problem or f"record: {error.message}"
        return Case(pair=msgspec.structs.replace(pair, problem=problem, places=()), record=None, name=name)


def _able(counter: Counter, cases: Sequence[Case]) -> VerificationCard:
    """The card of a model that can judge these cases, told before the first of them is looked at."""
    if counter.card.verification is None:
        raise ModelError(
            f"The model {counter.card.name!r} does not judge records.",
            hint="Use one that does, such as the bundled champion, or train with network.tells = ['record'].",
        )
    if counter.card.change is None and any(case.pair.previous is not None for case in cases):
        raise ModelError(
            f"The model {counter.card.name!r} does not compare photos.",
            hint="Use one that does, or leave out the earlier photos.",
        )
    return counter.card.verification


def _verdicts(counter: Counter, cases: Sequence[Case]) -> Generator[list[Verification]]:
    photos = decoded_ahead(cases, lambda case: case.pair.places, counter.card, batch_size=_BATCH, workers=cpu_count())
    with closing(photos):
        for batch in photos:
            yield _judged(counter, batch)


def _judged(counter: Counter, batch: Sequence[tuple[Case, Sequence[Decoded]]]) -> list[Verification]:
    errors = [error_of(case.pair, photos) for case, photos in batch]
    readable = [row for row, error in zip(batch, errors, strict=True) if error is None]
    before: list[NDArray[np.uint8] | None] = [
        photos[1].pixels_hwc if len(photos) > 1 else None for _, photos in readable
    ]
    judged = iter(
        counter.verify_pixels(
            stacked([photos[0] for _, photos in readable]),
            [case.record for case, _ in readable if case.record is not None],
            before,
            [case.pair.previous_count for case, _ in readable],
        )
        if readable
        else ()
    )
    return [
        msgspec.structs.replace(
            _no_verdict(counter, case, error) if error else next(judged),
            path=shown(case.pair.path),
            record=None if case.name is None else shown(case.name),
            previous=None if case.pair.previous is None else shown(case.pair.previous),
            previous_count=case.pair.previous_count,
        )
        for (case, _), error in zip(batch, errors, strict=True)
    ]


def _no_verdict(counter: Counter, case: Case, error: str) -> Verification:
    recorded = None if case.record is None else case.record.items
    return Verification(error=shown(error), recorded_count=recorded, model=counter.card.name)


def _write(to: TextIO, batch: Sequence[Verification], keys: Sequence[str], style: str, *, is_first: bool) -> None:
    """Each line is flushed by itself: whoever reads a pipe sees each verdict as soon as it is there."""
    if style == "table" and is_first:
        to.write("right?  photo shows  record says  photo\n")
    for verdict in batch:
        to.write(f"{verdict.to_json()}\n" if style == "jsonl" else _row(verdict, keys))
        to.flush()


def _row(verdict: Verification, keys: Sequence[str]) -> str:
    path = (verdict.path or "").replace("\r", "\\r").replace("\n", "\\n")
    says = "" if verdict.recorded_count is None else str(verdict.recorded_count)
    if verdict.record_is_right is None or verdict.count is None:
        return f"{'-':>6}  {'':11}  {says:>11}  {path}  {verdict.error}\n"
    shows = f"{key_of(verdict.count, keys)} ({verdict.probability:.0%})"
    why = f"abstains: {verdict.abstain}" if verdict.abstain else "; ".join(verdict.reasons[:_REASONS])
    return f"{verdict.record_is_right:>6.0%}  {shows:>11}  {says:>11}  {path}  {why}\n"


class _Tally:
    """Running totals of a report."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self.totals = {"right": 0, "wrong": 0, "abstained": 0, "failed": 0}

    def add(self, batch: Sequence[Verification]) -> None:
        for verdict in batch:
            if verdict.record_is_right is None:
                self.totals["failed"] += 1
            elif verdict.abstain is not None:
                self.totals["abstained"] += 1
            else:
                self.totals["right" if verdict.record_is_right >= self._threshold else "wrong"] += 1
