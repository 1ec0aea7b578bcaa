"""When two questions are the same: their key, and what they ask."""

import asyncio
import hashlib
import re
import uuid
from typing import Final

import msgspec

from bintally.errors import RequestError
from bintally.serving.asked import WHAT, Asked

MAX_KEY: Final = 255
_LARGE_BYTES: Final = 2**18
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_SPACE: Final = uuid.UUID("5b9ad92d-6c52-5a14-9a0c-5e1f1ed9d1a6")  # of our events' names, among all UUIDs


def key_of(text: str) -> str:
    """The key in an `Idempotency-Key` header: the draft wants a string in quotes, and many send it without them.

    Raises:
        RequestError: 400, it is empty, too long, or not of printable ASCII.
    """
    quoted = _QUOTED.fullmatch(text.strip())
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text.strip()
    if not 1 <= len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise RequestError(
            f"An Idempotency-Key has 1 to {MAX_KEY} characters of printable ASCII.",
            status=400,
            code="invalid_idempotency_key",
            hint='Send a UUID, such as Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324".',
        )
    return key


def question_of(asked: Asked) -> bytes:
    """SHA-256 over the photo, or its URL, and all that was asked of it; not over who asks, and by when."""
    told = msgspec.json.encode([getattr(asked, name) for name in WHAT])
    digest = hashlib.sha256(hashlib.sha256(told).digest())
    digest.update(asked.photo or b"")
    return digest.digest()


async def question_soon(asked: Asked) -> bytes:
    """`question_of`, worked out once; a large photo not in the event loop's thread (1 MB takes about 1 ms)."""
    if asked.question is not None:
        return asked.question
    if len(asked.photo or b"") < _LARGE_BYTES:
        return question_of(asked)
    return await asyncio.to_thread(question_of, asked)


async def event_id_of(asked: Asked) -> str:
    """The name of a question's event in the capture: a UUID, the same one for a question that is asked again.

    Without a key each question is one of its own, whatever its request id: callers may choose that.
    """
    if asked.idempotency_key is None:
        return str(uuid.uuid4())
    told = [asked.client, key_of(asked.idempotency_key), (await question_soon(asked)).hex()]
    return str(uuid.uuid5(_SPACE, msgspec.json.encode(told).decode()))
