import pytest

from bintally.serving.http.guards.gate import address_of, limit_of
from bintally.serving.http.guards.rates import Rates, Slots


@pytest.mark.parametrize(
    ("client", "who"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_caller_is_an_address_or_a_network_of_one_customer(client: str, who: str) -> None:
    """All callers over IPv4 once had one bucket together where the service was bound to "::"."""
    assert address_of({"client": (client, 1)}) == who


def test_a_rate_that_is_next_to_nothing_lets_one_through() -> None:
    limit = limit_of(1e-320, 0)
    assert limit is not None
    assert Rates(Slots()).spend("a", limit, 1).remaining == 0


def test_no_rate_is_no_limit() -> None:
    assert limit_of(0.0, 5) is None
