"""Signatures after Standard Webhooks 1.0.0: HMAC-SHA256 of the message's id, the moment and the body."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from bintally.errors import ConfigError

PREFIX: Final = "whsec_"

_SHORTEST: Final = 24  # bytes, both from the standard
_LONGEST: Final = 64


def keys_of(secret: str | None) -> tuple[bytes, ...]:
    """The keys that a connection's secret holds: one, or several, with blanks or commas between, while it is changed.

    Raises:
        ConfigError: there is none, or it is no secret of a webhook.
    """
    hint = f"Put {PREFIX} and the base64 of {_SHORTEST} to {_LONGEST} random bytes into $BINTALLY_ERP_NAME_SECRET."
    texts = re.split(r"[\s,]+", secret.strip()) if secret and secret.strip() else []
    if not texts:
        raise ConfigError("There is no secret to sign webhooks with.", hint=hint)
    return tuple(_key(text, hint) for text in texts)


def signed(keys: Sequence[bytes], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a message: a signature by each key, so that a receiver that knows one of them takes it."""
    moment = str(int(at.timestamp()))
    content = b".".join((message_id.encode(), moment.encode(), body))
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(text: str, hint: str) -> bytes:
    encoded = text.removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not (text.startswith(PREFIX) and _SHORTEST <= len(key) <= _LONGEST):
        raise ConfigError("The secret is none of a webhook.", hint=hint)
    return key
