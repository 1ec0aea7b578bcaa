import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import PhotoError, RequestError
from bintally.serving.asked import JSON_TYPE
from bintally.serving.http.body import MOST_RECORDED, PhotoRequest, media_type, most_bytes, parse, parse_photos
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


@given(st.integers(0, 5000))
def test_json_has_room_for_the_largest_photo_in_base64(size: int) -> None:
    body = json.dumps({"image": base64.b64encode(b"x" * size).decode(), "counts": "1-5"}).encode()
    assert len(body) <= most_bytes(JSON_TYPE, max_photo_bytes=size)


names = st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable() and bool(text.strip()))


@given(photo=st.binary(min_size=1), bin_id=st.none() | names, count=st.none() | st.integers(0, MOST_RECORDED))
def test_json_carries_a_photo_and_what_is_asked(photo: bytes, bin_id: str | None, count: int | None) -> None:
    wanted = {"image": base64.b64encode(photo).decode(), "bin_id": bin_id, "recorded_count": count}
    request = parse(JSON_TYPE, json.dumps(wanted).encode())
    assert request == PhotoRequest(image=photo, bin_id=bin_id, recorded_count=count)
    asked = request.asked(client="robot-7")
    assert (asked.photo, asked.bin_id, asked.recorded_count, asked.client) == (photo, bin_id, count, "robot-7")


@given(bin_id=st.none() | names, count=st.none() | st.integers(0, MOST_RECORDED))
def test_a_query_says_the_same_as_json(bin_id: str | None, count: int | None) -> None:
    told = {"bin_id": bin_id, "recorded_count": count}
    query = [(name, str(value)) for name, value in told.items() if value is not None]
    assert parse("image/png", b"photo", query) == PhotoRequest(image=b"photo", bin_id=bin_id, recorded_count=count)


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
        ({"image": "eA==", "recorded_count": -1}, "recorded_count"),
        ({"image": "eA==", "recorded_count": 10**6 + 1}, "recorded_count"),
        ({"image": "eA==", "recorded_count": 10**30}, "recorded_count"),
        ({"image": "eA==", "recorded_count": True}, "recorded_count"),
        ({"image": "eA==", "recorded_count": 3.0}, "recorded_count"),
        ({"image": "eA==", "bin_id": " "}, "bin_id"),
        ({"image": "eA==", "bin_id": "A" * 201}, "bin_id"),
        ({"image": "eA==", "site": "a\0b"}, "site"),
        ({"image": "eA==", "captured_at": "yesterday"}, "captured_at"),
        ({"image": "eA==", "captured_at": "1969-12-31T23:59:59Z"}, "1969"),
        ({"image": "eA==", "captured_at": "9999-12-31T23:59:59-10:00"}, "9999"),
        ({"image": "eA==", "captured_at": "2999-01-01T00:00:00Z"}, "future"),
        ({"url": "http://camera/" + "x" * 5000}, "characters"),
    ],
)
def test_json_that_says_too_little_or_too_much_is_refused(body: dict[str, object], says: str) -> None:
    with pytest.raises(RequestError, match=says) as refusal:
        parse(JSON_TYPE, json.dumps(body).encode()).asked()
    assert refusal.value.status == 422
    assert refusal.value.hint


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_photos_are_known_by_their_first_bytes(image_format: str) -> None:
    photo = bin_photo(3, image_format=image_format)
    assert checked(photo, max_photo_bytes=len(photo)) == photo


