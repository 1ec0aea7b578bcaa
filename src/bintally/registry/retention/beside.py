"""What goes beside versions' bundles: files that nobody will read again, and what kills have left.

| | goes |
|---|---|
| `bundles/SHA256` that the database does not know: a registration that was killed | after an hour |
| `bundles/.registering-*`, half-written files | after an hour |
| `.removing-*`: a removal that was killed | at once |
| `predictions/` | with the bundle, or when they are old |
| `shadow/` | when the shadow has ended, and its last pair is old |
| `running/` of a service that has said nothing | after a day |

How old files are is told by their times; whoever registers sets them anew.
"""

import re
import stat
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, select

from bintally.registry import heartbeats, schema
from bintally.registry.bundles import UNDER_WAY
from bintally.registry.place import CARDS, LEARNT, PREDICTIONS, Registry
from bintally.registry.shadow.pairs import SHADOW
from bintally.registry.shadow.running import under_way

REMOVING: Final = ".removing-"
"""How the name of a folder begins that is being removed."""

Kind: TypeAlias = Literal["bundle", "unregistered", "left by a kill", "predictions", "pairs", "silent service"]

_HOUR_S: Final = 3600.0
_DAY_S: Final = 24 * _HOUR_S
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PAIRS: Final = re.compile(r"(\d+)-\d+")
_HALF_WRITTEN: Final = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")  # as `artifacts` names them
_WRITTEN_TO: Final = (LEARNT, PREDICTIONS, heartbeats.RUNNING, f"{CARDS}/*")


class Goes(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the registry's folder that goes; `what`: its name there, or the versions whose bundle it is."""

    kind: Kind
    what: str
    path: str
    why: str
    bytes: int = 0


def beside(registry: Registry, connection: Connection, moment: datetime, bundles: frozenset[str]) -> list[Goes]:
    """All that goes but versions' bundles; `bundles`: the SHA-256s of those that stay."""
    found = _Found(registry, connection, moment.timestamp())
    return [*found.in_bundles(), *found.predictions(bundles), *found.pairs(), *found.half_written(), *found.silent()]


def is_abandoned(path: Path, moment: datetime) -> bool:
    """Whether whoever was writing it has said nothing for so long that nobody is any more."""
    return _is_older(path, _HOUR_S, moment.timestamp())


class _Found:
    def __init__(self, registry: Registry, connection: Connection, now: float) -> None:
        self._registry, self._connection, self._now = registry, connection, now
        self._settings = registry.settings.retention

    def in_bundles(self) -> Iterator[Goes]:
        known = set(self._connection.execute(select(schema.ModelVersion.bundle_sha256)).scalars())
        for path in _children(self._registry.bundles):
            if path.name.startswith(REMOVING):
                yield _left(path)
            elif not self._is_older(path, _HOUR_S):
                continue
            elif path.name.startswith(UNDER_WAY):
                yield _goes("left by a kill", path, "a registration that was killed")
            elif _SHA256.fullmatch(path.name) and path.name not in known:
                yield _goes("unregistered", path, "no version is of it")

    def predictions(self, bundles: frozenset[str]) -> Iterator[Goes]:
        for path in _children(self._registry.place / PREDICTIONS, "*.parquet"):
            if path.name[:64] not in bundles:
                yield _goes("predictions", path, "their bundle goes, or is gone")
            elif self._is_older(path, self._settings.predictions_days * _DAY_S):
                yield _goes("predictions", path, f"older than {self._settings.predictions_days} days")

    def pairs(self) -> Iterator[Goes]:
        models = self._connection.execute(select(schema.Model.name)).scalars().all()
        shadows = [shadow for model in models if (shadow := under_way(self._connection, model)) is not None]
        challengers = {shadow.challenger.id for shadow in shadows}
        for path in _children(self._registry.place / SHADOW):
            named = _PAIRS.fullmatch(path.name)
            if path.name.startswith(REMOVING):
                yield _left(path)
            elif named is None or int(named[1]) in challengers:
                continue
            elif self._is_older(path, self._settings.pairs_days * _DAY_S):
                why = f"the shadow has ended, its last pair is older than {self._settings.pairs_days} days"
                yield _goes("pairs", path, why)

    def half_written(self) -> Iterator[Goes]:
        place = self._registry.place
        for folder in (place, *(each for name in _WRITTEN_TO for each in sorted(place.glob(name)))):
            for path in _children(folder, ".*.tmp"):
                if _HALF_WRITTEN.fullmatch(path.name) and self._is_older(path, _HOUR_S):
                    yield _goes("left by a kill", path, "half-written")

    def silent(self) -> Iterator[Goes]:
        for path in _children(self._registry.place / heartbeats.RUNNING, "*.json"):
            if _is_older(path, _DAY_S, time.time()):  # by the clock that `heartbeats` goes by
                yield _goes("silent service", path, "it has said nothing for a day")

    def _is_older(self, path: Path, seconds: float) -> bool:
        return _is_older(path, seconds, self._now)


def _is_older(path: Path, seconds: float, now: float) -> bool:
    """Whether nothing in it has changed for that long."""
    return max((changed for _, changed in _files(path)), default=now) < now - seconds


def _goes(kind: Kind, path: Path, why: str) -> Goes:
    return Goes(
        kind=kind,
        what=f"{path.parent.name}/{path.name}",
        path=str(path),
        why=why,
        bytes=sum(size for size, _ in _files(path)),
    )


def _left(path: Path) -> Goes:
    return _goes("left by a kill", path, "a removal that was killed")


def _children(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _files(path: Path) -> Iterator[tuple[int, float]]:
    """Bytes, and the time of the last change, of each file; and of each folder, which has no bytes of its own."""
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        try:
            found = each.lstat()
        except FileNotFoundError:  # it has gone meanwhile
            continue
        yield 0 if stat.S_ISDIR(found.st_mode) else found.st_size, found.st_mtime
