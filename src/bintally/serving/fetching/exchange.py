"""One request for a photo over a connection that is made already, and what the server may answer."""

from asyncio import StreamReader, StreamWriter
from typing import Final, NamedTuple

import h11

from bintally import __version__
from bintally.errors import RequestError
from bintally.serving.fetching.urls import Place
from bintally.serving.refusals import too_large

_READ_BYTES: Final = 65_536
_HEAD_BYTES: Final = 16_384
_SPARE_BYTES: Final = 262_144  # headers, chunks' lengths: what a connection may carry beside the photo


class Answer(NamedTuple):
    """A server's answer; `body` only of a 200."""

    status: int
    location: str | None
    body: bytes


async def ask(place: Place, reader: StreamReader, writer: StreamWriter, *, max_bytes: int) -> Answer:
    """Sends `GET place`, and reads the answer.

    Raises:
        RequestError: 413, it is too large; 400, it is encoded, cut short or none at all.
        OSError: the connection broke.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    try:
        writer.write(connection.send(_request(place)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return await _Answering(connection, reader, max_bytes).read()
    except h11.RemoteProtocolError as error:
        raise unreachable(f"the server's answer can't be read ({error})") from None


class _Answering:
    def __init__(self, connection: h11.Connection, reader: StreamReader, max_bytes: int) -> None:
        self._connection, self._reader, self._max_bytes = connection, reader, max_bytes
        self._received = 0

    async def read(self) -> Answer:
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise unreachable("there is no answer")
        headers = {name: value.decode("latin-1") for name, value in event.headers}
        if event.status_code != 200:
            return Answer(event.status_code, headers.get(b"location"), b"")
        self._check(headers)
        return Answer(200, None, await self._body())

    def _check(self, headers: dict[bytes, str]) -> None:
        """A photo is compressed already; what is packed once more may unpack to anything."""
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise unreachable("the server packed it, though it was asked not to")
        if int(headers.get(b"content-length", "0")) > self._max_bytes:  # h11 has seen that it is a number
            raise too_large(self._max_bytes)

    async def _body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > self._max_bytes:
                raise too_large(self._max_bytes)
        return bytes(body)

    async def _next(self) -> object:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(_READ_BYTES)
            self._received += len(data)
            if self._received > self._max_bytes + _SPARE_BYTES:
                raise too_large(self._max_bytes)
            self._connection.receive_data(data)
        return event


def _request(place: Place) -> h11.Request:
    headers = [
        ("Host", place.netloc),
        ("Accept", "image/jpeg, image/png, image/webp"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", f"bintally/{__version__}"),
        ("Connection", "close"),
    ]
    return h11.Request(method="GET", target=place.target, headers=headers)


def unreachable(why: str) -> RequestError:
    """The refusal of a photo that is not to be had."""
    return RequestError(
        f"The photo can't be fetched from its URL: {why}.",
        status=400,
        code="url_unreachable",
        hint="Open the URL from the service's machine, or send the photo itself.",
    )
