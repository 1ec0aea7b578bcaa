"""`multipart/form-data` (RFC 7578): one or several photos, and fields about them.

Parsed in memory, from a body that was read within its limits: the usual form parsers put large files on a disk, which a
read-only container does not have.
"""

from typing import TYPE_CHECKING, Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bintally.errors import RequestError
from bintally.serving.http.body import FIELDS, Asking, check_number, of_fields
from bintally.serving.refusals import invalid

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORM_TYPE: Final = "multipart/form-data"
PHOTO: Final = "photo"
_MOST_FIELDS: Final = 16  # for each photo
_HINT: Final = f"Such as `curl -F {PHOTO}=@bin.jpg -F bin_id=A-01 URL`. Fields are {', '.join(FIELDS)}."


class Form(msgspec.Struct, frozen=True):
    """The parts of a form, in order."""

    photos: tuple[bytes, ...]
    fields: dict[str, tuple[str, ...]]

    def asking(self, most: int) -> list[Asking]:
        """A question for each photo. A field said once is said of all of them; else once for each, in order.

        Raises:
            RequestError: 413 more than `most` photos, 422 none, or a field that is said of some.
        """
        check_number(len(self.photos), most)
        for name, values in self.fields.items():
            if len(values) not in (1, len(self.photos)):
                raise invalid(
                    f"{name} is said {len(values)} times, of {len(self.photos)} photos.",
                    hint="Say it once for all of them, or once for each.",
                )
        return [self._asking(place) for place in range(len(self.photos))]

    def _asking(self, place: int) -> Asking:
        told = {name: values[place if len(values) > 1 else 0] for name, values in self.fields.items()}
        try:
            return of_fields(self.photos[place], told)
        except RequestError as error:
            return error


def read_form(content_type: str, body: bytes, most: int) -> Form:
    """The form in a body.

    Raises:
        RequestError: 422, it is none, has a part that is neither a photo nor text, or far too many of them.
    """
    _, options = parse_options_header(content_type)
    if not options.get(b"boundary"):
        raise invalid("The form's Content-Type says no boundary.", hint=_HINT)
    most_parts = most * (_MOST_FIELDS + 1)
    if body.count(b"--" + options[b"boundary"]) > most_parts + 1:  # 30 MB of what begins like one took 11 s to read
        raise _too_many_parts()
    parts = _Parts(most_parts)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise invalid(f"The form can't be read: {error}.", hint=_HINT) from None
    if not parts.is_whole:
        raise invalid("The form is cut off: its last boundary is missing.", hint=_HINT)
    return Form(tuple(parts.photos), {name: tuple(values) for name, values in parts.fields.items()})


def _too_many_parts() -> RequestError:
    return invalid("The form has far too many parts.", hint=_HINT)


class _Parts:
    """Takes what the parser calls back with."""

    def __init__(self, most: int) -> None:
        self.photos: list[bytes] = []
        self.fields: dict[str, list[str]] = {}
        self.is_whole = False
        self._left = most
        self._header, self._value, self._disposition = b"", b"", b""
        self._pieces: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        """Named as `MultipartParser` wants them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _too_many_parts()
        self._disposition, self._pieces = b"", []

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode()
        content = b"".join(self._pieces)
        self._pieces = []
        if kind != b"form-data" or not name:
            raise invalid("A part of the form has no name.", hint=_HINT)
        if name == PHOTO:
            self.photos.append(content)
        elif b"filename" in options:
            raise invalid(f"The form has a file {name[:40]!r}.", hint=f"Photos go by the name {PHOTO!r}. {_HINT}")
        else:
            self.fields.setdefault(name, []).append(content.decode())

    def _on_end(self) -> None:
        self.is_whole = True
