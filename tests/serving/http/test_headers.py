import pytest
from starlette.datastructures import Headers

from bintally.errors import RequestError
from bintally.serving.http.headers import allowed_s, best_accepted, single

PNG, JSON = "image/png", "application/json"


def test_a_header_comes_once_or_not_at_all() -> None:
    headers = Headers(raw=[(b"a", b"1"), (b"b", b"2"), (b"b", b"2")])
    assert single(headers, "A") == "1"
    assert single(headers, "c") is None
    with pytest.raises(RequestError, match="2 times") as refusal:
        single(headers, "b")
    assert refusal.value.status == 400


@pytest.mark.parametrize(("told", "seconds"), [("2.5", 2.5), ("0.001", 0.001), ("1e9", 30.0), ("inf", 30.0)])
def test_a_client_may_want_its_answer_sooner_but_not_later(told: str, seconds: float) -> None:
    assert allowed_s(Headers({"request-timeout": told}), 30.0) == seconds


@pytest.mark.parametrize("told", ["0", "-1", "nan", "soon", "", "²", "1,5"])
def test_a_time_that_is_none_is_refused(told: str) -> None:
    with pytest.raises(RequestError) as refusal:
        allowed_s(Headers({"request-timeout": told}), 30.0)
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PNG),
        ("*/*", PNG),
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("image/*", PNG),
        ("image/*;q=0.5, application/json", JSON),
        ("*/*, image/png;q=0", JSON),
        ("text/html, */*;q=0.1", PNG),
        ("application/json;q=0.5, image/png;q=0.6", PNG),
        ("application/json;q=high", JSON),
    ],
)
def test_the_answer_is_of_the_kind_that_is_liked_best(accept: str, kind: str) -> None:
    assert best_accepted(Headers({"accept": accept}), (PNG, JSON)) == kind


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "*/*;q=0", "garbage"])
def test_an_answer_that_can_not_be_given_is_told(accept: str) -> None:
    with pytest.raises(RequestError) as refusal:
        best_accepted(Headers({"accept": accept}), (PNG, JSON) if accept != "image/png;q=0" else (PNG,))
    assert refusal.value.status == 406
    assert PNG in refusal.value.hint
