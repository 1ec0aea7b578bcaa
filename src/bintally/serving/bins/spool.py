"""The spool: photos of known bins that wait on disk until the ledger takes them.

```
FOLDER/waiting/   NUMBER-BIN-KEY-BYTES.photo    a file a photo, whole or not there at all, synced with its folder
FOLDER/rejected/  the same files, which the ledger will never take, each with a .json that says why
```

NUMBER is the order of arrival, whatever the clock says; it starts again at 1 when nothing waits. Any number of
processes may add; one at a time takes out. What is taken out is removed only when the ledger has it, so that a kill
between the two takes it in twice, which the ledger knows how to do.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from bintally.artifacts import lock, one_at_a_time, sync_folder, write_bytes, write_json
from bintally.errors import DataError, RequestError
from bintally.monitoring.files import disk_errors, make_folder
from bintally.serving.bins.delivery import Delivery

_SUFFIX: Final = ".photo"
_NAME: Final = re.compile(r"(\d{10})-([0-9a-f]{16})-([0-9a-f]{32})-(\d+)\.photo")
_RETRY_S: Final = 30.0
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Delivery)


class Waiting(msgspec.Struct, frozen=True, order=True):
    """A photo that waits, as its file's name tells it. They are in order of arrival."""

    number: int
    bin_key: str
    key: str
    size_bytes: int

    @classmethod
    def of(cls, name: str) -> Self | None:
        """What a file's name tells; None: it is no photo that waits."""
        told = _NAME.fullmatch(name)
        return None if told is None else cls(int(told[1]), told[2], told[3], int(told[4]))

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.number:010}-{self.bin_key}-{self.key}-{self.size_bytes}.photo"


class SpoolSize(msgspec.Struct, frozen=True):
    """How much waits, and how many will never be taken in."""

    waiting: int
    rejected: int
    bytes: int  # of both


class Spool:
    """A folder of photos that wait. `max_bytes`: of those that wait and those that were rejected, together."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self.waiting_folder, self.rejected_folder = folder / "waiting", folder / "rejected"

    def add(self, delivery: Delivery) -> None:
        """Returns when the photo is durable. The same photo with the same words waits once.

        Raises:
            RequestError: 503, too much waits.
            StorageError: the disk is full, or can't be written.
        """
        data, folder = _ENCODER.encode(delivery), self.waiting_folder
        with disk_errors(folder):
            make_folder(folder)
            with one_at_a_time(folder):
                there = os.listdir(folder)  # noqa: PTH208 - a third of iterdir's time
                self._tidy(there)
                names = _photos(there)
                if _have(names, delivery.key):
                    return
                self._check_room(_bytes(names) + _bytes(_names(self.rejected_folder)), len(data))
                number = int(names[-1].partition("-")[0]) + 1 if names else 1
                write_bytes(folder / Waiting(number, delivery.bin_key, delivery.key, len(data)).name, data)
                sync_folder(folder)

    def waiting(self, most: int | None = None) -> list[Waiting]:
        """What waits, in order of arrival; the first `most` of it."""
        found = map(Waiting.of, _names(self.waiting_folder)[:most])
        return [each for each in found if each is not None]

    def size(self) -> SpoolSize:
        """How much there is."""
        waiting, rejected = _names(self.waiting_folder), _names(self.rejected_folder)
        return SpoolSize(len(waiting), len(rejected), _bytes(waiting) + _bytes(rejected))

    def waits(self, bin_key: str) -> bool:
        """Whether a photo of the bin waits. What comes after it then waits, too: a bin's photos stay in order."""
        return _have(_names(self.waiting_folder), bin_key)

    def read(self, waiting: Waiting) -> Delivery:
        """What waits.

        Raises:
            DataError: its file is damaged.
            FileNotFoundError: somebody removed it.
        """
        path = self.waiting_folder / waiting.name
        try:
            delivery = _DECODER.decode(path.read_bytes())
        except msgspec.MsgspecError as error:
            raise DataError(f"{path} is damaged: {error}.", hint="Look at the disk.") from None
        if delivery.key != waiting.key:
            raise DataError(f"{path} does not hold what its name says.", hint="Look at the disk.")
        return delivery

    def done(self, waiting: Waiting) -> None:
        """The ledger has it.

        Raises:
            StorageError: the disk can't be written.
        """
        path = self.waiting_folder / waiting.name
        with disk_errors(path):
            path.unlink(missing_ok=True)

    def reject(self, waiting: Waiting, reason: str, delivery: Delivery | None) -> None:
        """The ledger will never take it; it is put aside. Moved back by hand, it is tried again.

        Raises:
            StorageError: the disk is full, or can't be written.
        """
        target = self.rejected_folder / waiting.name
        with disk_errors(target):
            make_folder(self.rejected_folder)
            write_json(target.with_suffix(".json"), {"reason": reason, **_told(delivery)})
            (self.waiting_folder / waiting.name).replace(target)
            sync_folder(self.rejected_folder)

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether this process is the one that takes out, until the block ends.

        Raises:
            StorageError: the folder can't be written.
        """
        path = self._folder / ".claimed"
        with disk_errors(path):
            file = path.open("wb")
        with file:
            yield lock(file)

    def _tidy(self, there: list[str]) -> None:
        """Removes what a kill left half-written: only one process writes at a time."""
        for name in there:
            if name.startswith(".") and name.endswith(".tmp"):
                (self.waiting_folder / name).unlink(missing_ok=True)

    def _check_room(self, held_bytes: int, more_bytes: int) -> None:
        if held_bytes + more_bytes > self._max_bytes:
            raise RequestError(
                f"The ledger is away, and {self._max_bytes / 2**20:.3g} MB of photos wait for it already.",
                status=503,
                code="spool_full",
                hint="Send it again later; the service's operator should look after the database.",
                retry_after_s=_RETRY_S,
            )


def _names(folder: Path) -> list[str]:
    """Names of photos in `folder`, as `_photos`."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return _photos(os.listdir(folder))  # noqa: PTH208 - a third of iterdir's time
    return []


def _photos(names: list[str]) -> list[str]:
    """Those of photos, in order of arrival.

    Each request looks at all that wait: 30,000 took more than a second as records.
    """
    return sorted(filter(_NAME.fullmatch, names))


def _have(names: list[str], key: str) -> bool:
    """Whether one of them is of a bin, or of a photo with its words."""
    return any(f"-{key}-" in name for name in names)


def _bytes(names: list[str]) -> int:
    return sum(int(name.rpartition("-")[2].removesuffix(_SUFFIX)) for name in names)


def _told(delivery: Delivery | None) -> dict[str, object]:
    if delivery is None:
        return {}
    told = {name: getattr(delivery, name) for name in ("site", "bin_id", "captured_at", "received_at", "request_id")}
    return {**told, "photo_sha256": hashlib.sha256(delivery.photo).hexdigest()}
