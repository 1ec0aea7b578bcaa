"""A small internet on loopback: names with addresses of our choice, and real servers behind the addresses.

`Internet` is the `Network` of a fetcher. A connection to an address that stands in `servers` really goes to that local
server; one to any other address really goes to the forbidden listener, which counts whoever comes. So an attempt that
gets past the guards is not only seen, it arrives.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias
from urllib.parse import unquote

PHOTO = b"\xff\xd8\xff" + bytes(1000)
CAMERA = "9.9.9.9"
"""A public address; the camera's server stands for it here."""

_Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Handler: TypeAlias = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class Internet:
    """Names with the addresses that successive lookups find (the last one stays), and what is connected to."""

    def __init__(self, *, camera: int, forbidden: int, cameras: tuple[str, ...] = (CAMERA,)) -> None:
        self.names: dict[str, list[list[str]]] = {"camera.example": [[CAMERA]]}
        self.lookups: list[str] = []
        self.connections: list[tuple[str, int]] = []
        self._servers = {ip_address(address): camera for address in cameras}
        self._forbidden = forbidden

    async def resolve(self, host: str) -> tuple[IPv4Address | IPv6Address, ...]:
        answers = self.names.get(host)
        # A name nobody registered leads to this machine, as a search domain or a wildcard record could.
        found = ["127.0.0.1"] if answers is None else answers[min(self.lookups.count(host), len(answers) - 1)]
        self.lookups.append(host)
        return tuple(map(ip_address, found))

    async def connect(
        self, address: IPv4Address | IPv6Address, port: int, *, tls: ssl.SSLContext | None, server_hostname: str | None
    ) -> _Streams:
        self.connections.append((str(address), port))
        real = self._servers.get(address, self._forbidden)
        return await asyncio.open_connection("127.0.0.1", real, ssl=tls, server_hostname=server_hostname)


class Forbidden:
    """A server that nobody may reach: it counts connections, and would give a photo to whoever comes."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, target: str, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(_photo())


@asynccontextmanager
async def listening(handler: _Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port that answers each request's target with `handler`; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await handler(head.split(b" ", 2)[1].decode(), writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def camera(target: str, writer: asyncio.StreamWriter) -> None:
    """Serves a photo, leads wherever `/to/` says, and does what bad and hostile servers do."""
    if target.startswith("/to/"):
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {unquote(target[4:])}\r\n\r\n".encode("latin-1"))
        return
    if target in _ENDLESS:
        await _drip(writer, *_ENDLESS[target])
        return
    writer.write(_ANSWERS.get(target, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))


async def _drip(writer: asyncio.StreamWriter, head: bytes, piece: bytes, pause_s: float) -> None:
    """`head`, then `piece` over and over; ends after 5 s or 50 MB at the latest."""
    writer.write(head)
    for _ in range(int(5 / pause_s) if pause_s else 50_000_000 // len(piece)):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)


def _photo(*headers: str, body: bytes = PHOTO) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_ENDLESS = {
    "/dripping": (_OK + b"\r\n", b"x", 0.05),
    "/dripping-headers": (_OK, b"X: y\r\n", 0.05),
    "/silent": (b"", b"", 0.05),
    "/unending": (_OK + b"\r\n", bytes(400), 0.0),
    "/unending-chunks": (_CHUNKED, b"190\r\n" + bytes(400) + b"\r\n", 0.0),
    "/unending-headers": (_OK, b"X: " + b"y" * 997 + b"\r\n", 0.0),
    "/unending-100s": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0.0),
}
_ANSWERS = {
    "/photo.jpg": _photo(),
    "/photo.jpg?at=1": _photo(),
    "/chunked": _CHUNKED + b"3eb\r\n" + PHOTO + b"\r\n0\r\n\r\n",
    "/hinted": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _photo(),
    "/large": _photo(body=bytes(5000)),
    "/said-large": _OK + b"Content-Length: 99999999999\r\n\r\n",
    "/gzip": _photo("Content-Encoding: gzip"),
    "/two-lengths": _OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "/cut": _OK + b"Content-Length: 1003\r\n\r\nabc",
    "/nothing": b"",
    "/no-http": b"220 mail.example ESMTP\r\n",
    "/round": b"HTTP/1.1 302 Found\r\nLocation: /round\r\n\r\n",
    "/nowhere": b"HTTP/1.1 302 Found\r\n\r\n",
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: photo.jpg?at=1#top\r\n\r\n",
}
