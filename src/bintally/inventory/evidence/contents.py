"""Whether what a bundle says fits together: what it names is in it, and lines of the audit log fit their hashes."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from bintally.database.audit import START, Head, hash_of
from bintally.errors import DataError
from bintally.inventory.evidence.facts import AuditLine, Correction
from bintally.inventory.evidence.layout import CONTENTS, FORMAT, Contents

_T = TypeVar("_T", Contents, Correction)


class Read(msgspec.Struct):
    """What was read of a bundle: how many corrections, which photos are not in it, lines of the audit log."""

    corrections: int = 0
    removed: dict[str, datetime] = msgspec.field(default_factory=dict)  # SHA-256 of photos, when retention removed them
    missing: set[str] = msgspec.field(default_factory=set)  # ... that were not to be had at the export
    lines: dict[int, str] = msgspec.field(default_factory=dict)  # hashes by number
    withheld: set[int] = msgspec.field(default_factory=set)  # numbers of lines without their body


def read_contents(folder: Path) -> Contents:
    """The list of what is in a bundle.

    Raises:
        DataError: there is none, or it is of a newer version.
    """
    contents = _read(folder, CONTENTS, Contents)
    if contents.format != FORMAT:
        raise DataError(f"The bundle's format is {contents.format!r}.", hint="Install the bintally that wrote it.")
    return contents


def contradictions(folder: Path, files: Mapping[str, str], contents: Contents, read: Read) -> Iterator[str]:
    """What does not fit together, in sentences; `read` is filled on the way. `files`: SHA-256 by name."""
    head = Head.of(contents.head)
    for listed in contents.corrections:
        if listed.file not in files:
            yield f"{CONTENTS}: its {listed.file} is not there"
            continue
        told = _read(folder, listed.file, Correction)
        read.corrections += 1
        for why in (*_missing(told, files, listed.page), *_photos(told, files, read), *_lines(told, head, read)):
            yield f"{listed.file}: {why}"


def _missing(told: Correction, files: Mapping[str, str], page: str) -> Iterator[str]:
    policy = told.verdict
    if files.get(policy.policy_file) != policy.policy:
        yield f"its policy {policy.policy_file} is another one"
    if page not in files:
        yield f"its page {page} is not there"


def _photos(told: Correction, files: Mapping[str, str], read: Read) -> Iterator[str]:
    for photo in told.photos:
        if photo.state == "included":
            if files.get(photo.file or "") != photo.sha256:
                yield f"its photo {photo.file} is another one"
        elif photo.state == "removed":
            read.removed[photo.sha256] = photo.removed_at or photo.received_at
        else:
            read.missing.add(photo.sha256)


def _lines(told: Correction, head: Head, read: Read) -> Iterator[str]:
    before: AuditLine | None = None
    for line in told.audit:
        read.lines[line.number] = line.hash
        if line.body is None:
            read.withheld.add(line.number)
        elif hash_of(msgspec.structs.asdict(line), line.before) != line.hash:
            yield f"line {line.number} of the audit log does not fit its hash"
        if (line.number == 1 and line.before != START) or (
            before is not None and before.number + 1 == line.number and before.hash != line.before
        ):
            yield f"line {line.number} of the audit log does not follow on the one before it"
        if line.number > head.number or (line.number == head.number and line.hash != head.hash):
            yield f"line {line.number} of the audit log is beyond its head"
        before = line


def _read(folder: Path, name: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode((folder / name).read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"{name} can't be read: {error}.", hint="Take the bundle from its source again.") from error
