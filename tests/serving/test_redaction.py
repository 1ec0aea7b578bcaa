import pytest

from bintally.serving.redaction import scrubbed, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://camera.example/a.jpg", "https://camera.example/a.jpg"),
        ("https://u:SECRET@camera.example:81/a.jpg?sig=SECRET#SECRET", "https://***@camera.example:81/a.jpg?***"),
        ("mqtts://robot:SECRET@broker.example:8883", "mqtts://***@broker.example:8883"),
        ("postgresql+psycopg://u:SECRET@db/name?sslpassword=SECRET", "postgresql+psycopg://***@db/name?***"),
        ("http://u:SEC@RET@camera.example/", "http://***@camera.example/"),
        ("http://u:SECRET@[::1", "http://***@[::1"),
        ("http://u:SECRET@[::1?x=SECRET", "http://***@[::1"),
        ("photo.jpg", "photo.jpg"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_opens_it(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "line",
    [
        "GET / Authorization: Bearer SECRETSECRETSECRET",
        "{'authorization': 'Basic SECRETSECRET=='}",
        '{"x-api-key": "SECRET"}',
        "X-Api-Key: SECRET",
        "(b'authorization', b'SECRET')",
        "key btk_0123456789ab_SECRETxSECRET-SECRET_SECRET",
        "could not connect to postgresql://user:SECRET@db/name",
        "https://bucket.example/a.jpg?X-Amz-Signature=SECRET",
    ],
)
def test_a_line_for_the_log_loses_its_secrets(line: str) -> None:
    assert "SECRET" not in scrubbed(line)


@pytest.mark.parametrize("line", ["Counted 3 items in 12.5 ms: is that basic enough?", "http://127.0.0.1:8080/ping"])
def test_an_ordinary_line_stays_as_it_is(line: str) -> None:
    assert scrubbed(line) == line
