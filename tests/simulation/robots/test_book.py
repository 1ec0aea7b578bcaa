"""What counts as lost, doubled, repeated and misfitting."""

import time
from datetime import UTC, datetime

import pytest

from bintally.simulation.robots.book import COUNTED, Answer, Book, Shot


@pytest.fixture
def book() -> Book:
    book = Book()
    for name in ("a", "b"):
        shot = Shot(
            id=name, photo=b"", kind="usual", due=time.perf_counter(), bin_id="A-1", site=None, recorded_count=3,
            captured_at=datetime.now(UTC),
        )  # fmt: skip
        book.sends(shot, "http")
    return book


def counted(name: str, request: str = "r1", *, bin_id: str | None = None) -> Answer:
    return Answer(COUNTED, of=name, bin_id=bin_id, request_id=request, count=3)


def test_a_photo_that_is_answered_once_is_neither_lost_nor_doubled(book: Book) -> None:
    book.hears("a", counted("a", bin_id="A-1"))
    assert book.lost == ["b"]
    assert book.waiting == 1
    assert not (book.doubled or book.misfits or book.repeated)
    assert 0 <= book.entries["a"].latency_s < 60
    assert book.entries["b"].latency_s == float("inf")


def test_the_same_answer_again_is_a_repetition_and_another_one_a_second_count(book: Book) -> None:
    book.hears("a", counted("a", "r1"))
    book.hears("a", counted("a", "r1"))
    assert (book.repeated, book.doubled) == (1, [])
    book.hears("a", counted("a", "r2"))
    assert book.doubled == ["a"]


def test_an_answer_to_another_photo_or_bin_is_no_answer(book: Book) -> None:
    book.hears("a", counted("b"))
    book.hears("a", counted("a", bin_id="A-2"))
    book.hears("nobody", counted("nobody"))
    assert book.misfits == ["a", "a", "nobody"]
    assert book.lost == ["a", "b"]


def test_a_refusal_is_an_answer_without_a_latency(book: Book) -> None:
    book.hears("a", Answer("bad_photo"))
    assert book.lost == ["b"]
    assert book.entries["a"].latency_s == float("inf")
