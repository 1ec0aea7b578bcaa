import pytest

from bintally.pipeline.words import duration, without_login


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://mia:secret@host/bins?key=secret#x", "https://host/bins"),
        ("s3://bins/some/prefix", "s3://bins/some/prefix"),
        ("Can't reach https://secret@host:1/a, nor gs://b/c?sig=secret.", "Can't reach https://host:1/a, nor gs://b/c"),
        ("/home/mia/photos", "/home/mia/photos"),
        ("postgresql+psycopg://u:secret@h/db", "postgresql+psycopg://h/db"),
        ("https://mia:se@cret@host/x", "https://host/x"),
    ],
)
def test_addresses_are_told_without_who_logs_in(text: str, told: str) -> None:
    assert without_login(text) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.2, "0 s"), (89, "89 s"), (95, "1 min 35 s"), (7300, "2 h 1 min"), (86_400, "24 h 0 min")]
)
def test_durations_are_told_in_few_words(seconds: float, told: str) -> None:
    assert duration(seconds) == told
