"""What keeps requests from waiting, one after the other, for a database that is away (Nygard, *Release It!*, 2007)."""

import time
from collections.abc import Callable
from typing import Final

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 15.0


class Breaker:
    """Closed, all may try. After a failure nobody may for a while, then one, and only its success lets all in again.

    Each failure of that one doubles the pause. Used by one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause_s = 0.0  # 0: closed
        self._until = 0.0
        self._is_tried = False

    @property
    def is_closed(self) -> bool:
        """Whether the last that tried succeeded."""
        return not self._pause_s

    def allows(self) -> bool:
        """Whether the caller may try; whoever was allowed to says how it went."""
        if self.is_closed:
            return True
        if self._clock() < self._until:
            return False
        self._is_tried, self._until = True, self._clock() + self._pause_s  # others wait for what comes of it
        return True

    def failed(self) -> None:
        """Somebody tried in vain; of many that did at the same time, one counts."""
        if self.is_closed:
            self._pause_s = FIRST_PAUSE_S
        elif self._is_tried:
            self._pause_s = min(2.0 * self._pause_s, LONGEST_PAUSE_S)
        else:
            return
        self._is_tried, self._until = False, self._clock() + self._pause_s

    def worked(self) -> None:
        """Somebody tried and succeeded."""
        self._pause_s, self._is_tried = 0.0, False
