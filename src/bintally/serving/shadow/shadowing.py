"""`Shadowing`: some of the photos that were answered are counted by the challenger, too, beside everything else.

    answered -> drawn? -> room in the queue? -> shadow's process: counted, pair kept
                             no: dropped, and counted as such

What is drawn goes by a hash of the request, as for captures, so that of photos drawn for 5% all are among those drawn
for 10%. An answer waits for nothing here: `offer` looks, and puts a photo into a short queue or not.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bintally.errors import StorageError
from bintally.records import CountEstimate
from bintally.registry.shadow.pairs import Told
from bintally.registry.shadow.running import under_way
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.capturing import is_drawn
from bintally.serving.operation.logs import FIELDS
from bintally.serving.redaction import scrubbed
from bintally.serving.settings import ServeConfig
from bintally.serving.shadow.messages import Plan, Question, Side
from bintally.serving.shadow.process import ShadowLostError, ShadowProcess
from bintally.serving.shadow.waiting import Waiting

if TYPE_CHECKING:
    from bintally.serving.following.follower import Champions, RegistryFollower
    from bintally.serving.following.wanted import Wanted

PART: Final = "shadow"
"""In health: the challenger can't count, or pairs can't be kept."""

_IDLE_S: Final = 0.5
_LEAST_WAIT_S: Final = 1.0  # before a process that was lost is started again; twice as long each time
_MOST_WAIT_S: Final = 60.0
_LOOK_AGAIN_S: Final = 2.0
_LOG: Final = logging.getLogger(__name__)


class Shadowing:
    """Is a `service.Shadow`. `percent`: of the photos; None: as many as whoever started the shadow said."""

    def __init__(
        self, follower: "RegistryFollower", *, percent: float | None, most_bytes: int, trust: tuple[str, ...] = ()
    ) -> None:
        self._view, self._percent, self._most_bytes, self._trust = follower.view, percent, most_bytes, trust
        self._service = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000}"
        self._waiting = Waiting()
        self.kept = 0
        """Photos, since the start."""
        self._champions: dict[str, Side] = {}  # those that have answered here, by name
        self._share = 0.0  # percent, of the shadow that is under way
        self._plan: Plan | None = None
        self._is_news, self._is_over = threading.Event(), threading.Event()
        self._process: ShadowProcess | None = None
        self._again_at, self._wait_s, self._started = 0.0, _LEAST_WAIT_S, 0.0
        self._full: set[tuple[int, int]] = set()
        self.failure: str | None = None
        """Why nothing is paired though it should be; None: nothing is wrong, as far as is known."""
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        follower.subscribe(self.on_champions)

    @classmethod
    def of(cls, config: ServeConfig, follower: "RegistryFollower") -> "Shadowing | None":
        """The shadow of a service that follows a registry; None: it wants none."""
        if config.shadow == 0:
            return None
        trust = tuple(str(path.absolute()) for path in config.trust)
        return cls(follower, percent=config.shadow, most_bytes=config.shadow_mb * 2**20, trust=trust)

    @property
    def is_full(self) -> bool:
        """Whether pairs of some versions have all the room they may have."""
        return bool(self._full)

    def on_champions(self, champions: "Champions") -> None:
        """Another version answers from now on, or would like to."""
        self._champions[champions.champion.name] = _side(champions.champion)
        self._is_news.set()

    def offer(self, asked: Asked, photo: bytes, estimate: CountEstimate, answer: CountAnswer) -> None:
        """As `Shadow.offer`."""
        plan, champion = self._plan, self._champions.get(answer.model_version or "")
        if plan is None or champion is None or champion.version_id == plan.challenger.version_id:
            return
        if (plan.challenger.version_id, champion.version_id) in self._full or not is_drawn(asked, self._share):
            return
        self._waiting.put(_question(asked, estimate, answer, champion), photo)

    def photos(self) -> dict[str, int]:
        """As `Shadow.photos`."""
        return {"kept": self.kept, "dropped": self._waiting.dropped}

    @asynccontextmanager
    async def running(self, failures: dict[str, str]) -> AsyncIterator[None]:
        """As `Shadow.running`."""
        self._thread.start()
        telling = asyncio.create_task(self._tell(failures))
        try:
            yield
        finally:
            telling.cancel()
            self._is_over.set()
            self._waiting.wake()
            await asyncio.to_thread(self._thread.join)

    async def _tell(self, failures: dict[str, str]) -> None:
        while True:
            if self.failure is None:
                failures.pop(PART, None)
            else:
                failures[PART] = self.failure
            await asyncio.sleep(_IDLE_S)

    def _work(self) -> None:
        """The thread's work."""
        while not self._is_over.is_set():
            try:
                self._step()
            except Exception:  # a shadow that fails in an unknown way must not look like one without traffic
                _LOG.exception("The shadow failed.")
                self.failure = "it failed; the log says why"
                self._is_over.wait(_LOOK_AGAIN_S)
        self._end_process()

    def _step(self) -> None:
        if self._is_news.is_set():
            self._look()
        if self._plan is not None:
            self._start_process(self._plan)
        taken = self._waiting.take(_IDLE_S)
        if taken is not None:
            self._pair(*taken)

    def _look(self) -> None:
        """What the registry says of shadows now."""
        self._is_news.clear()
        try:
            with self._view.opened() as registry, registry.read() as connection:
                running = under_way(connection, self._view.model)
                bundles, place = registry.bundles.absolute(), str(registry.place.absolute())
        except StorageError:  # the follower says so; what was known goes on
            self._is_news.set()
            self._is_over.wait(_LOOK_AGAIN_S)
            return
        if running is None:
            self._becomes(None, 0.0)
            return
        held = running.challenger
        folder = str(bundles / held.bundle_sha256)
        side = Side(version_id=held.id, name=held.name, bundle_sha256=held.bundle_sha256, folder=folder)
        plan = Plan(challenger=side, place=place, service=self._service, most_bytes=self._most_bytes, trust=self._trust)
        self._becomes(plan, running.percent if self._percent is None else self._percent)

    def _becomes(self, plan: Plan | None, share: float) -> None:
        """Another challenger takes another process, and none takes none."""
        self._share = share
        if plan == self._plan:
            return
        self._plan, self.failure = plan, None
        self._waiting.clear()
        self._end_process()
        self._again_at, self._wait_s = 0.0, _LEAST_WAIT_S
        if plan is None:
            _LOG.info("The shadow has ended.")
        else:
            facts = {"challenger": plan.challenger.name, "percent": share}
            _LOG.info("%s counts in the shadow.", plan.challenger.name, extra={FIELDS: facts})

    def _start_process(self, plan: Plan) -> None:
        if self._process is not None or time.monotonic() < self._again_at:
            return
        self._process, self._started = ShadowProcess(plan, self._is_over), time.monotonic()
        try:
            self._process.until_ready()
        except ShadowLostError as error:
            self._lose(error)
        else:
            self.failure = None

    def _pair(self, question: Question, photo: bytes) -> None:
        if self._process is None:
            self._waiting.not_paired(question)
            return
        try:
            word = self._process.pair(question, photo)
        except ShadowLostError as error:
            self._waiting.not_paired(question)
            self._lose(error)
            return
        if word.said == "kept":
            self.kept += 1
            self.failure = None
        elif word.said == "full":
            self._is_full(question, word.why)
        else:
            self._waiting.not_paired(question)
            self.failure = f"pairs can't be kept: {scrubbed(word.why)}"

    def _is_full(self, question: Question, why: str) -> None:
        assert self._plan is not None  # noqa: S101 - somebody was asked
        self._full.add((self._plan.challenger.version_id, question.champion.version_id))
        _LOG.warning("The shadow pairs no more beside %s: %s.", question.champion.name, why)

    def _lose(self, error: ShadowLostError) -> None:
        """Its process is gone: another one is started, but not at once, and less and less often."""
        self._end_process()
        if self._is_over.is_set() or self._plan is None:
            return
        self.failure = f"{self._plan.challenger.name} can't count: {scrubbed(error.message)}"
        if time.monotonic() - self._started > _MOST_WAIT_S:  # it has worked for a while
            self._wait_s = _LEAST_WAIT_S
        _LOG.warning("In the shadow %s", self.failure, extra={FIELDS: {"again_in_s": self._wait_s}})
        self._again_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _MOST_WAIT_S)

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


def _side(wanted: "Wanted") -> Side:
    return Side(
        version_id=wanted.version_id,
        name=wanted.name,
        bundle_sha256=wanted.bundle_sha256,
        folder=str(Path(wanted.folder).absolute()),
    )


def _question(asked: Asked, estimate: CountEstimate, answer: CountAnswer, champion: Side) -> Question:
    return Question(
        request_id=asked.request_id,
        at=datetime.now(UTC),
        champion=champion,
        told=Told.of(estimate),
        counts=asked.counts,
        site=answer.bin.site if answer.bin is not None else asked.site,
        bin=asked.bin_id,
        bin_image_id=asked.bin_image_id,
        recorded_count=asked.recorded_count,
        verdict=None if answer.verdict is None else answer.verdict.outcome,
    )
