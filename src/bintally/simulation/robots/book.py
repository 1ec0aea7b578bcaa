"""Which photo was due, sent and answered when, and whether it was answered once.

A photo may be sent several times (nobody answered, or nobody heard it), and its answer may come several times; the
answers then have to be one: a second count of the same photo would show another request id.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from bintally.errors import BintallyError, PhotoError, RequestError
from bintally.serving.answer import CountAnswer
from bintally.simulation.robots.route import Kind

DoorName: TypeAlias = Literal["http", "mqtt"]

COUNTED: Final = "counted"
LOST: Final = frozenset({"unreachable", "timeout"})
"""Codes of the client's own: nobody answered."""


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One photo on its way: `due` is a moment of `time.perf_counter()`."""

    id: str
    photo: bytes
    kind: Kind
    due: float
    bin_id: str | None
    site: str | None
    recorded_count: int
    captured_at: datetime
    away_s: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """What was answered to one photo, by whichever door."""

    code: str  # COUNTED, or the error's
    of: str | None = None  # the photo's name, as the answer has it; None: it has none (an error over HTTP)
    bin_id: str | None = None
    request_id: str = ""
    count: int | None = None
    verdict: str | None = None
    is_degraded: bool = False
    hint: str = ""

    @classmethod
    def counted(cls, answer: CountAnswer) -> "Answer":
        """Of a count."""
        return cls(
            COUNTED,
            of=answer.bin_image_id,
            bin_id=None if answer.bin is None else answer.bin.bin_id,
            request_id=answer.request_id,
            count=answer.count,
            verdict=None if answer.verdict is None else answer.verdict.outcome,
            is_degraded=bool(answer.degraded),
        )

    @classmethod
    def refused(cls, error: BintallyError) -> "Answer":
        """Of a refusal."""
        code = error.code if isinstance(error, RequestError) else "bad_photo" if isinstance(error, PhotoError) else "?"
        return cls(code, hint=str(error))


class Entry(msgspec.Struct):
    """One photo in the book. Moments are of `time.perf_counter()`; None: it did not happen."""

    door: DoorName
    kind: Kind
    due: float
    bin_id: str | None
    sent: float | None = None
    answered: float | None = None
    answer: Answer | None = None

    @property
    def is_counted(self) -> bool:
        """Whether a count came."""
        return self.answer is not None and self.answer.code == COUNTED

    @property
    def latency_s(self) -> float:
        """From the moment the photo was due; infinite where no count came: a refusal is no fast answer."""
        return self.answered - self.due if self.answered is not None and self.is_counted else float("inf")


class Book:
    """The photos of one drive. `on_answered` is told of each first answer."""

    def __init__(self, on_answered: Callable[[], None] = lambda: None) -> None:
        self.entries: dict[str, Entry] = {}
        self.tries = Tally[str]()
        """What tries ended with that were not the last."""
        self.repeated = 0
        """Answers that came again, the same as before: at-least-once brings some."""
        self.doubled: list[str] = []
        """Photos that were counted twice."""
        self.misfits: list[str] = []
        """Photos whose answer was of another photo or bin, and answers to no photo of ours."""
        self._answered = 0
        self._on_answered = on_answered

    def sends(self, shot: Shot, door: DoorName) -> None:
        """`shot` is sent for the first time, now."""
        self.entries[shot.id] = Entry(door, shot.kind, shot.due, shot.bin_id, sent=time.perf_counter())

    def tried(self, code: str) -> None:
        """A try was in vain, and another follows."""
        self.tries[code] += 1

    def hears(self, name: str, answer: Answer) -> None:
        """An answer to the photo `name` came, now."""
        entry = self.entries.get(name)
        if entry is None or not _fits(name, entry, answer):
            self.misfits.append(name)
            return
        if entry.answer is None:
            entry.answer, entry.answered = answer, time.perf_counter()
            self._answered += 1
            self._on_answered()
            return
        if answer.code == COUNTED == entry.answer.code and not _same(answer, entry.answer):
            self.doubled.append(name)
        else:
            self.repeated += 1

    @property
    def waiting(self) -> int:
        """Photos that are sent and not answered."""
        return len(self.entries) - self._answered

    @property
    def lost(self) -> list[str]:
        """Photos that nobody answered."""
        return [name for name, entry in self.entries.items() if entry.answer is None]


def _fits(name: str, entry: Entry, answer: Answer) -> bool:
    is_of_photo = answer.of == name if answer.code == COUNTED else answer.of in (None, name)
    return is_of_photo and (answer.bin_id is None or answer.bin_id == entry.bin_id)


def _same(answer: Answer, other: Answer) -> bool:
    return (answer.request_id, answer.count) == (other.request_id, other.count)
