import pytest

from bintally.errors import UsageError
from bintally.serving.fetching.allowed import AllowedHosts
from bintally.serving.fetching.urls import place_of


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("camera.example", "http://Camera.Example/a", "http://camera.example:8080/a"),
        ("camera.example", "https://camera.example/a", "http://a.camera.example/"),
        ("camera.example:8443", "https://camera.example:8443/", "https://camera.example/"),
        ("camera.example:*", "http://camera.example:1/", "http://other.example:1/"),
        (".cameras.example", "http://a.cameras.example/", "http://cameras.example/"),
        (".cameras.example", "http://a.b.cameras.example/", "http://acameras.example/"),
        (".cameras.example:81", "http://a.cameras.example:81/", "http://a.cameras.example/"),
        ("8.8.8.8", "http://8.8.8.8/", "http://8.8.4.4/"),
        ("[2606:4700::1111]:81", "http://[2606:4700:0::1111]:81/", "http://[2606:4700::1112]:81/"),
    ],
)
def test_a_rule_allows_what_it_names_and_nothing_else(rule: str, yes: str, no: str) -> None:
    hosts = AllowedHosts([rule])
    assert hosts.allow(place_of(yes))
    assert not hosts.allow(place_of(no))
    assert not AllowedHosts([]).allow(place_of(yes))


@pytest.mark.parametrize(
    "host",
    ["https://camera.example", "camera.example/photos", "*", "", "*.example", ".example", ".8.8.8.8", "a:b", "127.1"],
)
def test_what_is_no_host_can_not_be_allowed(host: str) -> None:
    with pytest.raises(UsageError, match="no host"):
        AllowedHosts([host])


def test_an_address_that_is_never_fetched_from_is_told_at_the_start() -> None:
    with pytest.raises(UsageError, match="private address") as error:
        AllowedHosts(["10.0.0.7"])
    assert "ALLOW_PRIVATE_URL" in error.value.hint
    AllowedHosts(["10.0.0.7", "[::1]:8080"], allow_private=True)
    with pytest.raises(UsageError, match="never fetched"):
        AllowedHosts(["169.254.169.254"], allow_private=True)
    with pytest.raises(UsageError, match="no port"):
        AllowedHosts(["camera.example:70000"])
