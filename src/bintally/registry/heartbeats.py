"""Which services count with which versions just now: each says so again and again, in a small file of the registry.

PLACE/running/NAME.json, replaced every `BEAT_S`. A service that was killed says nothing more, and after `GONE_S` it is
taken for gone: long enough that a host that was halted, or whose clock is off by minutes, loses no bundle it uses.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from bintally.artifacts import storage_errors, write_bytes
from bintally.errors import StorageError
from bintally.registry.place import Registry

RUNNING: Final = "running"
BEAT_S: Final = 10.0
GONE_S: Final = 3600.0

_NAMED: Final = 60  # characters of a service's name that its file has


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What one service said last. `versions`: SHA-256s of bundles by version, the one that answers first."""

    service: str
    versions: dict[str, str]
    silent_s: float = 0.0  # since then


def beat(place: Path, service: str, versions: Mapping[str, str]) -> None:
    """Says that `service` runs, with `versions` loaded (as in `Running`); `place` is the registry's folder.

    Raises:
        StorageError: the folder can't be written.
    """
    told = Running(service=service, versions=dict(versions))
    write_bytes(_file(place, service), msgspec.json.encode(told), durable=False)


def ended(place: Path, service: str) -> None:
    """Says that `service` has ended.

    Raises:
        StorageError: the folder can't be written.
    """
    path = _file(place, service)
    with storage_errors(path):
        path.unlink(missing_ok=True)


def running(registry: Registry, *, within_s: float = GONE_S) -> list[Running]:
    """The services that said something in the last `within_s` seconds, by name.

    Raises:
        StorageError: that can't be read: nobody knows then who runs.
    """
    found = []
    for path in _files(registry.place / RUNNING):
        with suppress(msgspec.DecodeError), _readable(path):  # no file of ours
            silent_s = max(0.0, time.time() - path.stat().st_mtime)
            if silent_s <= within_s:
                told = msgspec.json.decode(path.read_bytes(), type=Running)
                found.append(msgspec.structs.replace(told, silent_s=silent_s))
    return sorted(found, key=lambda each: each.service)


def bundles_in_use(registry: Registry) -> frozenset[str]:
    """SHA-256s of the bundles that running services have loaded."""
    return frozenset(sha256 for each in running(registry) for sha256 in each.versions.values())


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    with _readable(folder), os.scandir(folder) as entries:
        found += [Path(entry.path) for entry in entries if entry.name.endswith(".json")]
    return sorted(found)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What is not there, or no more, says nothing; all else is an error."""
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(
            f"{path} can't be read: {error.strerror or error}.",
            hint="It tells which services run: look at its permissions.",
        ) from error


def _file(place: Path, service: str) -> Path:
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", service)[:_NAMED].strip("-.")
    return place / RUNNING / f"{readable}-{hashlib.sha256(service.encode()).hexdigest()[:8]}.json"
