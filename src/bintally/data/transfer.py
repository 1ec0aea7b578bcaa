"""How objects come over: many at once, tried again when the line fails, written whole, remembered.

Photos are stored exactly as received: whether one can be decoded is for `check` to judge.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

import msgspec

from bintally.artifacts import write_bytes
from bintally.data.abid import METADATA, PHOTOS
from bintally.data.journal import Journal, Line, Stamp, is_kept
from bintally.data.sources.base import Entry, ObjectBrokenError, ObjectMissingError, Source, pause_s
from bintally.errors import SourceError
from bintally.metadata import Metadata, parse_metadata
from bintally.progress import Task

T = TypeVar("T")

MOST_BROKEN: Final = 64  # objects broken in a row, with none between that came: then the source itself is at fault
ODD_TAGS: Final = 3  # whole objects whose ETag is not their MD5: from then on nobody asks (SSE-KMS tags look like MD5s)


class Broken(msgspec.Struct, frozen=True):
    """An object that could not be had, and why."""

    bin_image_id: str
    key: str
    why: str


class Arrival(msgspec.Struct, frozen=True):
    """A photo that is here now, with what its metadata says (None: it has none)."""

    bin_image_id: str
    photo: Stamp
    metadata: Metadata | None
    reused: bool


class Tally:
    """What has happened so far."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.broken: dict[str, Broken] = {}  # by key
        self.retries = 0
        self.bytes = 0
        self.broken_in_a_row = 0


