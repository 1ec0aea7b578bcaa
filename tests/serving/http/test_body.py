import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import PhotoError, RequestError
from bintally.serving.asked import JSON_TYPE
from bintally.serving.http.body import PhotoRequest, media_type, parse, read_body
from bintally.serving.photo_check import checked
from tests.bundles import bin_photo


@pytest.mark.parametrize(
    ("sent", "kind"),
    [("image/jpeg", "image/jpeg"), ("Image/PNG ", "image/png"), ("application/json; charset=utf-8", JSON_TYPE)],
)
def test_a_content_type_is_read_as_http_spells_it(sent: str, kind: str) -> None:
    assert media_type(sent) == kind


@pytest.mark.parametrize("sent", ["", "text/plain", "image/tiff", "image/jpegx", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused_with_those_taken(sent: str) -> None:
    with pytest.raises(RequestError) as refusal:
        media_type(sent)
    assert refusal.value.status == 415
    assert "image/jpeg" in refusal.value.hint


class Upload:
    """A body that comes in pieces and remembers how many were taken."""

    def __init__(self, pieces: int, piece: bytes) -> None:
        self.pieces = pieces
        self.piece = piece
        self.taken = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for _ in range(self.pieces):
            self.taken += 1
            yield self.piece


def body_of(upload: Upload, *, limit: int, kind: str = "image/png", claimed: str | None = None) -> bytes:
    return asyncio.run(read_body(upload.chunks(), kind=kind, claimed=claimed, max_photo_bytes=limit))


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert body_of(Upload(10, b"x" * 100), limit=1000) == b"x" * 1000


def test_a_body_that_grows_too_large_is_given_up_while_it_streams() -> None:
    upload = Upload(1000, b"x" * 100)
    with pytest.raises(RequestError) as refusal:
        body_of(upload, limit=1000)
    assert refusal.value.status == 413
    assert upload.taken == 11


def test_a_body_that_says_it_is_too_large_is_not_read_at_all() -> None:
    upload = Upload(1000, b"x" * 100)
    with pytest.raises(RequestError) as refusal:
        body_of(upload, limit=1000, claimed="100000")
    assert refusal.value.status == 413
    assert upload.taken == 0


@given(st.integers(0, 5000))
def test_json_has_room_for_the_largest_photo_in_base64(size: int) -> None:
    body = json.dumps({"image": base64.b64encode(b"x" * size).decode(), "counts": "1-5"}).encode()
    assert body_of(Upload(1, body), limit=size, kind=JSON_TYPE) == body


@given(photo=st.binary(min_size=1), counts=st.none() | st.text(), bin_image_id=st.none() | st.text())
def test_json_carries_a_photo_and_what_is_asked(photo: bytes, counts: str | None, bin_image_id: str | None) -> None:
    wanted = {"image": base64.b64encode(photo).decode(), "counts": counts, "bin_image_id": bin_image_id}
    asked = parse(JSON_TYPE, json.dumps(wanted).encode())
    assert asked == PhotoRequest(image=photo, counts=counts, bin_image_id=bin_image_id)


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode))
def test_no_json_body_breaks_the_parser(body: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        parse(JSON_TYPE, body).asked()
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"imgae": "eA=="}, "imgae"),
        ({"image": "no base64!"}, "base64"),
        ({"image": "eA==", "bin_image_id": 1}, "bin_image_id"),
        ({"counts": "1-5"}, "either"),
        ({"image": "eA==", "url": "http://camera/1.jpg"}, "either"),
    ],
)
def test_json_that_says_too_little_or_too_much_is_refused(body: dict[str, object], says: str) -> None:
    with pytest.raises(RequestError, match=says) as refusal:
        parse(JSON_TYPE, json.dumps(body).encode()).asked()
    assert refusal.value.status == 422
    assert '"image"' in refusal.value.hint


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_photos_are_known_by_their_first_bytes(image_format: str) -> None:
    photo = bin_photo(3, image_format=image_format)
    assert checked(photo, max_photo_bytes=len(photo)) == photo


@pytest.mark.parametrize("photo", [b"", b"\xff\xd8", b"hello", b"RIFF0000WAVE", bin_photo(3, image_format="TIFF")])
def test_what_is_no_photo_or_of_a_rare_format_is_refused(photo: bytes) -> None:
    with pytest.raises(PhotoError):
        checked(photo, max_photo_bytes=10**6)
