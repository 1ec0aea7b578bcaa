"""Files that other stages rely on: written whole or not at all, with a digest and a provenance beside them."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from bintally.errors import BintallyError, StorageError

PROVENANCE = "provenance"
_CODE = {".py", ".html"}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PLACE = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}

Row = TypeVar("Row")


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Maps the operating system's errors of writing `target` to `StorageError`s that say what to do."""
    try:
        yield
    except OSError as error:
        number = _number(error)
        if number in _NO_SPACE:
            raise StorageError(
                f"No space left to write {target}.", hint="Free some space (nothing was half-written) and run it again."
            ) from error
        if number in _NO_ACCESS:
            raise StorageError(
                f"{target} can't be written: permission denied.", hint="Choose another folder."
            ) from error
        if number in _NO_PLACE:
            raise StorageError(
                f"{target} can't be written: {os.strerror(number)}.", hint="Choose another place."
            ) from error
        raise


def _number(error: OSError) -> int:
    """The operating system's number of an error; polars has it only in its words."""
    told = re.search(r"\(os error (\d+)\)", str(error))
    return error.errno or (int(told[1]) if told else 0)


@contextmanager
def atomic_write(target: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that appears as `target` only when the block ends without an error.

    It is written beside `target` and renamed over it; `durable` syncs it first, so that a power cut leaves the old
    file or the new one, never half a file.

    Raises:
        StorageError: disk full, or no permission.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _part_of(target)
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Returns when the names of what is in `folder` would outlive a power cut, too."""
    if sys.platform == "win32":  # which can't open folders
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A new folder that replaces `target` only when the block ends without an error.

    Raises:
        StorageError: disk full, or no permission.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _part_of(target)
        try:
            part.mkdir()
            yield part
            old = _part_of(target)
            if target.exists():
                target.replace(old)
            try:
                part.replace(target)
            except BaseException:
                if old.exists() and not target.exists():
                    old.replace(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def write_bytes(target: Path, data: bytes, *, durable: bool = True) -> None:
    """`data` as `target`, atomically."""
    with atomic_write(target, durable=durable) as file:
        file.write(data)


def write_text(target: Path, text: str) -> None:
    """`text` as UTF-8, atomically."""
    write_bytes(target, text.encode())


def write_json(target: Path, value: Any) -> None:
    """`value` as indented JSON, atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


@contextmanager
def one_at_a_time(target: Path) -> Iterator[None]:
    """Of several processes that would make `target`, one does; the others wait, and should look whether it is made.

    Raises:
        StorageError: there is no place for the lock, a hidden file beside `target`.
    """
    if sys.platform == "win32":  # no flock there
        yield
        return
    import fcntl

    path = target.with_name(f".{target.name}.lock")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        while not is_at(path, file):  # whoever had it before has tidied it away
            file.close()
            file = path.open("wb")
            fcntl.flock(file, fcntl.LOCK_EX)
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def lock(file: IO[bytes]) -> bool:
    """Takes the lock on an open file, which goes with it; False: another process has it."""
    if sys.platform == "win32":  # no flock there; one process writes, and nobody tidies up behind its back
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether `path` still is the open `file`: nobody has removed it between opening and locking."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except (FileNotFoundError, NotADirectoryError):
        return False


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of any JSON-like value, keys in order: equal values, equal fingerprints."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def code_fingerprint(places: Iterable[str]) -> str:
    """SHA-256 over the sources of `places` (files or wings of this package): a stage's code version."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for source in _sources(places):
        digest.update(source.relative_to(root).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def code_files(places: Iterable[str]) -> dict[str, str]:
    """SHA-256 by name of each source that `code_fingerprint` goes over: says which one changed."""
    root = Path(__file__).parent
    return {source.relative_to(root).as_posix(): sha256_of(source) for source in _sources(places)}


def _sources(places: Iterable[str]) -> Iterator[Path]:
    for place in places:
        path = Path(__file__).parent / place
        yield from sorted(p for p in path.rglob("*") if p.suffix in _CODE) if path.is_dir() else [path]


def write_provenance(
    folder: Path,
    stage: str,
    *,
    inputs: Mapping[str, str],
    settings: Mapping[str, Any],
    code: str,
    outputs: Iterable[Path],
    code_files: Mapping[str, str] | None = None,
) -> None:
    """Records what made the files `outputs` of `folder`: written last, so its presence means the stage finished.

    `code_files`: what `code` is the fingerprint of, for whoever asks later what has changed.
    """
    write_json(
        provenance_path(folder, stage),
        {
            "stage": stage,
            "inputs": dict(inputs),
            "settings": dict(settings),
            "code": code,
            "code_files": dict(code_files or {}),
            "outputs": {path.relative_to(folder).as_posix(): sha256_of(path) for path in outputs},
        },
    )


def provenance_path(folder: Path, stage: str) -> Path:
    """Where `stage` leaves its provenance in `folder`."""
    return folder / PROVENANCE / f"{stage}.json"


def is_current(folder: Path, stage: str, *, inputs: Mapping[str, str], settings: Mapping[str, Any], code: str) -> bool:
    """Whether `stage` already made its files here from the same inputs, settings and code, and they are still whole."""
    try:
        seen = json.loads(provenance_path(folder, stage).read_text())
        wanted = json.loads(json.dumps({"inputs": dict(inputs), "settings": dict(settings), "code": code}, default=str))
        return all(seen[key] == value for key, value in wanted.items()) and all(
            sha256_of(folder / name) == digest for name, digest in seen["outputs"].items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, BintallyError):
        return False


def read_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """The whole lines of a file of JSON lines, in the order they were written; none where there is no file.

    A line that a kill has torn, or that is of another kind, is none.
    """
    if not path.is_file():
        return
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for line in file:
            try:
                if line.strip():
                    yield decoder.decode(line)
            except msgspec.DecodeError:
                continue


def _part_of(target: Path) -> Path:
    """The hidden name `target` is written under; a fresh one each time, so that writers never share it."""
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
