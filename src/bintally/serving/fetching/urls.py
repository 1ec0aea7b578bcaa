"""A URL taken apart in one way only: what two parsers could read differently is refused, not repaired."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urljoin

from bintally.errors import RequestError

Scheme: TypeAlias = Literal["http", "https"]
PORTS: Final[dict[Scheme, int]] = {"http": 80, "https": 443}
MAX_CHARACTERS: Final = 4096

# RFC 3986 without userinfo and fragment, in ASCII. A host is a name or an address, so nothing in it is percent-encoded.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)",
    re.IGNORECASE,
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Place(NamedTuple):
    """Where a photo is: `host` is a name in lower case, or an address in its one usual spelling, without brackets."""

    scheme: Scheme
    host: str
    port: int
    target: str  # path and query, as they are sent

    @property
    def netloc(self) -> str:
        """What the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host, if it is an address."""
        return address_in(self.host)


def place_of(url: str) -> Place:
    """The parts of `url`.

    Raises:
        RequestError: 422, it is not a plain http or https URL.
    """
    found = _URL.fullmatch(url) if len(url) <= MAX_CHARACTERS else None
    if found is None:
        raise _no_url()
    scheme: Scheme = "https" if found["scheme"].lower() == "https" else "http"
    port = PORTS[scheme] if found["port"] is None else int(found["port"])
    host = host_of(found["host"])
    if host is None or not 0 < port < 65536:
        raise _no_url()
    target = found["target"]
    return Place(scheme, host, port, target if target.startswith("/") else f"/{target}")


def host_of(text: str) -> str | None:
    """A name or address in the spelling that `Place.host` has; None for what is neither."""
    text = text.lower()
    if text.startswith("["):
        return _ipv6(text[1:-1])
    if _NUMBER.fullmatch(text.rpartition(".")[2]):
        # 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 are 127.0.0.1 to some resolvers and names to others.
        return _ipv4(text)
    is_name = len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))
    return text if is_name else None


def joined(place: Place, location: str) -> Place:
    """Where a redirect at `place` leads.

    Raises:
        RequestError: 422, not to a plain http or https URL.
    """
    if re.search(r"[\x00-\x20\x7f-\U0010ffff\\]", location):  # urljoin drops some of these silently
        raise _no_url()
    try:
        url = urljoin(f"{place.scheme}://{place.netloc}{place.target}", location)
    except ValueError:
        raise _no_url() from None
    return place_of(url.partition("#")[0])  # a fragment in a redirect is ordinary, and never sent


def address_in(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is; None for a name."""
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None


def _ipv4(text: str) -> str | None:
    try:
        return str(IPv4Address(text))  # takes four decimal parts without leading zeros, and nothing else
    except AddressValueError:
        return None


def _ipv6(text: str) -> str | None:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        return None


def _no_url() -> RequestError:
    return RequestError(
        "This is not a plain http:// or https:// URL.",
        status=422,
        code="invalid_request",
        hint="Leave out user names, fragments and backslashes; write hosts in ASCII and addresses as four numbers.",
    )
