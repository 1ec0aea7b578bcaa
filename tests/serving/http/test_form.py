import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import RequestError
from bintally.serving.http.body import PhotoRequest
from bintally.serving.http.form import Form, read_form

BOUNDARY = "----bintally"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, *, filename: str | None = None, more: str = "") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{more}\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def file(content: bytes) -> bytes:
    return part("photo", content, filename="bin.jpg", more="Content-Type: image/jpeg\r\n")


# A photo that holds the boundary itself would end there; no client sends one.
contents = st.binary(max_size=500).filter(lambda content: BOUNDARY.encode() not in content)


@given(st.lists(contents, min_size=1, max_size=4), st.dictionaries(st.sampled_from(["bin_id", "site"]), st.text()))
def test_photos_and_fields_are_what_was_sent(photos: list[bytes], fields: dict[str, str]) -> None:
    body = form(*(file(photo) for photo in photos), *(part(name, text.encode()) for name, text in fields.items()))
    assert read_form(TYPE, body, most=4) == Form(tuple(photos), {name: (text,) for name, text in fields.items()})


@given(st.binary(max_size=300))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        read_form(TYPE, body, most=4)
    assert refusal.value.status == 422


def test_a_field_said_once_is_said_of_all_and_else_of_each() -> None:
    body = form(
        file(b"1"), file(b"2"), part("bin_id", b"A"), part("recorded_count", b"1"), part("recorded_count", b"2")
    )
    first, second = read_form(TYPE, body, most=4).asking(4)
    assert first == PhotoRequest(image=b"1", bin_id="A", recorded_count=1)
    assert second == PhotoRequest(image=b"2", bin_id="A", recorded_count=2)


def test_a_field_that_is_wrong_spoils_its_own_photo_only() -> None:
    body = form(file(b"1"), file(b"2"), part("recorded_count", b"one"), part("recorded_count", b"2"))
    first, second = read_form(TYPE, body, most=4).asking(4)
    assert isinstance(first, RequestError)
    assert isinstance(second, PhotoRequest)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (form(), 422, "cut off|no photo|can't be read"),
        (form(part("bin_id", b"A")), 422, "no photo"),
        (form(*[file(b"x")] * 5), 413, "5 photos"),
        (form(file(b"x"), file(b"y"), *[part("bin_id", b"A")] * 3), 422, "3 times"),
        (form(part("file", b"x", filename="bin.jpg")), 422, "file"),
        (form(part("", b"x")), 422, "no name"),
        (form(file(b"x"), part("bin_id", b"\xff")), 422, "utf-8"),
        (form(file(b"x"), *[part("bin_id", b"A")] * 200), 422, "too many parts"),
        (form(file(f"\r\n--{BOUNDARY}-no".encode() * 200)), 422, "too many parts"),
        (form(file(b"x"))[:-20], 422, "cut off"),
        (b"hello", 422, "can't be read"),
    ],
)
def test_a_form_that_is_wrong_is_refused(body: bytes, status: int, says: str) -> None:
    with pytest.raises(RequestError, match=says) as refusal:
        read_form(TYPE, body, most=4).asking(4)
    assert refusal.value.status == status


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 1000])
def test_a_form_without_a_usable_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(RequestError) as refusal:
        read_form(content_type, form(file(b"x")), most=4)
    assert refusal.value.status == 422
