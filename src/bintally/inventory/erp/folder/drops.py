"""`Drops`: files that appear once in `adjustments`, whatever dies on the way and whoever takes them away.

```
PATH/adjustments/000000042-KEY.csv   whole, from the moment its name is there; the reader moves or deletes it
PATH/.bintally/keys/KEY.json         what KEY was written down as: kept for good
PATH/.bintally/days/2026-01-31       the keys that were written down that day (UTC), a line each, or more of one
PATH/.bintally/drafts/KEY            the file, until it is dropped
PATH/.bintally/counter, lock
```

A draft and its line in `days` are written before its note in `keys`, and its note is deleted before it. Dropping is one
rename. So a note whose draft is there is a draft, and a note whose draft is not there was dropped, though the reader
has long taken the file.
"""

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import msgspec

from bintally.artifacts import lock, sync_folder, write_bytes
from bintally.errors import ErpRefusedError, ErpUnavailableError, StorageError
from bintally.inventory.erp.protocol import KEY, Posting

DROPPED: Final = "adjustments"

_OURS: Final = ".bintally"
_NAME: Final = re.compile(rf"[A-Za-z0-9-]{{1,{KEY}}}")
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_LOCK_S: Final = 10.0
_LOOK_S: Final = 0.02


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A posting's file: its name, and the SHA-256 of what is in it."""

    posting: Posting
    name: str
    sha256: str
    made_at: datetime


