import pytest

from bintally.errors import RequestError
from bintally.serving.fetching.urls import joined, place_of


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://camera.example", ("http", "camera.example", 80, "/")),
        ("HTTPS://Camera.Example:8443/A?b=%20", ("https", "camera.example", 8443, "/A?b=%20")),
        ("http://camera.example?x", ("http", "camera.example", 80, "/?x")),
        ("http://8.8.8.8:81/a", ("http", "8.8.8.8", 81, "/a")),
        ("http://[2606:4700:0:0::1111]/", ("http", "2606:4700::1111", 80, "/")),
        ("http://xn--bcher-kva.example/", ("http", "xn--bcher-kva.example", 80, "/")),
        ("http://a_b.example/@:!$&'()*+,;=~", ("http", "a_b.example", 80, "/@:!$&'()*+,;=~")),
    ],
)
def test_a_url_is_taken_apart(url: str, place: tuple[str, str, int, str]) -> None:
    assert tuple(place_of(url)) == place


def test_the_header_host_names_the_port_only_where_it_is_unusual() -> None:
    assert place_of("https://camera.example:443/").netloc == "camera.example"
    assert place_of("https://[2606:4700::1111]:80/").netloc == "[2606:4700::1111]:80"


@pytest.mark.parametrize("url", ["http://" + "a" * 64 + ".example/", "http://a..example/", "http://-a.example/"])
def test_a_name_that_can_be_none_is_refused(url: str) -> None:
    with pytest.raises(RequestError):
        place_of(url)
    with pytest.raises(RequestError):
        place_of("http://camera.example/" + "a" * 5000)


@pytest.mark.parametrize(
    ("location", "target"),
    [("b.jpg", "/a/b.jpg"), ("/b", "/b"), ("?x=1", "/a/c?x=1"), ("//camera.example/d#e", "/d"), ("..", "/")],
)
def test_a_redirect_is_joined(location: str, target: str) -> None:
    assert joined(place_of("http://camera.example/a/c"), location).target == target


@pytest.mark.parametrize(
    "location", ["/a\tb", "h\nttp://camera.example/", "/a b", "\\\\camera.example", "/\u00e9", "\x00"]
)
def test_a_redirect_with_what_parsers_drop_in_silence_is_refused(location: str) -> None:
    with pytest.raises(RequestError):
        joined(place_of("http://camera.example/a/c"), location)
