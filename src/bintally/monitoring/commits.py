"""Group commit: what several requests want written at the same time is written, and synced, in one go."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST: Final = 64
"""Items in one go: what is under way is bounded by the service; this bounds what one of them waits for the others."""


class GroupCommit(Generic[T, R]):
    """One thread, which hands `commit` all items that came while it was busy with those before.

    `commit` returns a result for each item, in order, or raises for all of them. The thread starts with the first item,
    so that a process may fork before.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Sequence[R]], *, name: str) -> None:
        self._commit, self._name = commit, name
        self._queue: SimpleQueue[tuple[T, Future[R]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def submit(self, item: T) -> "Future[R]":
        """What `commit` will say of `item`."""
        future: Future[R] = Future()
        self._queue.put((item, future))
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
        return future

    def close(self) -> None:
        """Ends the thread, after what was submitted. Nothing may be submitted any more."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            together, is_last = self._with_others(first)
            _settle(self._commit, together)
            if is_last:
                return

    def _with_others(self, first: tuple[T, "Future[R]"]) -> tuple[list[tuple[T, "Future[R]"]], bool]:
        together = [first]
        while len(together) < MOST:
            try:
                each = self._queue.get_nowait()
            except Empty:
                break
            if each is None:
                return together, True
            together.append(each)
        return together, False


def _settle(commit: Callable[[Sequence[T]], Sequence[R]], together: "list[tuple[T, Future[R]]]") -> None:
    # One that was given up before it was begun is left out.
    wanted = [(item, future) for item, future in together if future.set_running_or_notify_cancel()]
    if not wanted:
        return
    try:
        results = commit([item for item, _ in wanted])
    except BaseException as error:
        for _, future in wanted:
            future.set_exception(error)
    else:
        for (_, future), result in zip(wanted, results, strict=True):
            future.set_result(result)
