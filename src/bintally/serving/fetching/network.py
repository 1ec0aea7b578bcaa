"""`Network`: how names become addresses, and addresses connections. The one seam of this wing that tests fill in."""

import asyncio
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Final, Protocol

from bintally.serving.fetching.addresses import Address

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
        # Of its own: a name server that does not answer holds a thread for half a minute, and must hold no other work.
        self._lookups = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolve")

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """As `Network.resolve`."""
        found = await asyncio.get_running_loop().run_in_executor(self._lookups, _addresses_of, host)
        return tuple(dict.fromkeys(ip_address(text) for text in found))

    async def connect(
        self, address: Address, port: int, *, tls: ssl.SSLContext | None, server_hostname: str | None
    ) -> tuple[StreamReader, StreamWriter]:
        """As `Network.connect`."""
        return await asyncio.open_connection(str(address), port, ssl=tls, server_hostname=server_hostname)


def _addresses_of(host: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except UnicodeError as error:  # a label of more than 63 letters
        raise OSError(str(error)) from None
