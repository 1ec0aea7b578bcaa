"""What an HTTP request carries -> the question it asks."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec

from bintally.errors import RequestError
from bintally.serving.asked import JSON_TYPE, PHOTO_TYPES, Asked
from bintally.serving.refusals import invalid, too_large

_JSON_SPARE_BYTES: Final = 4096  # for what stands in the JSON beside the photo
HINT: Final = (
    'Send {"image": BASE64} or {"url": URL}; "counts" (such as "1-5"), "bin_image_id", "bin_id", "recorded_count" and '
    '"captured_at" may be added.'
)


class PhotoRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A photo in base64 or by URL, and what is known about it: `/invocations` and each of `/v1/counts`' photos."""

    image: bytes | None = None
    url: str | None = None
    counts: str | None = None
    bin_image_id: str | None = None
    bin_id: str | None = None
    site: str | None = None
    recorded_count: int | None = None
    captured_at: datetime | None = None

    def asked(self, **more: Any) -> Asked:
        """The question, with `more` fields.

        Raises:
            RequestError: 422, it says neither or both of a photo and a URL.
        """
        if (self.image is None) == (self.url is None):
            raise invalid('The JSON needs either "image" or "url".', hint=HINT)
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "image"}
        return Asked(photo=self.image, **fields, **more)


def media_type(content_type: str, taken: tuple[str, ...] = (*PHOTO_TYPES, JSON_TYPE)) -> str:
    """`"Image/JPEG; charset=x"` as `"image/jpeg"`.

    Raises:
        RequestError: 415, none of `taken`.
    """
    name = content_type.partition(";")[0].strip().lower()
    if name not in taken:
        raise RequestError(
            f"The content type {name!r} is not taken." if name else "The request has no Content-Type.",
            status=415,
            code="unsupported_content_type",
            hint=f"Send the header Content-Type: {', '.join(taken[:-1])} or {taken[-1]}.",
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
        return msgspec.json.decode(body, type=PhotoRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"The JSON can't be used: {error}.", hint=HINT) from None
