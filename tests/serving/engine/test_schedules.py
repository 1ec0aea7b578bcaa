"""Whatever comes in whatever order: each request gets exactly one answer, the right one or a clear refusal."""

import asyncio
import time
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.counting.counter import Counter
from bintally.errors import ModelError, PhotoError, RequestError
from bintally.records import CountEstimate
from bintally.serving.asked import Asked
from bintally.serving.engine.batching import BatchingEngine
from tests.bundles import bin_photo
from tests.serving.engine.engines import BRIGHT, LARGE, bundle_with_nan, until

WHOLE: Final = {f"{count}": bin_photo(count) for count in range(7)}
PHOTOS: Final = WHOLE | {"large": LARGE, "torn": bin_photo(3)[:-500], "empty": b"", "nan": BRIGHT}
MAY_TAKE_S: Final = 60.0


class Request(msgspec.Struct, frozen=True):
    """One request of a schedule, with moments in milliseconds."""

    photo: str
    after_ms: int  # since the one before
    allowed_ms: int | None
    gone_ms: int | None  # when the client goes away
    counts: str | None
    lane: int


class Schedule(msgspec.Struct, frozen=True):
    """Requests, and the engine they meet."""

    requests: list[Request]
    threads: int
    max_waiting: int
    max_batch: int
    is_closed_early: bool


_MS: Final = st.integers(0, 30)
REQUESTS: Final = st.builds(
    Request,
    st.sampled_from([*WHOLE, *WHOLE, *PHOTOS]),
    st.sampled_from([0, 0, 0, 0, 1, 5, 20]),
    st.one_of(st.none(), st.none(), _MS),
    st.one_of(st.none(), st.none(), _MS),
    st.sampled_from([None, None, "1-5", "9"]),
    st.integers(0, 3),
)
SCHEDULES: Final = st.builds(
    Schedule,
    st.lists(REQUESTS, min_size=1, max_size=24),
    st.integers(1, 3),
    st.sampled_from([2, 8, 64]),
    st.sampled_from([0, 1, 4]),
    st.booleans(),
)


@pytest.fixture(scope="module")
def sometimes_nan(tmp_path_factory: pytest.TempPathFactory) -> Counter:
    return Counter(bundle_with_nan(tmp_path_factory.mktemp("schedules") / "nan"), threads=2)


@settings(max_examples=25, derandomize=True)
@given(schedule=SCHEDULES)
def test_each_request_of_a_schedule_is_answered_once_and_rightly(schedule: Schedule, sometimes_nan: Counter) -> None:
    asyncio.run(asyncio.wait_for(keep(schedule, sometimes_nan), MAY_TAKE_S))


@pytest.mark.soak
@settings(max_examples=1500)
@given(schedule=SCHEDULES)
def test_each_request_of_many_schedules_is_answered_once_and_rightly(
    schedule: Schedule, sometimes_nan: Counter
) -> None:
    asyncio.run(asyncio.wait_for(keep(schedule, sometimes_nan), MAY_TAKE_S))


async def keep(schedule: Schedule, counter: Counter) -> None:
    """Runs a schedule and looks at every outcome, and at what is left."""
    engine = BatchingEngine(
        counter, threads=schedule.threads, max_batch=schedule.max_batch, max_waiting=schedule.max_waiting
    )
    tasks, loop = [], asyncio.get_running_loop()
    for number, request in enumerate(schedule.requests):
        await asyncio.sleep(request.after_ms / 1000)
        asked = Asked(
            counts=request.counts,
            request_id=f"{request.lane}.{number}",
            deadline=None if request.allowed_ms is None else time.monotonic() + request.allowed_ms / 1000,
        )
        tasks.append(asyncio.create_task(engine.count(asked, PHOTOS[request.photo])))
        if request.gone_ms is not None:
            loop.call_later(request.gone_ms / 1000, tasks[-1].cancel)
    if schedule.is_closed_early:
        await engine.close()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for request, answer in zip(schedule.requests, answers, strict=True):
        check(request, answer, is_crowded=len(answers) > schedule.max_waiting)
    await until(lambda: not engine.load().working)
    assert engine.load().waiting == 0
    await engine.close()


def check(request: Request, answer: CountEstimate | BaseException, *, is_crowded: bool) -> None:
    """The right answer, or a refusal that has its reason in the request."""
    if isinstance(answer, asyncio.CancelledError):
        assert request.gone_ms is not None
    elif isinstance(answer, RequestError):
        reasons = {422: request.counts == "9", 504: request.allowed_ms is not None, 503: is_crowded}
        assert reasons.get(answer.status), answer
    elif request.photo in ("torn", "empty"):
        assert isinstance(answer, PhotoError)
    elif request.photo == "nan":
        assert isinstance(answer, ModelError)
    else:
        assert isinstance(answer, CountEstimate)
        assert answer.count == wanted(request)


def wanted(request: Request) -> int:
    """The count of a whole photo, among those that were asked for."""
    count = 3 if request.photo == "large" else int(request.photo)
    return min(max(count, 1), 5) if request.counts == "1-5" else count
