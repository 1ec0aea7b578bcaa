"""`serving.service.Fetcher`: photos by URL, from hosts the operator named and over addresses that may be.

A name is resolved once for each hop; all its addresses are looked at, and the connection is made to one that was, so
a name server that answers differently a moment later (DNS rebinding) changes nothing. No proxy is asked, no cookie or
key is sent, and a redirect is a new URL: taken apart, allowed, resolved and looked at like the first.
"""

import asyncio
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Final

from bintally.addresses import Address, kind_of
from bintally.errors import RequestError
from bintally.serving.fetching.allowed import AllowedHosts
from bintally.serving.fetching.exchange import Answer, ask, unreachable
from bintally.serving.fetching.network import Network, RealNetwork
from bintally.serving.fetching.urls import Place, joined, place_of
from bintally.serving.refusals import overloaded
from bintally.serving.settings import ServeConfig

AT_ONCE: Final = 8
TIME_LIMIT_S: Final = 10.0
MAX_REDIRECTS: Final = 3
_ADDRESSES: Final = 3  # of a name, tried in turn
_RETRY_AFTER_S: Final = 5.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def fetcher_of(config: ServeConfig) -> "HostFetcher | None":
    """The fetcher that `config` wants; None: no photo is fetched by URL.

    Raises:
        UsageError: a host that is none, or an address that is never fetched from.
    """
    if not config.allow_url:
        return None
    most = max(config.max_waiting // 2, 1)  # a camera that does not answer leaves the other half to other photos
    return HostFetcher(config.allow_url, allow_private=config.allow_private_url, most=most)


class HostFetcher:
    """Fetches from `hosts` only (see `AllowedHosts`). `allow_private`: those may have private addresses.

    `most`: photos that may be wanted at once, those that wait for their turn among them.

    Raises:
        UsageError: a host that is none, or an address that is never fetched from.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        allow_private: bool = False,
        most: int = 4 * AT_ONCE,
        limit_s: float = TIME_LIMIT_S,
        network: Network | None = None,
    ) -> None:
        self._hosts = AllowedHosts(hosts, allow_private=allow_private)
        self._kinds = {"public", "private"} if allow_private else {"public"}
        self._most, self._wanted = most, 0
        self._limit_s = limit_s
        self._network = network or RealNetwork()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, url: str, *, max_bytes: int, deadline: float | None) -> bytes:
        """As `Fetcher.fetch`: all of it, waiting for a turn too, takes ten seconds at most.

        Raises:
            RequestError: 503, too many are wanted.
        """
        if self._wanted >= self._most:
            raise overloaded(_RETRY_AFTER_S)
        left_s = self._limit_s if deadline is None else min(self._limit_s, deadline - time.monotonic())
        self._wanted += 1
        try:
            async with asyncio.timeout(left_s), self._at_once:
                return await self._fetch(place_of(url), max_bytes)
        except TimeoutError:
            raise unreachable("it took too long") from None
        finally:
            self._wanted -= 1

    async def _fetch(self, place: Place, max_bytes: int) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._ask(place, max_bytes)
            if answer.status == 200:
                return answer.body
            if answer.status not in _REDIRECTS or not answer.location:
                raise unreachable(f"the server answered {answer.status}")
            place = _redirected(place, answer.location)
        raise unreachable(f"it was redirected more than {MAX_REDIRECTS} times")

    async def _ask(self, place: Place, max_bytes: int) -> Answer:
        if not self._hosts.allow(place):
            raise _not_allowed("Photos are not fetched from this URL's host and port.")
        try:
            reader, writer = await self._connected(place, await self._addresses(place))
            try:
                return await ask(place, reader, writer, max_bytes=max_bytes)
            finally:
                writer.transport.abort()  # what is left of the answer is not waited for
                with suppress(OSError):
                    await writer.wait_closed()
        except ssl.SSLError:
            raise unreachable("its certificate is not valid for that host") from None
        except OSError as error:
            raise unreachable(error.strerror or "there is no connection") from None

    async def _addresses(self, place: Place) -> tuple[Address, ...]:
        """The host's addresses, if all of them may be: one that may not among others is how a rebinding looks."""
        literal = place.address
        found = (literal,) if literal else await self._network.resolve(place.host)
        if not found:
            raise unreachable("its host has no address")
        if not {kind_of(address) for address in found} <= self._kinds:
            raise _not_allowed("The URL's host has an address that photos are not fetched from.")
        return found

    async def _connected(
        self, place: Place, addresses: Sequence[Address]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        is_https = place.scheme == "https"
        tls, name = (self._tls, place.host) if is_https else (None, None)
        *others, last = addresses[:_ADDRESSES]
        for address in others:
            with suppress(OSError):
                return await self._network.connect(address, place.port, tls=tls, server_hostname=name)
        return await self._network.connect(last, place.port, tls=tls, server_hostname=name)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _redirected(place: Place, location: str) -> Place:
    """Where a redirect leads: to the same host, and never from https to http.

    Raises:
        RequestError: 422 no URL, 400 elsewhere.
    """
    target = joined(place, location)
    if target.host != place.host:
        raise unreachable("it leads to another host")
    if place.scheme == "https" and target.scheme == "http":
        raise unreachable("it leads from https to http")
    return target


def _not_allowed(message: str) -> RequestError:
    return RequestError(
        message,
        status=403,
        code="url_not_allowed",
        hint="Send the photo itself, or start the service with `--allow-url HOST` for its exact host.",
    )
