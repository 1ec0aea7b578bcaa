"""What both clients are made with: the address, the key, the pool of connections."""

import ssl
from typing import Any, Final

import httpx2
import msgspec

from bintally import __version__
from bintally.client.calls import Call
from bintally.client.patience import Patience
from bintally.errors import UsageError

CONNECTIONS: Final = 16
_IDLE_S: Final = 30.0  # less than proxies commonly allow


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the service. Its representation does not show the key."""

    url: str
    timeout_s: float
    retries: int
    settings: dict[str, Any]  # of httpx2's client

    def __repr__(self) -> str:
        return self.url

    @classmethod
    def of(cls, url: str, *, key: str | None, timeout_s: float, retries: int, tls: ssl.SSLContext | None) -> "Setup":
        """The setup, checked.

        Raises:
            UsageError: no URL, no key, or limits that make no sense.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            parsed = httpx2.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
            raise UsageError(
                "This is no address of a service.", hint="Such as http://127.0.0.1:8080; the key goes into key=."
            )
        if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
            raise UsageError("This is no API key.", hint="`bintally keys create NAME` makes one: btk_...")
        if not timeout_s > 0 or retries < 0:
            raise UsageError("timeout_s must be above 0, and retries not below.", hint="Leave them out, or mend them.")
        return cls(
            url=str(parsed).rstrip("/"), timeout_s=timeout_s, retries=retries, settings=_settings(parsed, key, tls)
        )

    def patience(self) -> Patience:
        """The time and tries of one call."""
        return Patience(timeout_s=self.timeout_s, retries=self.retries)


def _settings(url: httpx2.URL, key: str | None, tls: ssl.SSLContext | None) -> dict[str, Any]:
    headers = {"User-Agent": f"bintally/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=_IDLE_S)
    return {"base_url": url, "headers": headers, "limits": limits, "verify": tls or True}


def arguments(call: Call, patience: Patience) -> dict[str, Any]:
    """What httpx2 is called with, for one try."""
    return {
        "method": call.method,
        "url": call.path,
        "params": call.query,
        "content": call.body,
        "headers": {**call.headers, "Request-Timeout": f"{patience.left_s:.3f}"},
        "timeout": patience.timeout,
    }
