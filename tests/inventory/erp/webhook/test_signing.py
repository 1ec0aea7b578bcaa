"""Signatures are those of Standard Webhooks' own library, for any message."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from bintally.inventory.erp.webhook.signing import keys_of, signed

_MOMENTS = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2099, 1, 1))


@given(
    secret=st.binary(min_size=24, max_size=64),
    message_id=st.from_regex(r"[a-zA-Z0-9-]{1,40}", fullmatch=True),
    at=_MOMENTS,
    text=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_signature_is_that_of_the_reference_library(secret: bytes, message_id: str, at: datetime, text: str) -> None:
    theirs = Webhook(secret).sign(message_id, at, text)
    headers = signed([secret], message_id, at.replace(tzinfo=UTC), text.encode())
    assert headers["webhook-signature"] == theirs


def test_the_example_of_the_reference_library_comes_out() -> None:
    # standard-webhooks/libraries, test_verify: the same in all languages
    body = b'{"test": 2432232314}'
    keys = keys_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    assert signed(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_unpadded_secrets_are_understood() -> None:
    key = b"k" * 25
    assert keys_of("whsec_" + "a2tr" * 8 + "aw") == (key,)
