"""Where no key is needed, what keeps other sites out that a browser of this machine or network has open.

A page from anywhere may make its visitor's browser send requests to a service on the visitor's machine. It reads no
answer unless its own name is made to resolve to this machine (DNS rebinding): then `Host` has that name. It sends
photos all the same: then `Sec-Fetch-Site`, or in old browsers `Origin`, tells where from.
"""

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from bintally.errors import RequestError
from bintally.serving.http.guards.said import Said

_OWN: Final = frozenset({"same-origin", "none"})  # "none": the person opened it, no site did


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine and of no other."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761: resolvers answer with loopback
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_host(said: Said, allowed: Collection[str]) -> None:
    """Lets in who asked for one of the names `allowed`; none given: for one of this machine's loopback names.

    Raises:
        RequestError: 421.
    """
    host = _name_of(said.host or "")
    if host in allowed or (not allowed and is_loopback(host)):
        return
    raise RequestError(
        "This service is not asked by that name.",
        status=421,
        code="wrong_host",
        hint="Use http://127.0.0.1, or name the host in BINTALLY_SERVE_ALLOW_HOST when the service is started.",
    )


def check_site(said: Said) -> None:
    """Lets in what comes from no browser, from our own page, or from the person at it.

    Raises:
        RequestError: 403.
    """
    if said.fetch_site is not None:
        if said.fetch_site in _OWN:
            return
    elif said.origin is None or _netloc_of(said.origin) == (said.host or "").lower():
        return
    raise RequestError(
        "This comes from another site's page, and no key says that it may.",
        status=403,
        code="cross_site",
        hint="Send it from a program, or use the service's own page.",
    )


def check_no_proxy(said: Said) -> None:
    """Lets in what was sent to this machine itself: behind a proxy "loopback" means the whole world.

    Raises:
        RequestError: 403.
    """
    if said.forwarded is not None:
        raise RequestError(
            "This came through a proxy, so whoever reaches that reaches the service, and no keys are asked for.",
            status=403,
            code="proxied",
            hint="Start the service with BINTALLY_SERVE_REQUIRE_KEYS=always, or =never if the proxy itself guards it.",
        )


def _name_of(host: str) -> str:
    """`"[::1]:8080"` as `"::1"`, `"Localhost:8080"` as `"localhost"`."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _netloc_of(origin: str) -> str | None:
    try:
        return urlsplit(origin.lower()).netloc or None  # "null" has none
    except ValueError:
        return None
