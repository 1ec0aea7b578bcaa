"""What a request to `/invocations` carries -> a photo's bytes and what is asked about it.

Only JPEG, PNG and WebP are let in, told by their first bytes and not by what the sender says of them: Pillow knows
dozens of formats, and a service should not run the parsers of the rare ones on a stranger's bytes.
"""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from bintally.errors import PhotoError, RequestError

PHOTO_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
JSON_TYPE: Final = "application/json"
MAX_PHOTO_BYTES: Final = 20 * 2**20
"""A 12-megapixel phone photo has 3-8 MB; bin cameras send less than 1 MB."""

_JSON_SPARE_BYTES: Final = 4096  # for what stands in the JSON beside the photo
_HINT: Final = (
    'Send {"image": BASE64} or {"url": URL}; "counts" (such as "1-5") and "bin_image_id" (a string) may be added.'
)


class PhotoRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body of `/invocations`: a photo in base64 or by URL, and what is asked about it."""

    image: bytes | None = None
    url: str | None = None
    counts: str | None = None
    bin_image_id: str | None = None


def media_type(content_type: str) -> str:
    """`"Image/JPEG; charset=x"` as `"image/jpeg"`.

    Raises:
        RequestError: 415, none that the service takes.
    """
    name = content_type.partition(";")[0].strip().lower()
    if name not in (*PHOTO_TYPES, JSON_TYPE):
        raise RequestError(
            f"The content type {name!r} is not taken." if name else "The request has no Content-Type.",
            status=415,
            code="unsupported_content_type",
            hint=f"Send the header Content-Type: {', '.join(PHOTO_TYPES)} or {JSON_TYPE}.",
        )
    return name


async def read_body(chunks: AsyncIterator[bytes], *, kind: str, claimed: str | None, max_photo_bytes: int) -> bytes:
    """The body of media type `kind`, given up as soon as it is too large; `claimed` is its Content-Length.

    Raises:
        RequestError: 413.
    """
    # Base64 makes four characters of three bytes.
    limit = max_photo_bytes if kind != JSON_TYPE else 4 * max_photo_bytes // 3 + _JSON_SPARE_BYTES
    if claimed and claimed.isdecimal() and int(claimed) > limit:
        raise too_large(max_photo_bytes)
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise too_large(max_photo_bytes)
    return bytes(body)


def parse(kind: str, body: bytes) -> PhotoRequest:
    """The body of media type `kind` as one request.

    Raises:
        RequestError: 422, JSON that does not say what is wanted.
    """
    if kind != JSON_TYPE:
        return PhotoRequest(image=body)
    try:
        request = msgspec.json.decode(body, type=PhotoRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"The JSON can't be used: {error}.") from None
    if (request.image is None) == (request.url is None):
        raise invalid('The JSON needs either "image" or "url".')
    return request


def checked(photo: bytes, *, max_photo_bytes: int) -> bytes:
    """`photo`, if it is one by its first bytes.

    Raises:
        PhotoError: empty, or neither JPEG, PNG nor WebP.
        RequestError: 413.
    """
    if len(photo) > max_photo_bytes:
        raise too_large(max_photo_bytes)
    if not photo:
        raise PhotoError("The photo is empty (0 bytes).", hint="Fetch or take it again.")
    jpeg_or_png = photo.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
    webp = photo[:4] == b"RIFF" and photo[8:12] == b"WEBP"
    if not (jpeg_or_png or webp):
        raise PhotoError("This is not a JPEG, PNG or WebP photo.", hint="Save it as one of them and send it again.")
    return photo


def too_large(max_photo_bytes: int) -> RequestError:
    """The refusal of a photo with more bytes than that."""
    return RequestError(
        f"The photo has more than {max_photo_bytes / 2**20:.3g} MB.",
        status=413,
        code="photo_too_large",
        hint="Scale it down: the model looks at a few hundred pixels a side.",
    )


def invalid(message: str) -> RequestError:
    """The refusal of a JSON body, with what it should look like."""
    return RequestError(message, status=422, code="invalid_request", hint=_HINT)
