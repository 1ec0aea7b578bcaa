"""Which addresses may be asked or told something: public ones, private ones if the operator says so, others never.

Sources: IANA's special-purpose address registries (RFC 6890), RFC 6052 (NAT64), RFC 4380 (Teredo), RFC 3056 (6to4),
RFC 5214 (ISATAP), and the clouds' documentation of their metadata services.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, Literal, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Kind: TypeAlias = Literal["public", "private", "forbidden"]


def _networks(*texts: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in texts)


_FORBIDDEN: Final = _networks(
    "0.0.0.0/8",  # "this network"; Linux connects 0.0.0.0 to itself
    "169.254.0.0/16",  # link-local; the metadata of AWS, Azure, Google, Oracle, ECS tasks and others
    "100.100.100.200/32",  # Alibaba's metadata
    "168.63.129.16/32",  # Azure's wire server: a public address that is the host's
    "192.0.0.0/24",  # protocol assignments; Oracle's older metadata at 192.0.0.192
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
    "fd00:ec2::/32",  # AWS: metadata, DNS, time
    "fd20:ce::/64",  # Google's metadata
    "2001::/23",  # protocol assignments, Teredo and ORCHID among them
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: an IPv4 address in disguise
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)
_PRIVATE: Final = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",  # carrier-grade NAT; overlay networks live there too
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})


def kind_of(address: Address) -> Kind:
    """Whether `address` may be connected to: yes, if private ones may, or never."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
            return "forbidden"
        if address in _NAT64:  # how the public IPv4 internet looks from a network that has only IPv6
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
            return "public" if kind_of(inner) == "public" else "forbidden"
    if _is_in(address, _FORBIDDEN):
        return "forbidden"
    if _is_in(address, _PRIVATE):
        return "private"
    # Of IPv6 only what is given out is public: no mapped or translated IPv4, link-local, site-local, multicast.
    return "forbidden" if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST else "public"


def _is_in(address: Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)
