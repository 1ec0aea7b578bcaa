"""What an HTTP request carries -> the questions it asks."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from bintally.errors import RequestError
from bintally.serving.asked import JSON_TYPE, PHOTO_TYPES, Asked
from bintally.serving.refusals import invalid

_T = TypeVar("_T")
MOST_RECORDED: Final = 10**6
AHEAD: Final = timedelta(days=1)
"""How far `captured_at` may lie ahead: of a clock that is a little fast, or local time told as UTC."""

_FIRST_YEAR, _LAST_YEAR = 1970, 2999  # as `inventory.values` has them
_LONGEST_NAME: Final = 200  # characters, as `inventory.schema.CODE`
_LONGEST_URL: Final = 4096
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_JSON_SPARE_BYTES: Final = 4096  # for what stands in the JSON beside the photo
_SEVERAL: Final = re.compile(rb'"photos"\s*:')  # in JSON a key: quotes within a text have a backslash before them
_MARKS: Final = (b",", b"[", b"{")
_MOST_MARKS: Final = 8192  # in the JSON of one photo; a URL may have 4096, base64 has none
_LOOKED_AT_ONCE: Final = 2**20
HINT: Final = (
    'Send {"image": BASE64} or {"url": URL}; "counts" (such as "1-5"), "bin_image_id", "bin_id", "site", '
    '"recorded_count", "captured_at" and "model" may be added.'
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
    model: str | None = None

    def asked(self, **more: Any) -> Asked:
        """The question, with `more` fields; these win.

        Raises:
            RequestError: 422, it says neither or both of a photo and a URL, or something that can't be.
        """
        if (self.image is None) == (self.url is None):
            raise invalid('The JSON needs either "image" or "url".', hint=HINT)
        for name in NAMES:
            check_name(name, getattr(self, name))
        if self.url is not None and len(self.url) > _LONGEST_URL:
            raise invalid(f"The URL has {len(self.url)} characters; {_LONGEST_URL} is most.", hint=HINT)
        if self.recorded_count is not None and not 0 <= self.recorded_count <= MOST_RECORDED:
            raise invalid(f"A recorded_count of {self.recorded_count} can't be.", hint=f"0 to {MOST_RECORDED} can.")
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "image"}
        fields["captured_at"] = None if self.captured_at is None else _moment(self.captured_at)
        return Asked(photo=self.image, **(fields | more))


Asking: TypeAlias = PhotoRequest | RequestError
"""A photo of a batch: the question, or why it is none."""

NAMES: Final = ("counts", "bin_image_id", "bin_id", "site", "model")
FIELDS: Final = (*NAMES, "recorded_count", "captured_at")
"""What may be said of a photo beside the photo."""


def media_type(content_type: str, taken: tuple[str, ...] = (*PHOTO_TYPES, JSON_TYPE)) -> str:
    """`"Image/JPEG; charset=x"` as `"image/jpeg"`.

    Raises:
        RequestError: 415, none of `taken`.
    """
    name = content_type.partition(";")[0].strip().lower()
    if name not in taken:
        raise RequestError(
            f"The content type {name[:80]!r} is not taken." if name else "The request has no Content-Type.",
            status=415,
            code="unsupported_content_type",
            hint=f"Send the header Content-Type: {' or '.join(filter(None, (', '.join(taken[:-1]), taken[-1])))}.",
        )
    return name


def most_bytes(kind: str, *, max_photo_bytes: int, photos: int = 1) -> int:
    """How large a body of media type `kind` may be that carries so many photos."""
    # Base64 makes four characters of three bytes.
    each = 4 * max_photo_bytes // 3 if kind == JSON_TYPE else max_photo_bytes
    return photos * (each + _JSON_SPARE_BYTES)


def parse(kind: str, body: bytes, told: Iterable[tuple[str, str]] = ()) -> PhotoRequest:
    """The body of media type `kind` as one request; `told`: what the query says of a photo that comes as it is.

    Raises:
        RequestError: 422, JSON or a query that does not say what is wanted.
    """
    if kind == JSON_TYPE:
        check_no_query(told)
        return parse_json(body)
    fields: dict[str, str] = {}
    for name, text in told:
        if name in fields:
            raise invalid(f"The query says {name} more than once.", hint="Say it once.")
        fields[name] = text
    return of_fields(body, fields)


def check_no_query(told: Iterable[tuple[str, str]]) -> None:
    """Nothing is said in the query where the body can say it.

    Raises:
        RequestError: 422.
    """
    for name, _ in told:
        raise invalid(f"The query says {name[:40]!r}.", hint="Say everything in the body.")


def parse_json(body: bytes) -> PhotoRequest:
    """JSON as one request.

    Raises:
        RequestError: 422, it does not say what is wanted, or something twice.
    """
    return decoded(body, PhotoRequest)


def parse_photos(body: bytes, most: int) -> list[Asking] | PhotoRequest:
    """JSON as one request, or `{"photos": [...]}` as several; one that is wrong spoils no other.

    Raises:
        RequestError: 413 more than `most` photos, 422 it does not say what is wanted.
    """
    if b'"photos"' not in body or not _SEVERAL.search(body):  # the first is fast
        return parse_json(body)
    photos = decoded(body, _Photos, once=frozenset({"photos"}), most_marks=most * _MOST_MARKS).photos
    check_number(len(photos), most)
    return [_asking(bytes(photo)) for photo in photos]


def check_number(photos: int, most: int) -> None:
    """So many photos are taken at once.

    Raises:
        RequestError: 413 more, 422 none.
    """
    if photos > most:
        raise RequestError(
            f"{photos} photos are more than are taken at once.",
            status=413,
            code="too_many_photos",
            hint=f"Send at most {most} in a request.",
        )
    if not photos:
        raise invalid("There is no photo in it.")


def of_fields(photo: bytes, told: Mapping[str, str]) -> PhotoRequest:
    """A photo that comes as it is, and what was said of it in words.

    Raises:
        RequestError: 422, an unknown field, or a value that can't be.
    """
    if not told:
        return PhotoRequest(image=photo)
    for name in told:
        if name not in FIELDS:
            raise invalid(f"There is no field {name[:40]!r}.", hint=f"There are {', '.join(FIELDS)}.")
    fields: dict[str, Any] = dict(told)
    count = told.get("recorded_count", "")
    if _WHOLE_NUMBER.fullmatch(count):  # msgspec's own reading of text takes "null" and "1e2", and "1.0" for a date
        fields["recorded_count"] = int(count)
    try:
        known = msgspec.convert(fields, PhotoRequest)
    except msgspec.ValidationError as error:
        raise invalid(f"A field can't be used: {error}.", hint=_FIELD_HINT) from None
    return msgspec.structs.replace(known, image=photo)


def decoded(
    body: bytes,
    kind: type[_T],
    *,
    hint: str = HINT,
    once: frozenset[str] | None = None,
    most_marks: int = _MOST_MARKS,
) -> _T:
    """JSON as a record of the type `kind`; `once`: the keys that may not be repeated (None: all).

    Raises:
        RequestError: 413, it has more than `most_marks` commas and brackets; 422, it is none, or says something twice.
    """
    _check_marks(body, most_marks)
    try:
        record = msgspec.json.decode(body, type=kind)
        if once is None or once:
            json.loads(body, object_pairs_hook=lambda pairs: _check_repeated(pairs, once))
    except (msgspec.DecodeError, ValueError, RecursionError, _RepeatedError) as error:
        raise invalid(f"The JSON can't be used: {error}.", hint=hint) from None
    return record


def _check_marks(body: bytes, most: int) -> None:
    """Each part of a JSON takes up to 90 times its room once it is read, and nothing else runs until all are.

    Raises:
        RequestError: 413.
    """
    found = 0
    for start in range(0, len(body), _LOOKED_AT_ONCE):
        found += sum(body.count(mark, start, start + _LOOKED_AT_ONCE) for mark in _MARKS)
        if found > most:
            raise RequestError(
                "The JSON has far too many parts.",
                status=413,
                code="too_many_parts",
                hint="Send fewer photos at once, and nothing beside what is known of them.",
            )


class _Photos(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    photos: list[msgspec.Raw]


def _asking(photo: bytes) -> Asking:
    try:
        return parse_json(photo)
    except RequestError as error:
        return error


class _RepeatedError(Exception):
    pass


def _check_repeated(pairs: list[tuple[str, Any]], once: frozenset[str] | None) -> None:
    """Of two equal keys, some parsers take the first and some the last: whoever sends both is told."""
    names = [name for name, _ in pairs if once is None or name in once]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _RepeatedError(f"it says {twice!r} more than once")


def check_name(field: str, name: str | None) -> None:
    """`name` may be somebody's name for something.

    Raises:
        RequestError: 422, it is empty, too long, or can't be printed.
    """
    if name is not None and not (name.strip() and len(name) <= _LONGEST_NAME and name.isprintable()):
        raise invalid(
            f"{field} can't be {name[:40]!r}.",
            hint=f"1 to {_LONGEST_NAME} characters that can be printed; leave it out where there is none.",
        )


def _moment(told: datetime) -> datetime:
    """`captured_at` in UTC, which it is taken for where it has no offset."""
    try:
        moment = told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except OverflowError:  # the last hours of the year 9999, or the first of the year 1
        raise invalid(f"A photo was not taken at {told}.", hint=_FIELD_HINT) from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise invalid(f"A photo was not taken at {moment}.", hint=f"The years {_FIRST_YEAR} to {_LAST_YEAR} can be.")
    if moment > datetime.now(UTC) + AHEAD:
        raise invalid(f"captured_at {moment} lies in the future.", hint="Is the robot's clock wrong?")
    return moment


_FIELD_HINT: Final = (
    'recorded_count is a whole number; captured_at such as "2026-01-31T12:00:00Z" (in a URL, "+" is written %2B).'
)
