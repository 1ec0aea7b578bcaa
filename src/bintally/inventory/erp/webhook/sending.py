"""`Sender`: one signed event, one answer. No redirect is followed, no proxy asked, no long answer read to its end.

The receiver's name is looked up before each event, and the connection made to an address that was looked at: a name
server that answers differently a moment later (DNS rebinding) changes nothing.
"""

import socket
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

import httpx2
import msgspec

from bintally import __version__
from bintally.addresses import kind_of
from bintally.errors import ConfigError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.http import Deadline
from bintally.inventory.erp.webhook.events import CONTENT_TYPE
from bintally.inventory.erp.webhook.settings import WebhookSettings, is_loopback
from bintally.inventory.erp.webhook.signing import signed

MOST_BYTES: Final = 65_536
"""Of an answer; what is longer is not kept."""

_CONNECT_S: Final = 10.0
_ADDRESSES: Final = 3  # of a name, tried in turn


class Reply(msgspec.Struct, frozen=True):
    """What a receiver answered. `body` None: it was too long, packed, or not sent to its end."""

    status: int
    headers: httpx2.Headers
    body: bytes | None

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has the event."""
        return 200 <= self.status < 300


class Sender:
    """Sends events to one receiver. Not for several threads at once."""

    def __init__(self, settings: WebhookSettings, keys: Sequence[bytes]) -> None:
        """Nothing is reached yet.

        Raises:
            ConfigError: the file of authorities can't be read.
        """
        self._settings, self._keys = settings, keys
        self._url = httpx2.URL(settings.url)
        self._host = self._url.raw_host.decode()
        self._deadline = Deadline(settings.timeout_s)
        self._http = httpx2.Client(
            verify=_tls(settings),
            trust_env=False,
            limits=Deadline.limits,
            timeout=httpx2.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s)),
        )

    @property
    def host(self) -> str:
        """Who is told."""
        return self._host

    def send(self, message_id: str, body: bytes) -> Reply:
        """What was answered to an event, whatever it was.

        Raises:
            ErpUnavailableError: nobody answered in time; the event may have arrived nevertheless.
            ErpRefusedError: the receiver has an address that is not allowed.
        """
        headers = {
            **signed(self._keys, message_id, datetime.now(UTC), body),
            "Content-Type": CONTENT_TYPE,
            "Accept-Encoding": "identity",
            "User-Agent": f"bintally/{__version__}",
            "Host": self._url.netloc.decode(),
        }
        failed: Exception | None = None
        for address in self._addresses():
            try:
                return self._post(address, body, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:  # nothing was sent
                failed = error
            except httpx2.HTTPError as error:
                failed = error
                break
        raise self._unanswered(f"{type(failed).__name__}: {failed}")

    def close(self) -> None:
        """Ends connections."""
        self._http.close()

    def _post(self, address: str, body: bytes, headers: dict[str, str]) -> Reply:
        until = time.monotonic() + self._settings.timeout_s
        url = self._url.copy_with(host=address)
        extensions = {"sni_hostname": self._host, "trace": self._deadline.trace}
        with (
            self._deadline.kept(),
            self._http.stream("POST", url, content=body, headers=headers, extensions=extensions) as response,
        ):
            return Reply(response.status_code, response.headers, _body(response, until))

    def _addresses(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self._host.strip("[]"), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise self._unanswered(str(error)) from None
        texts = list(dict.fromkeys(str(each[4][0]) for each in found))
        for text in texts:
            self._check(text)
        return texts[:_ADDRESSES]

    def _check(self, text: str) -> None:
        address = ip_address(text)
        if address.is_loopback and is_loopback(self._url.host):
            return
        kind = kind_of(address)
        if kind == "private" and not self._settings.allow_private:
            raise ErpRefusedError(
                f"{self._host} has the private address {address}, and those are not allowed.",
                hint="If that is your receiver: --set allow_private=true.",
            )
        if kind == "forbidden":
            raise ErpRefusedError(f"{self._host} has the address {address}, which no receiver has.")

    def _unanswered(self, why: str) -> ErpUnavailableError:
        return ErpUnavailableError(
            f"The receiver at {self._host} did not answer ({why}).",
            hint="Look whether it runs; the next `bintally erp post` tries again.",
        )


def _tls(settings: WebhookSettings) -> ssl.SSLContext | bool:
    if settings.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{settings.ca_file} can't be read: {error}.", hint="The setting ca_file wants a PEM file."
        ) from None


def _body(response: httpx2.Response, until: float) -> bytes | None:
    """An answer's body. Its status counts, whatever becomes of the rest."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None
    body = bytearray()
    try:
        for part in response.iter_raw():
            body += part
            if len(body) > MOST_BYTES or time.monotonic() > until:
                return None
    except httpx2.HTTPError:
        return None
    return bytes(body)
