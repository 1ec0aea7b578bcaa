"""Photos of known bins: taken into the ledger at once, or kept on disk until it takes them.

A request waits for the ledger for a few seconds at most. When it can't be used in that time, the photo and what was
told with it go to the spool, and the answer says so. A breaker keeps the next requests from waiting, too; a task beside
them empties the spool, in order, as soon as the ledger is back.
"""

import asyncio
import logging
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Final

import msgspec

from bintally.counting.counter import Counter
from bintally.errors import BintallyError, DataError, RequestError, StorageError
from bintally.serving.bins.breaker import Breaker
from bintally.serving.bins.delivery import Delivery
from bintally.serving.bins.spool import Spool, Waiting
from bintally.serving.bins.taking import Taker
from bintally.serving.service import Judged

AT_ONCE: Final = 4
"""Photos that are taken in side by side: PostgreSQL gains by it, a SQLite file takes one at a time anyway."""

PATIENCE_S: Final = 5.0
"""How long a request waits for the ledger."""

_SHARE: Final = 0.8  # of the time that is left for an answer; the rest is for the disk
_POLL_S: Final = 1.0
_BATCH: Final = 64  # photos taken out of the spool before others may claim it
_TRIES: Final = 5  # of a photo that fails, while others don't
_LOG: Final = logging.getLogger(__name__)


class TakenOut(msgspec.Struct):
    """What became of what waits, after a look at it."""

    taken: int = 0  # photos that left the spool
    rejected: int = 0  # that will never be taken in, of earlier looks too
    stuck: set[str] = msgspec.field(default_factory=set)  # bins whose next photos wait behind one that could not leave
    failure: str | None = None  # of the disk, which is none of the ledger's


