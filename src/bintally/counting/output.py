"""A file of estimates that a killed run goes on with.

A results file is append-only. Beside it `<file>.settings.json` says which model and counts its lines are of, so that
lines of two models are never mixed:

    results.jsonl                 one CountEstimate a line
    results.jsonl.settings.json   {"model_sha256": ..., "counts": ["1", ...], "style": "jsonl", ...}
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol, TypeVar

import msgspec

from bintally.artifacts import storage_errors, write_json
from bintally.counting.writers import Csv, Style, Writer, one_line, writer_of
from bintally.errors import UsageError
from bintally.records import CountEstimate

_SUFFIXES: Final[dict[str, Style]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_ANOTHER: Final = "Choose another --out, or remove that file."


def style_of(out: Path) -> Style:
    """The style a results file's suffix asks for.

    Raises:
        UsageError: an unknown suffix.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{out} has no known suffix.", hint=f"Results are written to {', '.join(_SUFFIXES)}.")
    return _SUFFIXES[out.suffix.lower()]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all lines of a results file have in common."""

    model: str
    model_sha256: str
    counts: tuple[str, ...]
    style: Style
    pairs: bool = False  # photos were held against earlier ones


class Done(msgspec.Struct):
    """What stands in a results file already: paths, and how many of them were abstained from or unreadable.

    In a file of pairs, `pairs` has the lines of each path and earlier path ("": none) in the place of `paths`.
    """

    paths: set[str]
    abstained: int = 0
    failed: int = 0
    photos: int = 0
    pairs: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)


class _Pair(Protocol):
    @property
    def path(self) -> str: ...

    @property
    def previous(self) -> str | None: ...


Pair = TypeVar("Pair", bound=_Pair)


class Results:
    """An open results file, whole up to its last line."""

    def __init__(self, path: Path, file: IO[bytes], done: Done, writer: Writer) -> None:
        self.done = done
        self._path = path
        self._file = file
        self._writer = writer

    def has(self, name: str) -> bool:
        """Whether the photo `name` has a line."""
        return self._written(name) in self.done.paths

    def missing(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Those of `pairs` that have no line yet; one that is listed twice needs two."""
        left = self.done.pairs.copy()
        missing = []
        for pair in pairs:
            key = (self._written(pair.path), self._written(pair.previous or ""))
            if left[key]:
                left[key] -= 1
            else:
                missing.append(pair)
        return missing

    def _written(self, name: str) -> str:
        return one_line(shown(name)) if isinstance(self._writer, Csv) else shown(name)

    def write(self, estimates: Sequence[CountEstimate]) -> None:
        """Appends estimates and hands them to the operating system: a kill right after loses none of them."""
        with storage_errors(self._path):
            self._file.write("".join(map(self._writer.line, estimates)).encode())
            self._file.flush()


@contextmanager
def open_results(path: Path, settings: Settings) -> Iterator[Results]:
    """The results file `path`, new or as a killed run left it: a torn last line is cut off.

    Raises:
        UsageError: its lines are of another model or other counts, or somebody else is writing it.
        StorageError: disk full, or no permission.
    """
    writer = writer_of(settings.style, settings.counts, pairs=settings.pairs)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            _lock(file, path)
            _check_settings(path, settings, is_empty=file.tell() == 0)
            _cut_torn_line(file)
            if file.tell() == 0:
                file.write(writer.header().encode())
            done = _done(file, path, settings)
            try:
                yield Results(path, file, done, writer)
            finally:
                file.flush()
                os.fsync(file.fileno())


def shown(path: str) -> str:
    """A path as UTF-8 text: bytes of a name that are not UTF-8 become a question mark in a diamond."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _check_settings(path: Path, settings: Settings, *, is_empty: bool) -> None:
    beside = path.with_name(path.name + ".settings.json")
    if is_empty:
        write_json(beside, msgspec.to_builtins(settings))
        return
    try:
        found = msgspec.json.decode(beside.read_bytes(), type=Settings)
    except (OSError, msgspec.DecodeError):
        raise UsageError(
            f"{path} exists, but nothing beside it says which model its lines are of.", hint="Choose another --out."
        ) from None
    differences = [name for name in Settings.__struct_fields__ if getattr(found, name) != getattr(settings, name)]
    if differences:
        was, now = (_described(each, differences) for each in (found, settings))
        raise UsageError(f"{path} holds results of {was}, not of {now}.", hint=_ANOTHER)


def _described(settings: Settings, names: Sequence[str]) -> str:
    told = {
        "counts": f"counts {' '.join(settings.counts)}",
        "pairs": "pairs of photos" if settings.pairs else "photos alone",
    }
    return ", ".join(told.get(name) or f"{name} {str(getattr(settings, name))[:16]}" for name in names)


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two writers at once are not noticed there
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(
            f"Another bintally is writing {path}.", hint="Wait for it, or choose another --out."
        ) from error


def _cut_torn_line(file: IO[bytes]) -> None:
    """Cuts what stands after the last line end: a kill or a full disk tore it."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - (1 << 16))
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    file.truncate(end)
    file.seek(end)


class _Seen(msgspec.Struct):
    path: str
    previous: str | None = None
    abstain: str | None = None
    error: str | None = None


def _done(file: IO[bytes], path: Path, settings: Settings) -> Done:
    file.seek(0)
    done = Done(set())
    try:
        for seen in _csv_lines(file) if settings.style == "csv" else map(msgspec.json.Decoder(_Seen).decode, file):
            if settings.pairs:
                done.pairs[seen.path, seen.previous or ""] += 1
            else:
                done.paths.add(seen.path)
            done.photos += 1
            done.failed += bool(seen.error)
            done.abstained += bool(seen.abstain)
    except (msgspec.DecodeError, csv.Error, KeyError, ValueError) as error:
        raise UsageError(f"{path} was edited: {error}.", hint=_ANOTHER) from error
    file.seek(0, os.SEEK_END)
    return done


def _csv_lines(file: IO[bytes]) -> Iterator[_Seen]:
    for row in csv.DictReader(line.decode() for line in file):
        yield _Seen(path=row["path"], previous=row.get("previous"), abstain=row["abstain"], error=row["error"])
