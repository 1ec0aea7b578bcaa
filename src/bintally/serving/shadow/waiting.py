"""Photos that wait for the shadow: few of them, since who is behind must not hold memory; the others are dropped."""

import threading
from collections import deque
from typing import Final

import msgspec

from bintally.serving.shadow.messages import Question

MOST: Final = 8  # photos
MOST_BYTES: Final = 64 * 2**20


class Waiting:
    """First come, first served. Threads share it. `dropped`: photos, since the start."""

    def __init__(self) -> None:
        self._photos: deque[tuple[Question, bytes]] = deque()
        self._something = threading.Condition()  # over all of it
        self._bytes = self._dropped_since = 0
        self.dropped = 0

    def put(self, question: Question, photo: bytes) -> None:
        """Has a photo wait, or drops it."""
        with self._something:
            if len(self._photos) >= MOST or self._bytes + len(photo) > MOST_BYTES:
                self._drop()
                return
            self._photos.append((question, photo))
            self._bytes += len(photo)
            self._something.notify()

    def take(self, seconds: float) -> tuple[Question, bytes] | None:
        """The photo that has waited longest; None: none came for so long. It says how many were dropped before it."""
        with self._something:
            if not self._photos:
                self._something.wait(seconds)
            if not self._photos:
                return None
            question, photo = self._photos.popleft()
            self._bytes -= len(photo)
            question = msgspec.structs.replace(question, dropped=self._dropped_since)
            self._dropped_since = 0
            return question, photo

    def not_paired(self, question: Question) -> None:
        """What was taken is dropped after all; the next one says so."""
        with self._something:
            self._dropped_since += question.dropped
            self._drop()

    def clear(self) -> None:
        """Forgets all that waits, for a challenger that is none any more."""
        with self._something:
            self._photos.clear()
            self._bytes = self._dropped_since = 0

    def wake(self) -> None:
        """Has whoever waits look again."""
        with self._something:
            self._something.notify_all()

    def _drop(self) -> None:
        self.dropped += 1
        self._dropped_since += 1