class Transfer:
    """Objects of one source into one folder."""

    def __init__(self, source: Source, folder: Path, journal: Journal, *, concurrency: int, retries: int) -> None:
        self._source = source
        self._folder = folder
        self._journal = journal
        self._concurrency = concurrency
        self._retries = retries
        self._odd_tags = 0
        self._absent: set[str] = set()  # metadata this run has found to be missing: --counts and the photo both ask
        self.tally = Tally()

    async def photos(self, entries: Iterable[Entry], task: Task) -> list[Arrival]:
        """Photos and metadata of all `entries`; what does not come is in the tally."""
        arrivals = []

        async def one(entry: Entry) -> None:
            arrival = await self._photo(entry)
            if arrival:
                arrivals.append(arrival)
            task.advance()
            task.note(self._note())

        await self._each(entries, one)
        return arrivals

    async def quantities(self, entries: Iterable[Entry], task: Task) -> dict[str, int | None]:
        """What the metadata of each entry says is in the bin, by id. Metadata is written down, to be asked for once."""
        told: dict[str, int | None] = {}

        async def one(entry: Entry) -> None:
            told[entry.bin_image_id] = await self._quantity(entry)
            task.advance()
            task.note(self._note())

        await self._each(entries, one)
        return told

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to `ask`, asked again after a pause as long as its failures may pass.

        Raises:
            ObjectBrokenError: the last try failed too.
        """
        for attempt in range(self._retries + 1):
            try:
                return await ask()
            except ObjectBrokenError as error:
                if not error.passing or attempt == self._retries:
                    raise
            self.tally.retries += 1
            await asyncio.sleep(pause_s(attempt))
        raise AssertionError("unreachable")

    async def _each(self, entries: Iterable[Entry], one: Callable[[Entry], Awaitable[None]]) -> None:
        queue = iter(entries)

        async def worker() -> None:
            for entry in queue:
                await one(entry)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(worker())

    async def _photo(self, entry: Entry) -> Arrival | None:
        loop = asyncio.get_running_loop()
        line, metadata = await loop.run_in_executor(None, self._here, entry)
        record = await self._had(entry, entry.metadata) if metadata is None and entry.metadata else None
        if line.photo is None:
            photo = await self._had(entry, entry.photo, needed=True)
            if photo is None:
                return None
            return await loop.run_in_executor(None, self._keep, line, entry, photo, record, metadata)
        if record is None:
            return Arrival(line.id, line.photo, metadata, reused=True)
        return await loop.run_in_executor(None, self._keep, line, entry, None, record, metadata)

    async def _quantity(self, entry: Entry) -> int | None:
        line = self._journal.line(entry.bin_image_id, entry.version) or Line(entry.bin_image_id, entry.version)
        if line.metadata_bytes is None and entry.metadata:
            record = await self._had(entry, entry.metadata)
            if record is not None:
                line = await asyncio.get_running_loop().run_in_executor(None, self._note_quantity, line, record)
        return line.quantity

    async def _had(self, entry: Entry, key: str, *, needed: bool = False) -> bytes | None:
        """The object's bytes; None, and a note in the tally, where it can't be had. Metadata may well not exist."""
        if key in self._absent:
            return None
        try:
            data = await self.patiently(self._asker(key))
        except ObjectMissingError:
            self.tally.broken_in_a_row = 0
            if needed:
                self.tally.missing.append(entry.bin_image_id)
            else:
                self._absent.add(key)
            return None
        except ObjectBrokenError as error:
            self.tally.broken[key] = Broken(entry.bin_image_id, key, str(error))
            self._mind_the_source(error)
            return None
        self.tally.broken_in_a_row = 0
        self.tally.broken.pop(key, None)
        self.tally.bytes += len(data)
        return data

    def _asker(self, key: str) -> Callable[[], Awaitable[bytes]]:
        """A question for the object `key` that compares the answer's MD5 with the promised one.

        Not every ETag that looks like an MD5 is one. Bytes that arrive twice the same are whole, whatever it says.
        """
        seen: set[str] = set()

        async def ask() -> bytes:
            fetched = await self._source.get(key)
            if fetched.md5 is None or self._odd_tags >= ODD_TAGS:
                return fetched.data
            md5 = hashlib.md5(fetched.data, usedforsecurity=False).hexdigest()
            if md5 == fetched.md5:
                return fetched.data
            if md5 in seen:
                self._odd_tags += 1
                return fetched.data
            seen.add(md5)
            raise ObjectBrokenError("the bytes are not those its ETag promises", passing=True)

        return ask

    def _mind_the_source(self, error: ObjectBrokenError) -> None:
        self.tally.broken_in_a_row += 1
        if self.tally.broken_in_a_row >= MOST_BROKEN:
            raise SourceError(
                f"{self._source.name} does not answer: {MOST_BROKEN} objects in a row failed, the last with: {error}.",
                hint="Check the network and your rights, then run the same command again: it goes on where it stopped.",
            )

    def _here(self, entry: Entry) -> tuple[Line, Metadata | None]:
        """What the journal says of the entry, without what is no longer there; and its metadata, read again."""
        line = self._journal.line(entry.bin_image_id, entry.version) or Line(entry.bin_image_id, entry.version)
        if line.photo and not is_kept(line.photo, self._folder):
            line = msgspec.structs.replace(line, photo=None)
        metadata = self._read_metadata(line)
        if metadata is None:
            line = msgspec.structs.replace(line, quantity=None, metadata_bytes=None)
        return line, metadata

    def _read_metadata(self, line: Line) -> Metadata | None:
        if line.metadata_bytes is None:
            return None
        try:
            data = self._metadata_path(line.id).read_bytes()
        except OSError:
            return None
        return parse_metadata(data) if len(data) == line.metadata_bytes else None

    def _keep(
        self, line: Line, entry: Entry, photo: bytes | None, record: bytes | None, metadata: Metadata | None
    ) -> Arrival:
        """Writes what came, then the line that says so."""
        if record is not None:
            metadata = parse_metadata(record)
            line = self._write_metadata(line, record, metadata)
        elif metadata is None:
            self._metadata_path(line.id).unlink(missing_ok=True)  # of an earlier version of the source
        stamp = line.photo if photo is None else self._write_photo(entry, photo)
        if stamp is None:
            raise ValueError(f"nothing came for {line.id!r}")
        self._journal.add(msgspec.structs.replace(line, photo=stamp))
        return Arrival(line.id, stamp, metadata, reused=False)

    def _note_quantity(self, line: Line, record: bytes) -> Line:
        line = self._write_metadata(line, record, parse_metadata(record))
        self._journal.add(line)
        return line

    def _write_metadata(self, line: Line, record: bytes, metadata: Metadata) -> Line:
        write_bytes(self._metadata_path(line.id), record, durable=False)
        return msgspec.structs.replace(line, quantity=metadata.expected_quantity, metadata_bytes=len(record))

    def _metadata_path(self, bin_image_id: str) -> Path:
        return self._folder / METADATA / f"{bin_image_id}.json"

    def _write_photo(self, entry: Entry, photo: bytes) -> Stamp:
        name = f"{PHOTOS}/{entry.bin_image_id}{PurePosixPath(entry.photo).suffix}"
        path = self._folder / name
        write_bytes(path, photo, durable=False)
        return Stamp(name, len(photo), path.stat().st_mtime_ns, hashlib.sha256(photo).hexdigest())

    def _note(self) -> str:
        tally = self.tally
        figures = {"missing": len(tally.missing), "broken": len(tally.broken), "retries": tally.retries}
        return ", ".join([f"{tally.bytes / 1e6:,.1f} MB", *(f"{n:,} {name}" for name, n in figures.items() if n)])
