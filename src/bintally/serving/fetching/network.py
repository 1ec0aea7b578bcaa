"""`Network`: how names become addresses, and addresses connections. The one seam of this wing that tests fill in."""

import asyncio
import socket
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, Protocol

from bintally.addresses import Address

_LOOKUPS: Final = 8


class Network(Protocol):
    """Names and connections."""

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """All addresses of `host`, the best first.

        Raises:
            OSError: it has none.
        """

    async def connect(
        self, address: Address, port: int, *, tls: ssl.SSLContext | None, server_hostname: str | None
    ) -> tuple[StreamReader, StreamWriter]:
        """A connection to exactly that address; the certificate is that of `server_hostname`.

        Raises:
            OSError: there is none to be had, or the certificate is wrong.
        """


class RealNetwork:
    """The operating system's."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_LOOKUPS)

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """As `Network.resolve`."""
        found = await self._looked_up(host)
        return tuple(dict.fromkeys(ip_address(text) for text in found))

    async def connect(
        self, address: Address, port: int, *, tls: ssl.SSLContext | None, server_hostname: str | None
    ) -> tuple[StreamReader, StreamWriter]:
        """As `Network.connect`."""
        return await asyncio.open_connection(str(address), port, ssl=tls, server_hostname=server_hostname)

    async def _looked_up(self, host: str) -> list[str]:
        """In a thread that nobody waits for in the end: a name server that does not answer holds it for a minute."""
        loop, found = asyncio.get_running_loop(), Future[list[str]]()

        def look_up() -> None:
            try:
                found.set_result(_addresses_of(host))
            except BaseException as error:
                found.set_exception(error)
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(self._turns.release)

        await self._turns.acquire()
        found.set_running_or_notify_cancel()  # whoever asked may go; the thread can't
        try:
            threading.Thread(target=look_up, name="resolve", daemon=True).start()
        except RuntimeError as error:  # the machine has no thread left
            self._turns.release()
            raise OSError(str(error)) from None
        return await asyncio.wrap_future(found)


def _addresses_of(host: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except UnicodeError as error:  # a label of more than 63 letters
        raise OSError(str(error)) from None
