"""`BatchingEngine`: as many threads as cores, each taking as many photos at a time as pays.

A photo hops twice: from the event loop to a thread, which decodes, counts and reads it, and back with the answer.

- Alone, a photo is counted by all cores together: that is the soonest it can be had. Under load each thread counts
  photos of its own on one core, side by side with the others, which makes the most photos a second
  (benchmarks/engine.py has the ratios). Two ways, two sessions: ONNX Runtime ties the number of threads to a session.
- Of the idle threads, the one that worked last takes the next photo; photos that come one by one stay on one thread.
- A thread takes what waits, shared out among the threads, and never waits for more to come: batches grow with the
  backlog, as far as they pay.
"""

import asyncio
import math
import threading
import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import numpy as np

from bintally.bundle import Card
from bintally.counting.counter import Counter
from bintally.counting.network import MAX_BATCH, Network
from bintally.errors import BintallyError, UsageError
from bintally.photos import MAX_PIXELS
from bintally.records import CountEstimate, Timings
from bintally.serving.asked import Asked, too_late
from bintally.serving.engine.decoding import Decoder
from bintally.serving.engine.engine import Load
from bintally.serving.engine.waiting import Job, Waiting
from bintally.serving.refusals import invalid, overloaded
from bintally.settings import cpu_count

BATCH_S: Final = 0.05
"""Photos that take one core longer are no batch. Small networks gain 6% photos/s by batches of 4; large ones gain
nothing, and whoever came first would wait for the last."""

_LEARNING: Final = 0.1  # of a new measurement in the running mean


class _StoodAsideError(Exception):
    """A large photo waits until the one that is being decoded has been."""


