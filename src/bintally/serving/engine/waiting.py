"""Photos that wait for a thread, in lanes that take turns: sixty-four photos of one request hold up no other."""

import asyncio
from collections import OrderedDict, deque
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.counting.counter import Counter
from bintally.records import CountEstimate
from bintally.serving.asked import Asked

Result: TypeAlias = CountEstimate | BaseException


class Job(msgspec.Struct, eq=False):
    """One photo on its way through the engine.

    The event loop makes it and reads `answer`; between the two, one thread at a time fills in the rest.
    """

    asked: Asked
    photo: bytes
    counter: Counter  # restricted to the counts that were asked for
    answer: "asyncio.Future[CountEstimate]"
    pixels_hwc: NDArray[np.uint8] | None = None  # uint8 [H, W, 3] at the model's size
    decode_ms: float = 0.0
    result: Result | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it: not after its deadline, nor when the client went away."""
        return self.asked.left_s > 0 and not self.answer.done()

    @property
    def lane(self) -> str:
        """What takes turns: a request, whose photos are called `REQUEST.PLACE` where there are several."""
        name = self.asked.request_id
        return name.rpartition(".")[0] or name


class Waiting:
    """First come, first served within a lane; from lane to lane, one photo each. Not safe for threads by itself.

    Large photos, of which one at a time is decoded, stand aside until it is their turn, and hold up no other.
    """

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, deque[Job]] = OrderedDict()
        self._jobs = 0
        self._aside: deque[Job] = deque()
        self._has_large = False

    def __len__(self) -> int:
        return self._jobs + len(self._aside)

    def begin_large(self, job: Job) -> bool:
        """Whether a large photo may be decoded now; else it stands aside until `end_large` lets it in."""
        if self._has_large:
            self._aside.append(job)
            return False
        self._has_large = True
        return True

    def end_large(self) -> bool:
        """A large photo is decoded: all that stood aside come next. Whether there are any."""
        self._has_large = False
        back, self._aside = self._aside, deque()
        for job in reversed(back):
            self._lanes[job.lane] = deque([job, *self._lanes.pop(job.lane, ())])
            self._lanes.move_to_end(job.lane, last=False)
        self._jobs += len(back)
        return bool(back)

    def put(self, job: Job) -> None:
        """One more, at the end of its lane."""
        self._lanes.setdefault(job.lane, deque()).append(job)
        self._jobs += 1

    def take(self, most: int) -> list[Job]:
        """Those whose turn it is; none where none waits."""
        taken: list[Job] = []
        while self._lanes and len(taken) < most:
            lane, jobs = self._lanes.popitem(last=False)
            taken.append(jobs.popleft())
            if jobs:
                self._lanes[lane] = jobs  # at the end: the others come first
        self._jobs -= len(taken)
        return taken

    def drop(self, job: Job) -> None:
        """Takes `job` out, if it is still there."""
        if job in self._aside:
            self._aside.remove(job)
            return
        jobs = self._lanes.get(job.lane)
        if jobs is None or job not in jobs:
            return
        jobs.remove(job)
        self._jobs -= 1
        if not jobs:
            del self._lanes[job.lane]