@pytest.mark.parametrize("photo", [b"", b"\xff\xd8", b"hello", b"RIFF0000WAVE", bin_photo(3, image_format="TIFF")])
def test_what_is_no_photo_or_of_a_rare_format_is_refused(photo: bytes) -> None:
    with pytest.raises(PhotoError):
        checked(photo, max_photo_bytes=10**6)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"url":"http://a/1","url":"http://b/2"}', "'url' more than once"),
        (b'{"url":"http://a/1","\\u0075rl":"http://b/2"}', "'url' more than once"),
        (b'{"url":"http://a/1","recorded_count":NaN}', "invalid"),
        (b'{"url":"http://a/1","recorded_count":' + b"9" * 10_000 + b"}", "recorded_count"),
        (b'{"url":"\\ud800"}', "can't be used"),
        (b'{"url":"\xff"}', "utf-8"),
        (b"\xef\xbb\xbf{}", "can't be used"),
        (b"[" * 8_000, "object"),
        (b'{"photo":' + b"[" * 8_000, "photo"),
        (b"", "truncated"),
        (b"null", "object"),
    ],
    ids=[
        "twice",
        "twice, escaped",
        "NaN",
        "huge",
        "surrogate",
        "no UTF-8",
        "BOM",
        "deep",
        "deep below",
        "empty",
        "null",
    ],
)
def test_json_that_readers_would_disagree_about_or_choke_on_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(RequestError, match=says) as refusal:
        parse(JSON_TYPE, body).asked()
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ([("bin", "A-01")], "no field 'bin'"),
        ([("image", "eA==")], "no field 'image'"),
        ([("bin_id", "A"), ("bin_id", "B")], "more than once"),
        ([("recorded_count", "three")], "recorded_count"),
        ([("recorded_count", "null")], "recorded_count"),
        ([("recorded_count", "1e2")], "recorded_count"),
        ([("captured_at", "1.0")], "captured_at"),
        ([("recorded_count", "")], "recorded_count"),
        ([("captured_at", "now")], "captured_at"),
    ],
)
def test_a_query_that_is_wrong_is_refused(query: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(RequestError, match=says) as refusal:
        parse("image/png", b"photo", query)
    assert refusal.value.status == 422


def test_beside_json_nothing_is_said_in_the_query() -> None:
    with pytest.raises(RequestError, match="query"):
        parse(JSON_TYPE, b'{"url":"http://a/1"}', [("bin_id", "A")])


def test_a_time_without_an_offset_is_in_utc_and_a_fast_clock_is_forgiven() -> None:
    told = PhotoRequest(image=b"x", captured_at=datetime(2026, 1, 31, 12, 0)).asked()
    assert told.captured_at == datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    ahead = datetime.now(UTC) + timedelta(hours=14)
    assert PhotoRequest(image=b"x", captured_at=ahead).asked().captured_at == ahead


def test_a_photo_that_is_called_photos_is_no_batch() -> None:
    known = parse_photos(b'{"url": "http://a/1", "bin_image_id": "photos", "bin_id": "\\"photos\\":"}', 5)
    assert isinstance(known, PhotoRequest)
    assert known.bin_image_id == "photos"
    assert isinstance(parse_photos(b'{"photos" : [{"url": "http://a/1"}]}', 5), list)


def test_in_a_batch_a_photo_that_is_wrong_spoils_no_other() -> None:
    body = b'{"photos":[{"url":"http://a/1"},{"url":3},{"url":"http://a/3","url":"x"},7,{"image":"eA=="}]}'
    photos = parse_photos(body, 5)
    assert isinstance(photos, list)
    assert [type(each) for each in photos] == [PhotoRequest, RequestError, RequestError, RequestError, PhotoRequest]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"photos":[]}', 422),
        (b'{"photos":[{},{},{}]}', 413),
        (b'{"photos":[{}],"url":"http://a/1"}', 422),
        (b'{"photos":[{}],"photos":[{}]}', 422),
        (b'{"photos":[' + b"[" * 10_000, 422),
        (b'{"photos":{}}', 422),
    ],
)
def test_a_batch_that_is_none_or_too_large_is_refused(body: bytes, status: int) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_photos(body, 2)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    "body",
    [
        b'{"photos":[%s1]}' % (b"1," * 2**18),
        b'{"photos":[[%s[]]]}' % (b"[]," * 2**17),
        b'{%s"url":""}' % (b'"url":"",' * 2**18),
    ],
    ids=["photos", "nested", "one photo's fields"],
)
def test_json_of_far_too_many_parts_is_not_read_at_all(body: bytes) -> None:
    """20 MB of them once took 860 MB of memory, and everybody else waited for up to 5 seconds."""
    with pytest.raises(RequestError) as refusal:
        parse_photos(body, 2)
    assert (refusal.value.status, refusal.value.code) == (413, "too_many_parts")


def test_a_batch_whose_urls_are_full_of_commas_is_read() -> None:
    photos = [{"url": "http://camera/" + "," * 4000, "bin_id": "," * 200, "site": "[" * 200}] * 64
    assert len(parse_photos(json.dumps({"photos": photos}).encode(), 64)) == 64  # type: ignore[arg-type]
