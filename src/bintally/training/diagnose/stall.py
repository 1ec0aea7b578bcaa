"""A thread that says when nothing has happened for a while."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.run_rules import StalledTrainingRule

_LOOK_S: Final = 1.0


class StallWatch:
    """Tells `on_stall` of each stall once, while it lasts."""

    def __init__(self, rule: StalledTrainingRule, on_stall: Callable[[Finding], None]) -> None:
        self._rule, self._on_stall = rule, on_stall
        self._step, self._alive_at = 0, time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="bintally-stall", daemon=True)

    def start(self) -> None:
        """From now on."""
        self._alive_at = time.monotonic()
        self._thread.start()

    def alive(self, step: int) -> None:
        """Something has happened."""
        self._step, self._alive_at = step, time.monotonic()

    def close(self) -> None:
        """The training is over."""
        self._closed.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        told_at = -1.0
        while not self._closed.wait(min(max(self._rule.threshold / 10, 0.01), _LOOK_S)):
            idle = time.monotonic() - self._alive_at
            if idle >= self._rule.threshold and told_at != self._alive_at:
                told_at = self._alive_at
                self._on_stall(self._rule.stalled(self._step, idle))
                if self._rule.stop_training_on_fire:  # a signal, since it ends the wait that holds the training up
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
