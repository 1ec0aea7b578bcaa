import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from bintally.errors import RequestError
from bintally.serving.http import reading
from bintally.serving.http.reading import Room, body_of


class Upload:
    """A body that comes in pieces and remembers how many were taken; None in place of a piece: the sender is gone."""

    def __init__(self, pieces: Sequence[bytes | None], pause_s: float = 0.0) -> None:
        self.pieces, self.pause_s, self.taken = pieces, pause_s, 0

    async def receive(self) -> Message:
        await asyncio.sleep(self.pause_s)
        if self.taken == len(self.pieces):
            return {"type": "http.request", "body": b"", "more_body": False}
        piece = self.pieces[self.taken]
        self.taken += 1
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    def request(self, headers: Sequence[tuple[str, str]]) -> Request:
        raw = [(name.encode(), value.encode()) for name, value in headers]
        return Request({"type": "http", "headers": raw}, self.receive)


def read(
    upload: Upload,
    *headers: tuple[str, str],
    room: Room | None = None,
    limit: int = 1000,
    within_s: float = 60.0,
    meanwhile: Callable[[], None] = lambda: None,
) -> bytes:
    async def reading() -> bytes:
        deadline = time.monotonic() + within_s
        async with body_of(upload.request(headers), room or Room(10_000), limit=limit, deadline=deadline) as body:
            meanwhile()
            return body

    return asyncio.run(reading())


def refused(
    upload: Upload, *headers: tuple[str, str], room: Room | None = None, within_s: float = 60.0
) -> RequestError:
    with pytest.raises(RequestError) as refusal:
        read(upload, *headers, room=room, within_s=within_s)
    return refusal.value


@given(st.lists(st.binary(max_size=100), max_size=10), st.booleans())
def test_a_body_is_its_pieces_and_gives_its_room_back(pieces: list[bytes], says_length: bool) -> None:
    size = sum(map(len, pieces))
    room = Room(size)
    headers = [("content-length", str(size))] if says_length else []
    during: list[int] = []
    assert read(Upload(pieces), *headers, room=room, meanwhile=lambda: during.append(room.taken)) == b"".join(pieces)
    assert (during, room.taken) == ([size], 0)


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert read(Upload([b"x" * 100] * 10)) == b"x" * 1000


def test_a_body_that_grows_too_large_is_given_up_while_it_streams() -> None:
    upload, room = Upload([b"x" * 100] * 1000), Room(10_000)
    assert refused(upload, room=room).status == 413
    assert upload.taken == 11
    assert room.taken == 0


@pytest.mark.parametrize("claimed", ["1001", "9" * 40])
def test_a_body_that_says_it_is_too_large_is_not_read_at_all(claimed: str) -> None:
    upload = Upload([b"x"])
    assert refused(upload, ("content-length", claimed)).status == 413
    assert upload.taken == 0


def test_a_body_is_not_read_where_there_is_no_room_and_may_come_again() -> None:
    room = Room(1000)
    room.take(600)
    upload = Upload([b"x" * 500])
    error = refused(upload, ("content-length", "500"), room=room)
    assert (error.status, error.code, upload.taken, room.taken) == (503, "overloaded", 0, 600)
    assert error.retry_after_s
    assert refused(Upload([b"x" * 100] * 5), room=room).status == 503, (
        "one that does not say how long it is, as it grows"
    )
    assert room.taken == 600
    room.leave(600)
    assert read(upload, ("content-length", "500"), room=room) == b"x" * 500


def test_what_would_never_have_room_is_too_large_and_not_told_to_come_again() -> None:
    error = refused(Upload([b"x"]), ("content-length", "600"), room=Room(500))
    assert (error.status, error.retry_after_s) == (413, None)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "GZIP"])
def test_a_compressed_body_is_not_taken(encoding: str) -> None:
    assert refused(Upload([b"x"]), ("content-encoding", encoding)).status == 415
    assert read(Upload([b"x"]), ("content-encoding", "Identity")) == b"x"


@pytest.mark.parametrize("length", ["-1", "1.0", "one", "٣"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    assert refused(Upload([b"x"]), ("content-length", length)).status == 400


def test_a_header_that_contradicts_itself_is_refused() -> None:
    assert refused(Upload([b"x"]), ("content-length", "1"), ("content-length", "2")).status == 400


def test_a_sender_that_goes_away_leaves_no_room_taken() -> None:
    room = Room(1000)
    error = refused(Upload([b"x", None]), ("content-length", "500"), room=room)
    assert (error.status, error.code, room.taken) == (400, "cut_off", 0)


def test_a_body_that_drips_is_given_up_long_before_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "GRACE_S", 0.2)
    upload, room = Upload([b"x"] * 1000, pause_s=0.02), Room(1000)
    error = refused(upload, ("content-length", "1000"), room=room)
    assert (error.status, error.code, room.taken) == (408, "slow_body", 0)
    assert 0 < upload.taken < 100


def test_a_body_that_keeps_its_pace_may_take_longer_than_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "GRACE_S", 0.2)
    monkeypatch.setattr(reading, "LEAST_BYTES_PER_S", 100)
    assert len(read(Upload([b"x" * 50] * 20, pause_s=0.03))) == 1000


def test_nobody_reads_past_the_deadline() -> None:
    assert refused(Upload([b"x"] * 1000, pause_s=0.02), within_s=0.1).status == 408


def test_what_is_too_late_before_it_begins_is_not_read_at_all() -> None:
    """It was called a slow body: "0 bytes in 0 s"."""
    upload = Upload([b"x"])
    assert (refused(upload, within_s=-1.0).code, upload.taken) == ("deadline_exceeded", 0)