class Drops:
    """The files of one folder. All else is called under `locked`."""

    def __init__(self, root: Path) -> None:
        self._root, self._dropped = root, root / DROPPED
        self._keys, self._drafts = root / _OURS / "keys", root / _OURS / "drafts"
        self._days = root / _OURS / "days"
        self._counter, self._lock = root / _OURS / "counter", root / _OURS / "lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder, for one process at a time; errors of the file system are ours.

        Raises:
            ErpUnavailableError: it is not there, can't be written, or somebody else is at it for too long.
        """
        with self._errors():
            self._must_be_there()
            self._set_up()
            with self._lock.open("ab") as file:
                until = time.monotonic() + _LOCK_S
                while not _locked(file):
                    if time.monotonic() > until:
                        raise ErpUnavailableError(f"Somebody else is at {self._root}.", hint="Try again.")
                    time.sleep(_LOOK_S)
                yield

    def check(self) -> None:
        """Looks whether files can be dropped.

        Raises:
            ErpRefusedError: `adjustments` is another file system, where no file appears whole.
        """
        write_bytes(self._root / _OURS / "check", b"")
        if self._dropped.stat().st_dev != self._drafts.stat().st_dev:
            raise ErpRefusedError(f"{self._dropped} is another file system.", hint="Make it a folder of its parent.")

    def state(self, key: str) -> tuple[Drop, bool] | None:
        """What a key was written down as, and whether it was dropped; None: it was not, or was thrown away."""
        drop = self._noted(key)
        return None if drop is None else (drop, self._is_dropped(key))

    def prepare(self, wanted: Sequence[tuple[Posting, bytes, str]], suffix: str, at: datetime) -> dict[str, Drop]:
        """Drafts of postings, with their content and its SHA-256, by key; earlier drafts are thrown away."""
        if not wanted:
            return {}
        self.throw_away([posting.key for posting, _, _ in wanted])
        number = self._numbers(len(wanted))
        made = {
            posting.key: Drop(posting=posting, name=f"{next_:09}-{posting.key}.{suffix}", sha256=sha256, made_at=at)
            for next_, (posting, _, sha256) in enumerate(wanted, number)
        }
        for posting, content, _ in wanted:
            write_bytes(self._drafts / posting.key, content)
        sync_folder(self._drafts)
        self._note_day(made, at)
        for key, drop in made.items():
            write_bytes(self._note(key), msgspec.json.encode(drop))
        sync_folder(self._keys)
        return made

    def drop(self, names: Mapping[str, str]) -> None:
        """Drops drafts, under their names, by key. All are for good when it returns."""
        for key, name in names.items():
            (self._drafts / key).rename(self._dropped / name)
        if names:
            sync_folder(self._dropped)
            sync_folder(self._drafts)

    def throw_away(self, keys: Iterable[str]) -> None:
        """Throws drafts away; what was dropped stays known."""
        drafts = [key for key in keys if self._noted(key) is not None and not self._is_dropped(key)]
        for key in drafts:
            self._note(key).unlink()
        if drafts:
            sync_folder(self._keys)
        for key in drafts:
            (self._drafts / key).unlink()

    def unread(self, since: datetime) -> list[Drop]:
        """What was dropped after a moment, or lies there still."""
        waiting = {path.stem.partition("-")[2] for path in self._dropped.iterdir() if path.is_file()}
        first = _day(since)
        days = [path for path in self._days.iterdir() if path.name >= first]
        recent = {key for path in days for key in path.read_text(errors="replace").split()}
        states = {key: self.state(key) for key in sorted(waiting | recent) if is_name(key)}
        return [
            known[0]
            for key, known in states.items()
            if known is not None and known[1] and (key in waiting or known[0].made_at > since)
        ]

    def _is_dropped(self, key: str) -> bool:
        try:
            (self._drafts / key).stat()
        except FileNotFoundError:
            self._must_be_there()
            self._drafts.stat()  # a share that has just gone has no drafts either
            return True
        return False

    def _noted(self, key: str) -> Drop | None:
        try:
            return msgspec.json.decode(self._note(key).read_bytes(), type=Drop)
        except FileNotFoundError:
            self._must_be_there()
            return None
        except msgspec.MsgspecError as error:
            raise ErpRefusedError(f"{self._note(key)} was changed: {error}.", hint="Bring it back.") from None

    def _note(self, key: str) -> Path:
        return self._keys / f"{key}.json"

    def _note_day(self, keys: Iterable[str], at: datetime) -> None:
        """Adds keys to those of a day; a line that was cut off harms no other."""
        with (self._days / _day(at)).open("ab") as file:
            file.write(("\n" + "\n".join(keys) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._days)

    def _numbers(self, many: int) -> int:
        """The first of so many numbers that were never used."""
        try:
            last = int(self._counter.read_text())
        except FileNotFoundError:
            last = 0
        except ValueError:
            raise ErpRefusedError(f"{self._counter} holds no number.", hint="Write the last one into it.") from None
        write_bytes(self._counter, str(last + many).encode())
        return last + 1

    def _must_be_there(self) -> None:
        if not self._dropped.is_dir():
            raise ErpUnavailableError(
                f"There is no folder {self._dropped}.", hint="Mount the share, or make the folder if it is a new one."
            )

    def _set_up(self) -> None:
        """Makes our own folders, where there are none yet. Notes without the folder of drafts would all seem dropped.

        Raises:
            ErpRefusedError: somebody has tidied it away.
        """
        gone = [folder for folder in (self._drafts, self._days) if not folder.is_dir()]
        if gone and self._keys.is_dir():
            raise ErpRefusedError(f"{gone[0]} was deleted.", hint=f"Bring {_OURS} back from a backup.")
        for folder in (self._drafts, self._days, self._keys):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise ErpUnavailableError(error.message, hint=error.hint) from error
        except OSError as error:
            raise ErpUnavailableError(
                f"{self._root} can't be used: {error.strerror or error}.", hint="Look whether it is mounted, and whose."
            ) from error


def _locked(file: IO[bytes]) -> bool:
    """Whether nobody else is at it; where a share knows no locks, the relay's lease sees to that."""
    try:
        return lock(file)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True
        raise


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def is_name(key: str) -> bool:
    """Whether a key can be a file's name wherever that may be."""
    return _NAME.fullmatch(key) is not None
