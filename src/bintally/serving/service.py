"""`CountingService`: what every door calls. A question in, an answer out, and everything that must happen between.

    admitted -> answered before? -> fetched -> checked -> counted -> judged by the ledger -> captured -> answered

Nothing here knows HTTP or MQTT. One event loop uses a service; what takes time runs in threads of its parts.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Protocol, Self

import msgspec

from bintally.errors import BintallyError, RequestError
from bintally.inventory.verdict import Verdict
from bintally.records import CountEstimate
from bintally.serving.answer import BinState, CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.engine.engine import Engine
from bintally.serving.idempotency.question import question_soon
from bintally.serving.models import Models
from bintally.serving.photo_check import checked
from bintally.serving.redaction import without_secrets
from bintally.serving.refusals import overloaded, stopping


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What is added to a count. `estimate`: in place of the engine's, where the bin's earlier photo was asked too."""

    verdict: Verdict | None = None
    bin: BinState | None = None
    estimate: CountEstimate | None = None
    degraded: tuple[str, ...] = ()


class Fetcher(Protocol):
    """Photos by URL (`serving.fetching`)."""

    async def fetch(self, url: str, *, max_bytes: int, deadline: float | None) -> bytes:
        """The bytes behind `url`.

        Raises:
            RequestError: 403 not allowed, 413 too large, 422 no URL, 400 not to be had, 503 too many are wanted.
        """


class Judge(Protocol):
    """What records and the ledger say (`serving.bins`)."""

    async def judge(self, asked: Asked, photo: bytes, estimate: CountEstimate, engine: Engine) -> Judged:
        """The verdict about the record that was given, or the state of a known bin after this photo is taken in.

        `engine` is the one that made `estimate`.

        What it returns for a bin is durable: the photo is in the ledger, or waits on disk to be taken in (`degraded`
        then says so).

        Raises:
            RequestError: 422 unknown bin or site, 409 the photo is known with another time or under another bin, 503
                what it is told can't be made durable.
        """

    def running(self, failures: dict[str, str]) -> AbstractAsyncContextManager[None]:
        """Takes in what waits on disk meanwhile, tells in `failures` what does not work, ends its threads after."""


class Answered(Protocol):
    """Answers to questions that are asked twice (`serving.idempotency`)."""

    @property
    def failure(self) -> str | None:
        """Why answers can't be kept just now; None: they can, as far as is known."""

    async def once(self, asked: Asked, answer: Callable[[], Awaitable[CountAnswer]]) -> CountAnswer:
        """What was answered to the same key before, else `answer()`, which is kept. Refusals are not kept.

        Raises:
            RequestError: 400 no key, 422 it was used for another question, 409 the same is being answered now.
        """

    async def close(self) -> None:
        """Ends its thread, after what is under way."""


class Capture(Protocol):
    """What was asked and answered, kept on disk (`monitoring.capture`)."""

    async def keep(self, asked: Asked, photo: bytes, answer: CountAnswer) -> bool:
        """Returns when it is durable (True), or not sampled (False).

        Raises:
            StorageError: the disk is full or gone.
        """

    async def close(self) -> None:
        """Ends its threads, after what is under way."""


class Watcher(Protocol):
    """Who counts requests (`serving.operation.metrics`) and logs them."""

    def spent(self, asked: Asked, part: str, seconds: float) -> None:
        """A part ("fetch", "count", "judge", "capture") of answering a question took so long, and has just ended."""

    def answered(self, asked: Asked, answer: CountAnswer, seconds: float) -> None:
        """A question was answered."""

    def refused(self, asked: Asked, error: Exception, seconds: float) -> None:
        """A question was refused, or failed."""


class Follower(Protocol):
    """Who says which version of a registry is the default model (`serving.following`)."""

    def running(self, service: "CountingService") -> AbstractAsyncContextManager[None]:
        """Follows the registry meanwhile, and tells in `service.failures` what does not work."""


class Shadow(Protocol):
    """Another model that counts some of the photos, too, which nobody hears (`serving.shadow`)."""

    def offer(self, asked: Asked, photo: bytes, estimate: CountEstimate, answer: CountAnswer) -> None:
        """A photo that was answered: takes it or not, at once. `estimate` is the engine's, of this photo alone."""

    def photos(self) -> dict[str, int]:
        """How many were taken since the start, by what became of them: kept or dropped."""

    def running(self, failures: dict[str, str]) -> AbstractAsyncContextManager[None]:
        """Counts meanwhile, and tells in `failures` what does not work."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is made of beside its models; None: it does without."""

    fetcher: Fetcher | None = None
    judge: Judge | None = None
    answered: Answered | None = None
    capture: Capture | None = None
    follower: Follower | None = None
    shadow: Shadow | None = None
    watchers: tuple[Watcher, ...] = ()