class BatchingEngine:
    """Counts photos on `threads` cores (0: all this process may use).

    `max_batch`: photos in one inference; 0: as many as pays. `max_waiting`: photos that may wait for a thread.

    Raises:
        BundleError: the model can't be loaded once more, for threads side by side.
        ModelError: it answers with NaN.
    """

    def __init__(
        self,
        counter: Counter,
        *,
        threads: int = 0,
        max_batch: int = 0,
        max_waiting: int = 64,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.counter = counter
        self._threads = threads or cpu_count()
        self._max_waiting = max_waiting
        self._together = counter.network
        self._side_by_side = counter.network if self._threads == 1 else Network(counter.bundle, threads=1)
        self._decoder = Decoder(counter.card, max_pixels=max_pixels)
        self._pools = [_started_thread(number) for number in range(self._threads)]
        self._lock = threading.Lock()  # over all that follows
        self._waiting = Waiting()
        self._working = 0  # photos
        self._idle = list(self._pools)  # who worked last stands last
        self._batches: Tally[int] = Tally()
        self._photo_s = self._warmed_up()  # of one thread for one photo, a running mean
        self._most = min(max_batch or max(int(BATCH_S / self._photo_s), 1), MAX_BATCH)  # photos in a batch

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.counter.card

    async def count(self, asked: Asked, photo: bytes) -> CountEstimate:
        """As `Engine.count`."""
        try:
            counter = self.counter.restricted(asked.counts)
        except UsageError as error:
            raise invalid(error.message) from None
        asked.check_deadline()
        job = Job(asked, photo, counter, asyncio.get_running_loop().create_future())
        self._put(job)
        try:
            async with asyncio.timeout(None if asked.deadline is None else asked.left_s):
                return await job.answer
        except TimeoutError:
            raise too_late() from None
        finally:
            with self._lock:
                self._waiting.drop(job)

    def load(self) -> Load:
        """As `Engine.load`."""
        with self._lock:
            return Load(len(self._waiting), self._working, self._wait_s(), dict(self._batches))

    async def close(self) -> None:
        """As `Engine.close`."""
        for thread in self._pools:
            await asyncio.to_thread(thread.shutdown)

    def _wait_s(self) -> float:
        return len(self._waiting) * self._photo_s / self._threads

    def _put(self, job: Job) -> None:
        """Lets a photo wait, and wakes a thread where one is idle."""
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise overloaded(max(1.0, self._wait_s()))
            self._waiting.put(job)
        self._wake()

    def _wake(self) -> None:
        """Sets an idle thread to work, if there is one."""
        with self._lock:
            if not self._idle:
                return
            thread = self._idle.pop()
        self._start(thread)

    def _start(self, thread: ThreadPoolExecutor) -> None:
        try:
            thread.submit(self._work, thread)
        except RuntimeError:  # closed, but whoever took the engine before that is answered all the same
            threading.Thread(target=self._work, args=(thread,), name="count-late").start()

    def _work(self, thread: ThreadPoolExecutor) -> None:
        """A thread's work: until nothing waits any more."""
        jobs = self._taken(thread)
        while jobs:
            started = time.perf_counter()
            done = [job for job in jobs if self._decode(job)]
            self._count([job for job in done if job.result is None])
            self._done(done, time.perf_counter() - started)
            jobs = self._taken(thread)  # before the answers: whoever asks again finds this thread idle
            _hand_over(done)

    def _taken(self, thread: ThreadPoolExecutor) -> list[Job]:
        """Photos for one thread: its share of what waits, as far as batches pay; none ends its work."""
        with self._lock:
            share = math.ceil(len(self._waiting) / self._threads)
            jobs = self._waiting.take(min(share, self._most))
            self._working += len(jobs)
            if not jobs:
                self._idle.append(thread)
            return jobs

    def _decode(self, job: Job) -> bool:
        """Decodes a photo, or finds out why it can't be; False: it is a large one, and has to wait for another."""
        try:
            if job.is_wanted:
                self._decoder.decode(job, lambda: self._large(job))
            else:
                job.result = too_late()
        except _StoodAsideError:
            return False
        except Exception as error:
            job.result = error
        return True

    @contextmanager
    def _large(self, job: Job) -> Iterator[None]:
        with self._lock:
            if not self._waiting.begin_large(job):
                self._working -= 1
                raise _StoodAsideError
        try:
            yield
        finally:
            with self._lock:
                is_next = self._waiting.end_large()
            if is_next:
                self._wake()

    def _count(self, jobs: Sequence[Job]) -> None:
        """Counts photos at once; where that fails, each by itself, so that none suffers from another."""
        try:
            for job, estimate in zip(jobs, self._estimates(jobs) if jobs else (), strict=True):
                job.result = estimate
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].result = error
                return
            for job in jobs:
                self._count([job])

    def _estimates(self, jobs: Sequence[Job]) -> list[CountEstimate]:
        started = time.perf_counter()
        pixels_nhwc = np.stack([job.pixels_hwc for job in jobs if job.pixels_hwc is not None])
        seen = self._network(len(jobs)).see(pixels_nhwc)
        each_ms = 1000 * (time.perf_counter() - started) / len(jobs)
        return [
            estimate
            for row, job in enumerate(jobs)
            for estimate in job.counter.read(
                pixels_nhwc[row : row + 1], seen.only([row]), [Timings(decode_ms=job.decode_ms, inference_ms=each_ms)]
            )
        ]

    def _network(self, photos: int) -> Network:
        """For a batch of so many: all cores while few are under way, else a core of its own."""
        with self._lock:
            self._batches[photos] += 1
            under_way = len(self._waiting) + self._working
        return self._together if under_way <= max(1, self._threads // 2) else self._side_by_side

    def _done(self, jobs: Sequence[Job], seconds: float) -> None:
        if not jobs:
            return
        with self._lock:
            self._working -= len(jobs)
            self._photo_s += _LEARNING * (seconds / len(jobs) - self._photo_s)

    def _warmed_up(self) -> float:
        """Seconds of one core for one photo, after each session has counted one: the first takes several times.

        Processor time, so that other work on this machine while a model is loaded does not decide about its batches.
        """
        photo = np.zeros((1, self.card.height_px, self.card.width_px, 3), np.uint8)
        for network in (self._together, self._side_by_side):
            network.see(photo)
        started = time.thread_time()
        self._side_by_side.see(photo)
        return max(time.thread_time() - started, 1e-6)


def _started_thread(number: int) -> ThreadPoolExecutor:
    """A thread that runs already: where it can't, that is told before any photo is taken."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=f"count-{number}")
    thread.submit(int).result()
    return thread


def _hand_over(jobs: Sequence[Job]) -> None:
    """Gives each job's result to whoever awaits it, in their event loop: one wake-up for all."""
    if not jobs:
        return
    try:
        jobs[0].answer.get_loop().call_soon_threadsafe(_settle, jobs)
    except RuntimeError:  # the loop was closed: nobody waits there any more
        return


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.answer.done():  # cancelled, or too late
            continue
        if isinstance(job.result, CountEstimate):
            job.answer.set_result(job.result)
        else:
            job.answer.set_exception(job.result or BintallyError("The photo was not counted."))
