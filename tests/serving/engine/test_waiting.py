"""Whose turn it is."""

import asyncio
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from bintally.counting.counter import Counter
from bintally.records import CountEstimate
from bintally.serving.asked import Asked
from bintally.serving.engine.waiting import Job, Waiting


def job(name: str) -> Job:
    """One that waits; neither photo, model nor event loop matter to the order."""
    answer = cast("asyncio.Future[CountEstimate]", None)
    return Job(Asked(request_id=name), b"", cast("Counter", None), answer)


def names(jobs: list[Job]) -> list[str]:
    return [each.asked.request_id for each in jobs]


def waiting_of(*names: str) -> tuple[Waiting, list[Job]]:
    waiting, jobs = Waiting(), [job(name) for name in names]
    for each in jobs:
        waiting.put(each)
    return waiting, jobs


def test_requests_of_one_photo_are_first_come_first_served() -> None:
    waiting, _ = waiting_of("a", "b", "c")
    assert names(waiting.take(2)) == ["a", "b"]
    assert names(waiting.take(9)) == ["c"]
    assert waiting.take(1) == []


def test_a_request_of_many_photos_takes_turns_with_the_others() -> None:
    waiting, _ = waiting_of("many.0", "many.1", "many.2", "many.3", "one", "two.0", "two.1")
    assert names(waiting.take(9)) == ["many.0", "one", "two.0", "many.1", "two.1", "many.2", "many.3"]


def test_what_is_dropped_is_not_taken_and_can_be_dropped_again() -> None:
    waiting, [first, second, third] = waiting_of("a.0", "a.1", "b")
    waiting.drop(first)
    waiting.drop(first)
    assert len(waiting) == 2
    waiting.drop(second)
    assert waiting.take(9) == [third]
    waiting.drop(third)
    assert len(waiting) == 0


@given(st.lists(st.one_of(st.sampled_from(["a.", "b.", "c"]), st.integers(1, 4), st.just("drop"))))
def test_every_photo_is_taken_or_dropped_once_and_in_the_order_of_its_request(steps: list[str | int]) -> None:
    waiting, put, gone = Waiting(), list[Job](), list[Job]()
    for step in steps:
        if isinstance(step, int):
            gone += waiting.take(step)
        elif step == "drop":
            left = [each for each in put if each not in gone]
            if left:
                waiting.drop(left[-1])
                gone.append(left[-1])
        else:
            put.append(job(f"{step}{len(put)}"))
            waiting.put(put[-1])
        assert len(waiting) == len(put) - len(gone)
    gone += waiting.take(len(put) + 1)
    assert len(gone) == len(put)
    assert set(map(id, gone)) == set(map(id, put))
