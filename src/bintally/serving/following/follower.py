"""`RegistryFollower`: has the service answer with the version that an alias points to, from the moment it does.

    look (every 0.5 s) -> another version? -> kept loaded: swapped in at once
                                           -> else whole? loaded, answers, fits, quick? -> swapped in, or refused

Looking, and what is told to registry and state folder, each have a thread of their own, and a version is tried beside
them: so a rollback takes place while a broken version is being loaded, or while the registry takes no writes.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bintally.errors import BintallyError, BundleError, StorageError
from bintally.serving.engine.engine import Engine
from bintally.serving.following.kept import KeptVersions
from bintally.serving.following.memory import Memory
from bintally.serving.following.registry_view import RegistryView
from bintally.serving.following.telling import Teller
from bintally.serving.following.trial import must_answer, must_be_quick, must_be_whole, must_fit
from bintally.serving.following.wanted import Seen, Wanted
from bintally.serving.models import Models
from bintally.serving.operation.logs import FIELDS
from bintally.serving.operation.metrics import metrics_of
from bintally.serving.redaction import scrubbed
from bintally.serving.service import CountingService

REGISTRY: Final = "registry"
"""Part in health: the registry can't be used."""

_LOG: Final = logging.getLogger(__name__)


class Limits(NamedTuple):
    """`poll_s`: how often the registry is looked at; `max_slower`, `keep_bytes`, `policy`: as in `ServeConfig`."""

    poll_s: float
    max_slower: float
    keep_bytes: int
    policy: Path | None


class Champions(NamedTuple):
    """The version that answers, and the one that would like to (None: none)."""

    champion: Wanted
    challenger: Wanted | None


