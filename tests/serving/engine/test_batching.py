"""The engine: the counter's own numbers, whatever else is asked at the same time."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bintally.counting.counter import Counter
from bintally.counting.decode import decode as counting_decode
from bintally.counting.network import Seen
from bintally.errors import ModelError, PhotoError, RequestError
from bintally.records import CountEstimate, Timings
from bintally.serving.asked import Asked
from bintally.serving.engine import decoding
from bintally.serving.engine.batching import BatchingEngine
from bintally.serving.engine.engine import Load
from bintally.settings import BUNDLED
from tests.bundles import bin_photo
from tests.serving.engine.engines import (
    BRIGHT,
    LARGE,
    NO_BIN,
    Gated,
    bundle_with_nan,
    counts,
    engine_of,
    held,
    together,
)
from tests.test_photos import png_claiming

TORN = bin_photo(3)[:-500]


@pytest.fixture(scope="module")
def gated(bundle: Path) -> Gated:
    return Gated(bundle, threads=2)


def refused(answer: CountEstimate | BaseException) -> tuple[int, str]:
    """The status and code of a refusal."""
    assert isinstance(answer, RequestError), answer
    return answer.status, answer.code


def in_s(seconds: float) -> float:
    """A deadline."""
    return time.monotonic() + seconds


@pytest.mark.parametrize("threads", [1, 2])
def test_a_photo_alone_and_one_in_a_batch_have_the_counters_own_numbers(gated: Gated, threads: int) -> None:
    photos = [bin_photo(count, seed=seed) for count in range(7) for seed in range(3)]

    async def counted() -> tuple[list[Any], list[Any], dict[int, int]]:
        async with engine_of(gated, threads=threads, max_batch=8) as engine:
            alone = [await engine.count(Asked(), photo) for photo in photos]
            return alone, await together(engine, photos, threads=threads), engine.load().batches

    alone, batched, batches = asyncio.run(counted())
    for photo, *answers in zip(photos, alone, batched, strict=True):
        wanted = gated.count(photo)
        for answer in answers:
            assert answer.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
            assert (answer.count, answer.count_set, answer.abstain) == (wanted.count, wanted.count_set, wanted.abstain)
            assert answer.timings.decode_ms > 0
            assert answer.timings.inference_ms > 0
    assert max(batches) == 8
    assert sum(photos * times for photos, times in batches.items()) == 2 * len(photos) + threads


def test_the_model_that_ships_says_the_same_by_every_way() -> None:
    counter = Counter(BUNDLED["fast"], threads=2)
    photos = [bin_photo(count, image_format="JPEG", height_px=300, width_px=400) for count in range(6)]

    async def counted() -> tuple[list[Any], list[Any]]:
        async with engine_of(counter, threads=2, max_batch=4) as engine:
            alone = [await engine.count(Asked(), photo) for photo in photos]
            return alone, await asyncio.gather(*(engine.count(Asked(), photo) for photo in photos))

    for photo, *answers in zip(photos, *asyncio.run(counted()), strict=True):
        wanted = counter.count(photo).probabilities
        for answer in answers:
            assert answer.probabilities == pytest.approx(wanted, abs=1e-4)


def test_photos_of_one_batch_may_be_asked_for_different_counts(gated: Gated) -> None:
    wanted = [None, "1-5", "0,2,6+", "3", None]

    async def counted() -> tuple[list[Any], dict[int, int]]:
        async with engine_of(gated, max_batch=8) as engine:
            answers = await together(engine, [bin_photo(3)] * 5, [Asked(counts=each) for each in wanted])
            return answers, engine.load().batches

    answers, batches = asyncio.run(counted())
    assert batches == {1: 1, 5: 1}
    for answer, each in zip(answers, wanted, strict=True):
        expected = gated.restricted(each).count(bin_photo(3))
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert answer.expected_count == pytest.approx(expected.expected_count, abs=1e-5)


def test_a_photo_of_no_bin_is_abstained_from_in_a_batch_too(gated: Gated) -> None:
    async def counted() -> list[Any]:
        async with engine_of(gated, max_batch=8) as engine:
            return await together(engine, [NO_BIN, bin_photo(1)])

    [novel, sound] = asyncio.run(counted())
    assert novel.abstain.startswith("does not look like a bin")
    assert sound.abstain is None


def test_counts_the_model_does_not_know_are_refused_before_anything_is_done(gated: Gated) -> None:
    async def asked() -> dict[int, int]:
        async with engine_of(gated) as engine:
            with pytest.raises(RequestError) as error:
                await engine.count(Asked(counts="9"), bin_photo(1))
            assert refused(error.value) == (422, "invalid_request")
            return engine.load().batches

    assert not asyncio.run(asked())


def test_a_broken_photo_hurts_no_other_of_its_batch(gated: Gated) -> None:
    photos = [bin_photo(1), TORN, bin_photo(2), b"", png_claiming(9000, 9000), bin_photo(4)]

    async def counted() -> list[Any]:
        async with engine_of(gated, max_batch=8) as engine:
            return await together(engine, photos)

    answers = asyncio.run(counted())
    assert counts(answers) == [1, PhotoError, 2, PhotoError, PhotoError, 4]
    assert answers[4].reason == "too_large"


def test_nan_for_one_photo_is_an_error_for_that_one_alone(tmp_path: Path) -> None:
    counter = Gated(bundle_with_nan(tmp_path / "nan"))

    async def counted() -> tuple[list[Any], int | None]:
        async with engine_of(counter, max_batch=8) as engine:
            answers = await together(engine, [bin_photo(1), BRIGHT, bin_photo(2)])
            return answers, (await engine.count(Asked(), bin_photo(5))).count

    batch, later = asyncio.run(counted())
    assert counts(batch) == [1, ModelError, 2]
    assert later == 5


class Watched(Counter):
    """A counter that notes which threads count with it."""

    def __init__(self, bundle: Path, *, threads: int) -> None:
        super().__init__(bundle, threads=threads)
        self.seen_in: set[int] = set()

    def read(self, pixels_nhwc: NDArray[np.uint8], seen: Seen, timings: Sequence[Timings]) -> list[CountEstimate]:
        self.seen_in.add(threading.get_ident())
        return super().read(pixels_nhwc, seen, timings)


def test_photos_that_come_one_by_one_stay_on_one_thread(bundle: Path) -> None:
    counter = Watched(bundle, threads=2)

    async def counted() -> None:
        async with engine_of(counter, threads=2) as engine:
            for _ in range(20):
                await engine.count(Asked(), bin_photo(2))

    asyncio.run(counted())
    assert len(counter.seen_in) == 1


class Faulty(Counter):
    """A counter with a bug, or on a machine without memory: its first answers fail."""

    def __init__(self, bundle: Path, errors: list[Exception]) -> None:
        super().__init__(bundle, threads=1)
        self.errors = errors

    def read(self, pixels_nhwc: NDArray[np.uint8], seen: Seen, timings: Sequence[Timings]) -> list[CountEstimate]:
        if self.errors:
            raise self.errors.pop()
        return super().read(pixels_nhwc, seen, timings)


@pytest.mark.parametrize("error", [MemoryError(), KeyError("a bug"), RecursionError()])
def test_a_thread_that_fails_answers_and_goes_on(bundle: Path, error: Exception) -> None:
    async def counted() -> list[int | None]:
        async with engine_of(Faulty(bundle, [error])) as engine:
            with pytest.raises(type(error)):
                await engine.count(Asked(), bin_photo(2))
            return [(await engine.count(Asked(), bin_photo(2))).count for _ in range(2)]

    assert asyncio.run(counted()) == [2, 2]


def test_a_photo_nobody_waits_for_any_more_is_not_worked_on(gated: Gated) -> None:
    async def counted() -> tuple[Any, Any, Load, Load]:
        async with engine_of(gated) as engine:
            async with held(engine):
                gone = asyncio.create_task(engine.count(Asked(), bin_photo(1)))
                late = asyncio.create_task(engine.count(Asked(deadline=in_s(0.01)), bin_photo(1)))
                await asyncio.sleep(0)
                before = engine.load()
                gone.cancel()
                [left, was_late] = await asyncio.gather(gone, late, return_exceptions=True)
                assert engine.load().waiting == 0
            return left, was_late, before, engine.load()

    left, was_late, before, after = asyncio.run(counted())
    assert before.waiting == 2
    assert isinstance(left, asyncio.CancelledError)
    assert refused(was_late) == (504, "deadline_exceeded")
    assert after.batches == {1: 1}


def test_a_deadline_that_passed_before_is_refused_at_once(gated: Gated) -> None:
    async def asked() -> dict[int, int]:
        async with engine_of(gated) as engine:
            with pytest.raises(RequestError) as error:
                await engine.count(Asked(deadline=in_s(-1)), bin_photo(1))
            assert refused(error.value) == (504, "deadline_exceeded")
            return engine.load().batches

    assert not asyncio.run(asked())


def test_more_than_may_wait_are_told_when_to_come_again(gated: Gated) -> None:
    async def counted() -> tuple[list[Any], Load]:
        async with engine_of(gated, max_waiting=5) as engine:
            return await together(engine, [bin_photo(2)] * 8), engine.load()

    answers, load = asyncio.run(counted())
    assert counts(answers[:5]) == [2] * 5
    for answer in answers[5:]:
        assert refused(answer) == (503, "overloaded")
        assert answer.retry_after_s >= 1
    assert (load.waiting, load.working) == (0, 0)


def test_the_wait_is_told_by_what_photos_took_so_far(gated: Gated) -> None:
    async def told() -> tuple[float, float]:
        async with engine_of(gated) as engine:
            idle = engine.load().wait_s
            async with held(engine):
                waiting = [asyncio.create_task(engine.count(Asked(), bin_photo(1))) for _ in range(20)]
                await asyncio.sleep(0)
                loaded = engine.load().wait_s
            await asyncio.gather(*waiting)
            return idle, loaded

    idle, loaded = asyncio.run(told())
    assert idle == 0
    assert loaded > 0


def test_a_request_of_many_photos_does_not_hold_up_another(gated: Gated) -> None:
    async def order() -> list[str]:
        done: list[str] = []

        async def count(name: str) -> None:
            await engine.count(Asked(request_id=name), bin_photo(1))
            done.append(name)

        async with engine_of(gated, max_batch=4) as engine:
            async with held(engine):
                names = [*(f"many.{place}" for place in range(60)), "single"]
                tasks = [asyncio.create_task(count(name)) for name in names]
                await asyncio.sleep(0)
            await asyncio.gather(*tasks)
        return done

    assert asyncio.run(order()).index("single") < 4


def test_large_photos_are_decoded_one_at_a_time_and_hold_up_no_other(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 1_000_000)
    begun, go_on, at_once = threading.Event(), threading.Event(), list[int]()
    under_way = 0

    def decode(photo: bytes, *, turn: Any, **size: Any) -> NDArray[np.uint8]:
        def held_up(pixels: int) -> Any:
            return _slowly(turn(pixels)) if pixels > 1_000_000 else turn(pixels)

        return counting_decode(photo, turn=held_up, **size)

    @contextmanager
    def _slowly(turn: Any) -> Iterator[None]:
        nonlocal under_way
        with turn:
            under_way += 1
            at_once.append(under_way)
            begun.set()
            assert go_on.wait(30)
            yield
            under_way -= 1

    async def asked() -> tuple[list[int | None], int]:
        async with engine_of(gated, threads=2) as engine:
            large = [asyncio.create_task(engine.count(Asked(request_id=f"large-{n}"), LARGE)) for n in range(4)]
            assert await asyncio.to_thread(begun.wait, 30)
            small = [(await engine.count(Asked(), bin_photo(count))).count for count in (1, 2, 4)]
            gone = large.pop()
            gone.cancel()
            await asyncio.sleep(0)
            go_on.set()
            return small + [(await each).count for each in large], engine.load().waiting

    monkeypatch.setattr(decoding, "decode", decode)
    assert asyncio.run(asked()) == ([1, 2, 4, 3, 3, 3], 0)
    assert at_once == [1, 1, 1]


def test_no_more_photos_than_asked_stand_in_a_batch(gated: Gated) -> None:
    async def counted() -> dict[int, int]:
        async with engine_of(gated, max_batch=3) as engine:
            await together(engine, [bin_photo(1)] * 12)
            return engine.load().batches

    assert asyncio.run(counted()) == {1: 1, 3: 4}


def test_more_pixels_than_the_service_takes_are_refused_undecoded(gated: Gated) -> None:
    async def counted() -> list[Any]:
        async with engine_of(gated, max_pixels=10_000) as engine:
            return await together(engine, [bin_photo(1), LARGE, png_claiming(101, 100)])

    answers = asyncio.run(counted())
    assert counts(answers) == [1, PhotoError, PhotoError]
    assert "more than 0.01 megapixels" in str(answers[1])


def test_large_photos_that_come_at_once_are_all_counted(gated: Gated) -> None:
    large = [bin_photo(count, image_format="JPEG", height_px=4100, width_px=4000) for count in (2, 5)]

    async def counted() -> list[Any]:
        async with engine_of(gated, threads=2) as engine:
            return await asyncio.gather(*(engine.count(Asked(), photo) for photo in large))

    assert counts(asyncio.run(counted())) == [2, 5]


def test_closing_answers_what_is_under_way_and_ends_every_thread(gated: Gated) -> None:
    before = set(threading.enumerate())

    async def counted() -> list[Any]:
        async with engine_of(gated, threads=2) as engine:
            async with held(engine, threads=2):
                asked = [asyncio.create_task(engine.count(Asked(), bin_photo(4))) for _ in range(9)]
                await asyncio.sleep(0)
                closing = asyncio.create_task(engine.close())
                await asyncio.sleep(0)
            await closing
            return await asyncio.gather(*asked)

    assert counts(asyncio.run(counted())) == [4] * 9
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("count")]


def test_whoever_took_an_engine_before_it_was_closed_is_still_answered(gated: Gated) -> None:
    async def counted() -> list[Any]:
        engine = BatchingEngine(gated, threads=1)
        await engine.close()
        return await asyncio.gather(*(engine.count(Asked(), bin_photo(3)) for _ in range(5)))

    assert counts(asyncio.run(counted())) == [3] * 5


def test_an_engine_nobody_holds_any_more_frees_its_sessions(bundle: Path) -> None:
    async def counted() -> list[weakref.ref[Any]]:
        async with engine_of(Counter(bundle, threads=2), threads=2) as engine:
            await asyncio.gather(
                *(engine.count(Asked(), photo) for photo in (bin_photo(3), TORN)), return_exceptions=True
            )
            return [weakref.ref(engine), weakref.ref(engine.counter.network)]

    left = asyncio.run(counted())
    gc.collect()
    assert [each() for each in left] == [None, None]
