"""Secrets are withheld wherever they stand, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.inventory.evidence.secrets import WITHHELD, which_system, without_secrets

SECRET = "hunter2hunter2hunter2"

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(categories=["Lu", "Ll", "Nd"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["bin", "lines", "key"]), inner),
    max_leaves=10,
)
skus = st.sampled_from(["COOKIE-12", "SECRET-SANTA-12", "TOKEN-CASINO", "B00-DRILL"])
keys = st.sampled_from(["password", "Passwd", "api-key", "API_KEY", "access_token", "clientSecret", "Set-Cookie"])


@given(plain)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert without_secrets(value) == value


@given(st.dictionaries(skus, st.integers() | st.floats(allow_nan=False) | st.none()))
def test_how_many_there_are_of_a_product_stays_whatever_it_is_called(lines: dict[str, float | None]) -> None:
    assert without_secrets({"lines": lines}) == {"lines": lines}


@given(keys, plain, plain)
def test_what_is_called_like_a_secret_is_withheld_however_deep(key: str, beside: Any, value: Any) -> None:
    held = {"answer": [beside, {key: {"it": SECRET}, "number": 7}], "value": value}
    told = without_secrets(held)
    assert SECRET not in str(told)
    assert told["answer"][1] == {key: WITHHELD, "number": 7}
    assert without_secrets(told) == told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"can't reach https://me:{SECRET}@erp.example/api", f"can't reach https://{WITHHELD}@erp.example/api"),
        (f"GET /?database=stock&api_key={SECRET}&n=1", f"GET /?database=stock&api_key={WITHHELD}&n=1"),
        (f"Bearer {SECRET} was refused", f"Bearer {WITHHELD} was refused"),
        (
            "a basic inspection of the token bin",
            "a basic inspection of the token bin",
        ),
        ("2 x Basic TSHIRT-2024-XL were seen", "2 x Basic TSHIRT-2024-XL were seen"),
        (f'set password="{SECRET} too" please', f"set password={WITHHELD} please"),
        (f'password="a\\"{SECRET}" it is', f"password={WITHHELD} it is"),
        (f"Password: '{SECRET}'", f"Password: {WITHHELD}"),
        (f"token =\n{SECRET} of today", f"token =\n{WITHHELD} of today"),
        (json.dumps({"password": SECRET, "n": 1}), f'{{"password": {WITHHELD}, "n": 1}}'),
        (json.dumps(json.dumps({"api-key": SECRET})), f'"{{\\"api-key\\": {WITHHELD}}}"'),
        ("mail rita@example.com about https://erp.example/a@b", "mail rita@example.com about https://erp.example/a@b"),
    ],
)
def test_what_looks_like_a_secret_is_withheld(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


def test_of_a_connection_only_what_says_which_system_it_is() -> None:
    settings = {
        "url": f"https://me:{SECRET}@erp.example", "database": "stock", "user": "bintally", "password": SECRET,
        "anything": SECRET, "company": None, "location": "",
    }  # fmt: skip
    assert which_system(settings) == {"url": f"https://{WITHHELD}@erp.example", "database": "stock"}