class KnownBins:
    """Takes deliveries. Used by one event loop; `counter` is the model that photos from the spool are judged with."""

    def __init__(
        self,
        taker: Taker,
        spool: Spool,
        counter: Callable[[], Counter],
        *,
        breaker: Breaker | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.spool = spool
        self.failures: dict[str, str] = {}
        self._taker, self._counter = taker, counter
        self._breaker = Breaker() if breaker is None else breaker
        self._patience_s = patience_s
        self._takers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ledger")
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")  # never behind a ledger that does not answer
        self._emptier = ThreadPoolExecutor(1, thread_name_prefix="spool-to-ledger")
        self._wake = asyncio.Event()
        self._tries = Tally[str]()

    async def take(self, delivery: Delivery, counter: Counter, *, left_s: float = float("inf")) -> Judged:
        """Takes a delivery in, or keeps it on disk. Either way it is durable.

        Raises:
            RequestError: 422 and 409 as `Taker.take`; 503, neither the ledger nor the disk can keep it.
        """
        if not self._breaker.allows():
            return await self._keep(delivery, self.failures.get("ledger", "it failed a moment ago"))
        patience_s = min(self._patience_s, _SHARE * left_s)
        try:
            job = asyncio.wrap_future(self._takers.submit(self._take, delivery, counter))
            async with asyncio.timeout(patience_s):
                judged = await job
        except RequestError:
            self._worked()
            raise
        except TimeoutError:
            # The thread may still end its work: what is taken in twice stands once.
            why = "it takes too long"
            if patience_s >= self._patience_s:  # whoever could wait for less says nothing of the ledger
                self.failed(why)
            return await self._keep(delivery, why)
        except BintallyError as error:
            return await self._keep(delivery, self.failed(error.message))
        self._worked()
        return judged or await self._keep(delivery, "earlier photos of the bin wait for it")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Empties the spool in the meantime, and ends all threads after."""
        task = asyncio.create_task(self._empty())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Ends all threads, after what is under way."""
        for pool in (self._takers, self._disk, self._emptier):
            pool.shutdown(cancel_futures=True)
        self._taker.place.close()

    def take_out(self, *, probe: bool = False) -> TakenOut:
        """Takes what waits into the ledger, in order; waits for it.

        `probe`: looks at the ledger first, also where nothing waits.

        Raises:
            StorageError: the ledger can't be used.
            OSError: the spool's folders can't be listed.
        """
        if probe:
            self._taker.place.check()
        out = TakenOut()
        if waiting := self.spool.waiting(_BATCH):
            self._take_out(waiting, out)
        out.rejected = self.spool.size().rejected
        return out

    def _take(self, delivery: Delivery, counter: Counter) -> Judged | None:
        with suppress(OSError):  # a disk that can't be read does not keep photos from the ledger
            if self.spool.waits(delivery.bin_key):
                return None
        return self._taker.take(delivery, counter)

    async def _keep(self, delivery: Delivery, why: str) -> Judged:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._disk, self.spool.add, delivery)
        except StorageError as error:
            self.failures["spool"] = error.message
            raise RequestError(
                "The photo can't be kept just now: neither the ledger nor the disk takes it.",
                status=503,
                code="not_kept",
                hint="Send it again later, or without bin_id if only the count is wanted.",
                retry_after_s=self._patience_s,
            ) from error
        self.failures.pop("spool", None)
        self._wake.set()
        return Judged(
            degraded=(f"not in the ledger yet, and not judged: {why.rstrip('.')}; the photo waits on the disk",)
        )

    async def _empty(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):  # not wait_for: Python 3.11's can swallow a cancellation
                    await self._wake.wait()
            self._wake.clear()
            if await self._round():
                self._wake.set()

    async def _round(self) -> int:
        """How many photos were taken out of the spool; more may wait."""
        was_closed = self._breaker.is_closed
        if not self._breaker.allows():
            return 0
        loop = asyncio.get_running_loop()
        try:
            out = await loop.run_in_executor(self._emptier, lambda: self.take_out(probe=not was_closed))
        except StorageError as error:
            self.failed(error.message)
            return 0
        except Exception as error:
            _LOG.exception("Taking photos in from the disk failed.")
            self._tell("waiting", f"photos on the disk can't be taken in: {type(error).__name__}; the log says why")
            if not was_closed:
                self._breaker.failed()
            return 0
        if out.taken or not was_closed:
            self._worked()
        self._tell_of(out)
        return out.taken

    def _take_out(self, waiting: Sequence[Waiting], out: TakenOut) -> None:
        with ExitStack() as stack:
            try:
                is_ours = stack.enter_context(self.spool.claimed())
            except StorageError as error:
                out.failure = error.message
                return
            if is_ours:
                out.taken = sum(self._taken_out(each, out) for each in waiting)

    def _taken_out(self, waiting: Waiting, out: TakenOut) -> bool:
        """Whether this one left the spool."""
        if waiting.bin_key in out.stuck:
            return False
        delivery = None
        try:
            delivery = self.spool.read(waiting)
            self._taker.take(delivery, self._counter())
        except FileNotFoundError:  # taken out by another process since
            return False
        except StorageError:
            raise
        except (RequestError, DataError) as error:
            return self._left(waiting, out, partial(self.spool.reject, waiting, str(error), delivery))
        except Exception as error:
            _LOG.exception("%s can't be taken in.", waiting.name)
            return self._gave_up(waiting, delivery, error, out)
        return self._left(waiting, out, partial(self.spool.done, waiting))

    def _left(self, waiting: Waiting, out: TakenOut, leave: Callable[[], None]) -> bool:
        """Whether it left the spool, whose disk may be full."""
        try:
            leave()
        except StorageError as error:
            out.failure = error.message
            out.stuck.add(waiting.bin_key)
            return False
        return True

    def _gave_up(self, waiting: Waiting, delivery: Delivery | None, error: Exception, out: TakenOut) -> bool:
        """A photo that fails again and again is put aside, so that it does not keep others waiting for ever."""
        self._tries[waiting.key] += 1
        if self._tries[waiting.key] < _TRIES:
            out.stuck.add(waiting.bin_key)
            return False
        del self._tries[waiting.key]
        return self._left(
            waiting, out, partial(self.spool.reject, waiting, f"{type(error).__name__}: {error}", delivery)
        )

    def _tell_of(self, out: TakenOut) -> None:
        rejected = f"{out.rejected} photos will never be taken into the ledger: {self.spool.rejected_folder} says why"
        self._tell("rejected", rejected if out.rejected else None)
        self._tell("waiting", out.failure and f"photos on the disk can't leave it: {out.failure}")

    def _tell(self, part: str, failure: str | None) -> None:
        if failure is None:
            self.failures.pop(part, None)
        else:
            self.failures[part] = failure

    def failed(self, why: str) -> str:
        """The ledger can't be used, and why; requests don't try it for a while."""
        self._breaker.failed()
        self.failures["ledger"] = why
        return why

    def _worked(self) -> None:
        self._breaker.worked()
        self.failures.pop("ledger", None)