class RegistryFollower:
    """Is a `service.Follower`. `current` is the version that `models` were loaded with; used by one event loop."""

    def __init__(
        self, models: Models, current: Wanted, view: RegistryView, memory: Memory, *, service: str, limits: Limits
    ) -> None:
        self.models, self.view = models, view
        self.away: str | None = None
        """Why the registry can't be used just now; None: it can."""
        self._limits, self._current = limits, current
        self._handled: int | None = current.change  # the change of the alias that was seen to last
        self._refused: Wanted | None = None
        self._challenger: Wanted | None = None
        self._kept = KeptVersions(limits.keep_bytes)
        self._teller = Teller(view, memory, service)
        self._teller.did(current, "taken", "the service was started")
        self._callbacks: list[Callable[[Champions], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="registry")
        self._count: Callable[[str], None] = lambda outcome: None
        self._failures: dict[str, str] = {}
        models.swap(models.default, current.name)
        models.also_default = frozenset({view.model, current.name})
        models.anew = self.anew

    @property
    def champions(self) -> Champions:
        """What answers now, and what would like to."""
        return Champions(self._current, self._challenger)

    def subscribe(self, callback: Callable[[Champions], None]) -> None:
        """Has `callback` called in the event loop, now and whenever one of the two is another version."""
        self._callbacks.append(callback)
        callback(self.champions)

    def has_refused(self, wanted: Wanted, why: str, *, is_news: bool = True) -> None:
        """Says that `wanted` was refused; it is not tried again until the alias is changed, or on a reload."""
        told = f"{wanted.name} is refused: {why.rstrip('.')}; {self._current.name} goes on"
        _LOG.error("%s", told, extra={FIELDS: {"change": wanted.change}})
        self._handled, self._refused, self.models.damaged = wanted.change, wanted, told
        if is_news:
            self._count("refused")
            self._teller.did(wanted, "refused", why)

    @asynccontextmanager
    async def running(self, service: CountingService) -> AsyncIterator[None]:
        """As `Follower.running`."""
        metrics = metrics_of(service)
        if metrics is not None:
            self._count = metrics.followed
        self._failures = self._teller.failures = service.failures
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            for each in self._tasks:
                each.cancel()
            await asyncio.gather(task, *self._tasks, return_exceptions=True)
            await self._teller.end(self._current)
            await _close(self._kept.clear())
            await asyncio.to_thread(self._looker.shutdown)
            await asyncio.to_thread(self.view.close)

    async def anew(self) -> None:
        """Looks at the registry now, and tries the version it points to also if it was refused.

        Raises:
            BundleError: it is refused again.
            StorageError: the registry can't be used.
        """
        if self._refused is not None:
            change, self._refused, self._handled = self._refused.change, None, None
            await self._teller.remember(lambda: self._teller.memory.forgives(change))
        await self._look()
        while under_way := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(under_way)
        if self.away is not None:
            raise StorageError(self.away, hint="Is it mounted, and its database running?")
        if self.models.damaged is not None:
            raise BundleError(self.models.damaged, hint="Promote another version, or roll back.")

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # whatever it is: a service that no longer follows would be found out too late
                _LOG.exception("Looking at the registry failed.")
                self._failures[REGISTRY] = "looking at it failed; the log says why"
            await asyncio.sleep(self._limits.poll_s)

    async def _look(self) -> None:
        try:
            seen = await asyncio.get_running_loop().run_in_executor(self._looker, self.view.look)
        except StorageError as error:
            self._is_away(error)
        else:
            self._is_back()
            self._see_to(seen)
        self._tell()

    def _see_to(self, seen: Seen) -> None:
        wanted, before = seen.champion, self.champions
        self._challenger = seen.challenger
        if wanted is not None and wanted.change != self._handled:
            self._handled = wanted.change
            self._take(wanted)
        self._call_back(before)

    def _take(self, wanted: Wanted) -> None:
        """Sees to it that `wanted` answers: at once, or after it was tried."""
        if wanted.version_id == self._current.version_id:  # the alias came back, maybe from one that was refused
            self._current, self._refused, self.models.damaged = wanted, None, None
            self._spawn(self._remember_good(wanted))
        elif (kept := self._kept.take(wanted)) is not None:
            self._swap(wanted, kept, "it was still loaded")
        elif (why := self._teller.memory.why_not(wanted.change)) is not None:
            self.has_refused(wanted, why, is_news=False)
        else:
            self._spawn(self._try(wanted))

    async def _try(self, wanted: Wanted) -> None:
        started, before = time.perf_counter(), self.champions
        try:
            await asyncio.to_thread(self.view.must_be_mounted)
            await self._teller.remember(lambda: self._teller.memory.tries(wanted.change))
            engine = await self._tried(wanted)
        except Exception as error:
            await self._failed(wanted, error)
        else:
            if self._handled == wanted.change:
                self._swap(wanted, engine, f"ready after {time.perf_counter() - started:.1f} s")
            else:  # the alias was changed once more meanwhile
                await _close(self._kept.put(wanted, engine))
        self._call_back(before)

    async def _tried(self, wanted: Wanted) -> Engine:
        """The version's engine, which has stood all that a version must stand."""
        await asyncio.to_thread(must_be_whole, wanted)
        engine = await self.models.started(wanted.bundle)
        try:
            await asyncio.to_thread(self._check, wanted, engine)
        except BaseException:
            await engine.close()
            raise
        return engine

    def _check(self, wanted: Wanted, engine: Engine) -> None:
        """One that somebody goes back to is not held against the one they want to be rid of."""
        must_answer(engine.counter, self._limits.policy)
        if wanted.kind != "rollback":
            before = self.models.default.counter
            must_fit(engine.card, before.card)
            must_be_quick(engine.counter, before, most=self._limits.max_slower)

    async def _failed(self, wanted: Wanted, error: Exception) -> None:
        if self._handled != wanted.change:  # nobody wants it any more
            return
        try:
            await asyncio.to_thread(self.view.must_be_mounted)
        except StorageError as away:  # nothing follows about the version: it is tried when the folder is back
            self._is_away(away)
            self._handled = None
            return
        if not isinstance(error, BintallyError):
            _LOG.error("%s failed when it was tried.", wanted.name, exc_info=error)
        why = what_said(error)
        self.has_refused(wanted, why)
        self._tell()
        await self._teller.remember(lambda: self._teller.memory.refuses(wanted.change, why))

    def _swap(self, wanted: Wanted, engine: Engine, how: str) -> None:
        """From here on `wanted` answers; the version before is kept, as far as memory goes."""
        before = self._current
        gone = self._kept.put(before, self.models.swap(engine, wanted.name))
        self.models.also_default = frozenset({self.view.model, wanted.name})
        self._current, self._refused = wanted, None
        _LOG.info(
            "%s answers from now on (%s, %s).", wanted.name, wanted.kind, how,
            extra={FIELDS: {"before": before.name, "change": wanted.change, "sha256": engine.card.model_sha256}},
        )  # fmt: skip
        self._teller.did(before, "left", f"for {wanted.name}")
        self._teller.did(wanted, "taken", f"{wanted.kind}, {how}")
        self._count("taken")
        self._tell(now=True)
        self._spawn(self._remember_good(wanted))
        self._spawn(_close(gone))

    async def _remember_good(self, wanted: Wanted) -> None:
        await self._teller.remember(lambda: self._teller.memory.serves(wanted))

    def _tell(self, *, now: bool = False) -> None:
        held = (self._current, *self._kept.versions())
        self._teller.tell({each.name: each.bundle_sha256 for each in held}, now=now)

    def _call_back(self, before: Champions) -> None:
        if self.champions != before:
            for callback in self._callbacks:
                callback(self.champions)

    def _is_away(self, error: StorageError) -> None:
        self.away = f"{what_said(error).rstrip('.')}; {self._current.name} goes on"
        if self._failures.get(REGISTRY) != self.away:
            _LOG.warning("The registry can't be used: %s", self.away)
            self._failures[REGISTRY] = self.away

    def _is_back(self) -> None:
        self.away = None
        if self._failures.pop(REGISTRY, None) is not None:
            _LOG.info("The registry can be used again.")

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close(engines: list[Engine]) -> None:
    for engine in engines:
        await engine.close()


def what_said(error: Exception) -> str:
    """An error in words, for health and registry, with no secrets."""
    return scrubbed(error.message if isinstance(error, BintallyError) else f"{type(error).__name__}: {error}")