class CountingService:
    """Answers questions. `max_waiting` of them may be under way, of `max_waiting_bytes` together."""

    def __init__(
        self,
        models: Models,
        parts: Parts,
        *,
        max_photo_bytes: int,
        max_waiting: int,
        max_waiting_bytes: int,
    ) -> None:
        self.models, self.parts = models, parts
        self.max_photo_bytes = max_photo_bytes
        self._max_waiting, self._max_waiting_bytes = max_waiting, max_waiting_bytes
        self._under_way = self._bytes_under_way = 0
        self.is_stopping = False
        self.failures: dict[str, str] = {}
        """What does not work just now, by part ("capture"), in words; empty in health."""

    async def count(self, asked: Asked) -> CountAnswer:
        """Answers one question; once it returns, what must be kept is durable.

        Raises:
            RequestError: refused, with HTTP's status for it.
            PhotoError: not a photo that can be read.
        """
        started = time.perf_counter()
        try:
            with self._admitted(len(asked.photo or b"")):
                if asked.idempotency_key is not None and self.parts.answered is not None:
                    asked = msgspec.structs.replace(asked, question=await question_soon(asked))
                    answer = await self.parts.answered.once(asked, lambda: self._answer(asked))
                    self._tell("idempotency", self.parts.answered.failure)
                else:
                    answer = await self._answer(asked)
        except BaseException as error:
            if isinstance(error, Exception):
                for watcher in self.parts.watchers:
                    watcher.refused(asked, error, time.perf_counter() - started)
            raise
        for watcher in self.parts.watchers:
            watcher.answered(asked, answer, time.perf_counter() - started)
        return answer

    async def _answer(self, asked: Asked) -> CountAnswer:
        asked.check_deadline()
        engine = self.models.get(asked.model)
        photo = await self.photo(asked)
        with self._held(0 if asked.url is None else len(photo)):
            return await self._answer_about(asked, photo, engine)

    async def _answer_about(self, asked: Asked, photo: bytes, engine: Engine) -> CountAnswer:
        with self._timed(asked, "count"):
            estimate = await engine.count(asked, photo)
        judged = Judged()
        if asked.bin_id is not None or asked.recorded_count is not None:
            judged = await self._judged(asked, photo, estimate, engine)
        named = msgspec.structs.replace(
            judged.estimate or estimate,
            path=None if asked.url is None else without_secrets(asked.url),
            bin_image_id=asked.bin_image_id,
        )
        answer = CountAnswer.of(
            named,
            request_id=asked.request_id,
            verdict=judged.verdict,
            bin=judged.bin,
            degraded=judged.degraded,
            model_version=self.models.version_of(engine),
        )
        answer = await self._captured(asked, photo, answer)
        if self.parts.shadow is not None:
            self.parts.shadow.offer(asked, photo, estimate, answer)
        return answer

    async def photo(self, asked: Asked) -> bytes:
        """The photo that is asked about, fetched where it came as a URL.

        Raises:
            RequestError: 413 too large, 403 its URL may not be fetched, 400 it can't be.
            PhotoError: not a photo, by its first bytes.
        """
        return checked(await self._photo(asked), max_photo_bytes=self.max_photo_bytes)

    async def _photo(self, asked: Asked) -> bytes:
        if asked.url is None:
            return asked.photo or b""
        if self.parts.fetcher is None:
            raise RequestError(
                "Photos are not fetched by URL here.",
                status=403,
                code="url_not_allowed",
                hint="Send the photo itself, or start the service with --allow-url HOST.",
            )
        with self._timed(asked, "fetch"):
            return await self.parts.fetcher.fetch(asked.url, max_bytes=self.max_photo_bytes, deadline=asked.deadline)

    async def _judged(self, asked: Asked, photo: bytes, estimate: CountEstimate, engine: Engine) -> Judged:
        if self.parts.judge is None:
            raise RequestError(
                "This service judges no records and knows no bins.",
                status=422,
                code="no_ledger",
                hint="Start it with --ledger PLACE, or leave bin_id and recorded_count out.",
            )
        with self._timed(asked, "judge"):
            return await self.parts.judge.judge(asked, photo, estimate, engine)

    async def _captured(self, asked: Asked, photo: bytes, answer: CountAnswer) -> CountAnswer:
        """A count that can't be captured is still a count: it says so, and so does health."""
        if self.parts.capture is None:
            return answer
        try:
            with self._timed(asked, "capture"):
                was_kept = await self.parts.capture.keep(asked, photo, answer)
        except BintallyError as error:
            self._tell("capture", error.message)
            return msgspec.structs.replace(answer, degraded=(*answer.degraded, f"not captured: {error.message}"))
        if was_kept:
            self._tell("capture", None)
        return answer

    @contextmanager
    def _timed(self, asked: Asked, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            for watcher in self.parts.watchers:
                watcher.spent(asked, part, seconds)

    def _tell(self, part: str, failure: str | None) -> None:
        if failure is None:
            self.failures.pop(part, None)
        else:
            self.failures[part] = failure

    def _admitted(self, size: int) -> "_Admitted":
        if self.is_stopping:
            raise stopping()
        if self._under_way >= self._max_waiting:
            raise self._overloaded()
        self._check_room(size)
        return _Admitted(self, size)

    @contextmanager
    def _held(self, size: int) -> Iterator[None]:
        """So many bytes more are under way: a photo that was fetched, whose size nobody knew before."""
        self._check_room(size)
        self._bytes_under_way += size
        try:
            yield
        finally:
            self._bytes_under_way -= size

    def _check_room(self, size: int) -> None:
        if self._bytes_under_way + size > self._max_waiting_bytes:
            raise self._overloaded()

    def _overloaded(self) -> RequestError:
        return overloaded(max(1.0, self.models.default.load().wait_s))

    def enter(self, size: int) -> None:
        """One more under way, of so many bytes."""
        self._under_way += 1
        self._bytes_under_way += size

    def leave(self, size: int) -> None:
        """One of so many bytes is answered."""
        self._under_way -= 1
        self._bytes_under_way -= size

    @property
    def under_way(self) -> int:
        """Questions that are not answered yet."""
        return self._under_way


class _Admitted:
    def __init__(self, service: CountingService, size: int) -> None:
        self._service, self._size = service, size

    def __enter__(self) -> Self:
        self._service.enter(self._size)
        return self

    def __exit__(self, *error: object) -> None:
        self._service.leave(self._size)
