"""`serving.service.Answered`: a question that is asked again with its key is answered with what was answered before."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self
from weakref import WeakValueDictionary

import msgspec

from bintally.errors import RequestError, StorageError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.idempotency.answers import AnswersFile, Claim, Keep, Name, Release, Said, Step
from bintally.serving.idempotency.question import key_of, question_soon
from bintally.serving.settings import ServeConfig

WAIT_S: Final = 5.0
"""How long a question waits for the same one to be answered, before it is told to come back."""

FOLDER: Final = "idempotency"
_ASK_S: Final = 0.05  # between two looks at whether another process has answered
_RETRY_AFTER_S: Final = 1.0
_SPARE_S: Final = 60.0  # what is answered late is answered all the same
_ANSWERS: Final = msgspec.msgpack.Decoder(CountAnswer)


class KeptAnswers:
    """Answers in `folder`, for `keep_s` seconds. An answer is given within `lease_s`, or its process hangs."""

    def __init__(self, folder: Path, *, keep_s: float, lease_s: float) -> None:
        self._file = AnswersFile(folder, keep_s=keep_s, lease_s=lease_s)
        self._turns: WeakValueDictionary[Name, asyncio.Lock] = WeakValueDictionary()
        self.failure: str | None = None
        """Why answers can't be kept just now; None: they can, as far as is known."""

    @classmethod
    def of(cls, config: ServeConfig) -> Self:
        """The answers that `config` wants kept."""
        lease_s = config.timeout_s + config.shutdown_s + _SPARE_S
        return cls(config.state_folder / FOLDER, keep_s=config.idempotency_hours * 3600, lease_s=lease_s)

    async def once(self, asked: Asked, answer: Callable[[], Awaitable[CountAnswer]]) -> CountAnswer:
        """As `Answered.once`. Where answers can't be kept, the question is answered all the same, and told so.

        Raises:
            RequestError: 400 no key, 422 the key was used for another question, 409 the same is being answered now.
        """
        name = Name(asked.client, key_of(asked.idempotency_key or ""))
        question = await question_soon(asked)
        until = time.monotonic() + min(asked.left_s, WAIT_S)
        async with self._turn(name, until):
            try:
                return await self._answered(name, question, answer, until)
            except BaseException:
                self._file.submit(Release(name))  # refusals are not kept; a row that is not ours stays
                raise

    async def close(self) -> None:
        """Ends its thread."""
        await asyncio.to_thread(self._file.close)

    async def _answered(
        self, name: Name, question: bytes, answer: Callable[[], Awaitable[CountAnswer]], until: float
    ) -> CountAnswer:
        try:
            said = await self._claimed(name, question, until)
        except StorageError as error:
            return self._unkept(await answer(), error)
        if said == "another_question":
            raise _another_question()
        if said == "under_way":
            raise _under_way()
        unreadable = None
        if isinstance(said, bytes):
            before = _replayed(said)
            if before is not None:
                return before
            unreadable = said
        return await self._keep(name, question, await answer(), instead_of=unreadable)

    async def _claimed(self, name: Name, question: bytes, until: float) -> Said:
        """What is said of the question when no other process answers it any more, or when nobody waits longer."""
        while (said := await self._done(Claim(name, question))) == "under_way" and time.monotonic() < until:
            await asyncio.sleep(_ASK_S)
        return said

    async def _keep(self, name: Name, question: bytes, answer: CountAnswer, *, instead_of: bytes | None) -> CountAnswer:
        keep = Keep(name, question, msgspec.msgpack.encode(answer), instead_of)
        try:
            # Shielded: whoever gives up waiting may ask again, and then wants this answer.
            await asyncio.shield(self._done(keep))
        except StorageError as error:
            return self._unkept(answer, error)
        self.failure = None
        return answer

    async def _done(self, step: Step) -> Said:
        return await asyncio.wrap_future(self._file.submit(step))

    def _unkept(self, answer: CountAnswer, error: StorageError) -> CountAnswer:
        self.failure = error.message
        told = f"not kept for its Idempotency-Key: {error.message}"
        return msgspec.structs.replace(answer, degraded=(*answer.degraded, told))

    @asynccontextmanager
    async def _turn(self, name: Name, until: float) -> AsyncIterator[None]:
        """In this process, one at a time; so a row of ours that has no answer is one that nobody works on."""
        turn = self._turns.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await turn.acquire()
        except TimeoutError:
            raise _under_way() from None
        try:
            yield
        finally:
            turn.release()


def _replayed(said: bytes) -> CountAnswer | None:
    """The answer that was kept; None: by a version of bintally that wrote it in another way."""
    try:
        return msgspec.structs.replace(_ANSWERS.decode(said), replayed=True)
    except msgspec.DecodeError:
        return None


def _another_question() -> RequestError:
    return RequestError(
        "This Idempotency-Key was used for another question.",
        status=422,
        code="idempotency_key_reused",
        hint="Send each question with a key of its own.",
    )


def _under_way() -> RequestError:
    return RequestError(
        "A question with this Idempotency-Key is being answered.",
        status=409,
        code="idempotency_key_in_use",
        hint="Send it again after the seconds in Retry-After.",
        retry_after_s=_RETRY_AFTER_S,
    )
