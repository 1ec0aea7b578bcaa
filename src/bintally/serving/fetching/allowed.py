"""The hosts that the operator named."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from bintally.addresses import kind_of
from bintally.errors import UsageError
from bintally.serving.fetching.urls import PORTS, Place, address_in, host_of

_RULE: Final = re.compile(r"(?P<dot>\.?)(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}|\*))?")


class _Rule(NamedTuple):
    host: str
    port: int | None  # None: the scheme's own; 0: any
    is_suffix: bool

    @classmethod
    def of(cls, text: str) -> Self:
        found = _RULE.fullmatch(text)
        host = host_of(found["host"]) if found else None
        if found is None or host is None or (found["dot"] and (address_in(host) or "." not in host)):
            raise UsageError(
                f"{text!r} is no host.",
                hint="Name it as in `--allow-url camera.example` (or camera.example:8443, camera.example:*, "
                ".cameras.example), without https://.",
            )
        port = None if found["port"] is None else 0 if found["port"] == "*" else int(found["port"])
        if port is not None and port > 65535:
            raise UsageError(f"{text!r} names no port.", hint="A port is a number up to 65535, or *.")
        return cls(host, port, bool(found["dot"]))

    def allows(self, place: Place) -> bool:
        is_host = place.host.endswith(f".{self.host}") if self.is_suffix else place.host == self.host
        is_port = place.port == PORTS[place.scheme] if self.port is None else self.port in (0, place.port)
        return is_host and is_port


class AllowedHosts:
    """The hosts that photos may be fetched from.

    `camera.example` (its usual port), `camera.example:8443` (that one), `camera.example:*` (any), `.cameras.example`
    (all names that end so).

    Raises:
        UsageError: a host that is none, such as a whole URL, or an address that is never fetched from.
    """

    def __init__(self, hosts: Iterable[str], *, allow_private: bool = False) -> None:
        self._rules = tuple(_Rule.of(host.strip()) for host in hosts)
        for rule in self._rules:
            _check_address(rule.host, allow_private=allow_private)

    def allow(self, place: Place) -> bool:
        """Whether `place` is at one of them."""
        return any(rule.allows(place) for rule in self._rules)


def _check_address(host: str, *, allow_private: bool) -> None:
    address = address_in(host)
    kind = "public" if address is None else kind_of(address)
    if kind == "private" and not allow_private:
        raise UsageError(
            f"{host} is a private address.", hint="Say BINTALLY_SERVE_ALLOW_PRIVATE_URL=1 if photos may come from it."
        )
    if kind == "forbidden":
        raise UsageError(f"Photos are never fetched from {host}.", hint="Name the host that has the photos.")
