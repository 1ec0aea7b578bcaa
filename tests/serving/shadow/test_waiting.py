"""The queue before the shadow: short, and honest about what it drops."""

from datetime import UTC, datetime

from bintally.registry.shadow.pairs import Told
from bintally.serving.shadow.messages import Question, Side
from bintally.serving.shadow.waiting import MOST, MOST_BYTES, Waiting

SIDE = Side(version_id=1, name="m/1", bundle_sha256="", folder="")


def question(name: str) -> Question:
    return Question(request_id=name, at=datetime(2026, 3, 2, tzinfo=UTC), champion=SIDE, told=Told())


def taken(waiting: Waiting) -> tuple[str, int]:
    """Whose turn it is, and how many it says were dropped before it."""
    found = waiting.take(0)
    assert found is not None
    return found[0].request_id, found[0].dropped


def test_who_comes_first_is_served_first_and_says_what_was_dropped() -> None:
    waiting = Waiting()
    assert waiting.take(0) is None
    for number in range(MOST + 3):
        waiting.put(question(str(number)), b"photo")
    assert waiting.dropped == 3
    assert taken(waiting) == ("0", 3)
    assert taken(waiting) == ("1", 0)


def test_large_photos_take_no_more_memory_than_they_may() -> None:
    waiting, half = Waiting(), bytes(MOST_BYTES // 2 + 1)
    waiting.put(question("a"), half)
    waiting.put(question("b"), half)
    waiting.put(question("c"), b"small")
    assert [taken(waiting), taken(waiting)] == [("a", 1), ("c", 0)]
    waiting.put(question("d"), half)
    assert taken(waiting) == ("d", 0), "there is room again"


def test_a_photo_that_was_taken_and_not_paired_is_dropped_with_those_before_it() -> None:
    waiting = Waiting()
    for number in range(MOST + 2):
        waiting.put(question(str(number)), b"photo")
    found = waiting.take(0)
    assert found is not None
    waiting.not_paired(found[0])
    assert waiting.dropped == 3
    assert taken(waiting) == ("1", 3)


def test_what_waits_for_another_challenger_is_forgotten() -> None:
    waiting = Waiting()
    for number in range(MOST + 2):
        waiting.put(question(str(number)), b"photo")
    waiting.clear()
    assert waiting.take(0) is None
    waiting.put(question("new"), b"photo")
    assert taken(waiting) == ("new", 0)
