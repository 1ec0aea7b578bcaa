from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.addresses import kind_of


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1111", "public"),
        ("64:ff9b::8.8.8.8", "public"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "private"),
        ("127.0.0.1", "private"),
        ("::1", "private"),
        ("fd12:3456::1", "private"),
        ("fd00:ec2::254", "forbidden"),
        ("169.254.169.254", "forbidden"),
        ("64:ff9b::10.0.0.1", "forbidden"),
        ("fe80::1%eth0", "forbidden"),
    ],
)
def test_addresses_are_public_private_or_forbidden(address: str, kind: str) -> None:
    assert kind_of(ip_address(address)) == kind


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_to_be_private(address: object) -> None:
    found = ip_address(str(address))
    if found.is_private or found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        assert kind_of(found) != "public"
