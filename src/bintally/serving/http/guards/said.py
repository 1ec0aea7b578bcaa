"""What a request's headers say that guards look at, found in one pass."""

from collections.abc import Iterable
from typing import Final

import msgspec

from bintally.errors import RequestError

MAX_HEADER_BYTES: Final = 32_768
MAX_HEADERS: Final = 100
_BEARER: Final = "bearer "
_FIELDS: Final = {
    b"host": "host",
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"origin": "origin",
    b"sec-fetch-site": "fetch_site",
    b"x-request-id": "request_id",
    b"content-length": "length",
    b"transfer-encoding": "transfer",
    b"x-forwarded-for": "forwarded",
    b"x-forwarded-host": "forwarded",
    b"x-forwarded-proto": "forwarded",
    b"x-real-ip": "forwarded",
    b"forwarded": "forwarded",
    b"via": "forwarded",
}
_MAY_REPEAT: Final = frozenset({"forwarded", "request_id", "transfer"})


class Said(msgspec.Struct):
    """Headers by name; None where one is not there."""

    host: str | None = None
    authorization: str | None = None
    api_key: str | None = None
    origin: str | None = None
    fetch_site: str | None = None
    request_id: str | None = None
    length: str | None = None
    transfer: str | None = None
    forwarded: str | None = None
    problem: RequestError | None = None
    """Why a request with such headers is refused, whatever it asks."""

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> "Said":
        """What `headers` (names in lower case) say."""
        said = cls()
        size = number = 0
        for name, value in headers:
            number += 1
            size += len(name) + len(value)
            field = _FIELDS.get(name)
            if field is None:
                continue
            if getattr(said, field) is not None and field not in _MAY_REPEAT:
                said.problem = _refused(400, "invalid_request", f"The header {name.decode()} stands there twice.")
            setattr(said, field, value.decode("latin-1"))
        if size > MAX_HEADER_BYTES or number > MAX_HEADERS:
            said.problem = _refused(431, "headers_too_large", "The request's headers are too many or too large.")
        elif said.length is not None and said.transfer is not None:
            # Of two servers in a row, one may believe the one header and one the other: a second request hides so.
            said.problem = _refused(400, "invalid_request", "Content-Length and Transfer-Encoding exclude each other.")
        return said

    def presented(self) -> str | None:
        """The API key that is shown; None: none. Other kinds of Authorization are not for us.

        Raises:
            RequestError: 401, two different ones.
        """
        shown = {self.api_key.strip()} if self.api_key is not None else set()
        if self.authorization is not None and self.authorization[: len(_BEARER)].lower() == _BEARER:
            shown.add(self.authorization[len(_BEARER) :].strip())
        if len(shown) > 1:
            raise _refused(401, "unauthorized", "The request shows two different API keys.")
        return shown.pop() if shown else None


def _refused(status: int, code: str, message: str) -> RequestError:
    return RequestError(message, status=status, code=code, hint="Leave one of them out.")
