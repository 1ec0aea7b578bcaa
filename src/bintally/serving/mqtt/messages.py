"""What an MQTT message carries -> the question it asks, and where the answer goes.

T/photos/ROBOT   a photo's bytes (MQTT 5 user properties say what is known of it), or JSON
T/counts/ROBOT   the answer, unless the message named a response topic
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from bintally.errors import BintallyError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import JSON_TYPE, Asked
from bintally.serving.http.body import FIELDS, PhotoRequest, decoded, of_fields
from bintally.serving.refusals import detail_of, invalid

_HINT: Final = (
    'Publish the photo\'s bytes, or {"id": ..., "image": BASE64} or {"id": ..., "url": URL}; "counts" (such as "1-5"), '
    '"bin_image_id", "bin_id", "site", "recorded_count", "captured_at", "model" may be added: beside bytes, as user '
    "properties."
)

_IDS: Final = ("id", "idempotency_key")
"""User properties that name a message; the first of them counts."""


class PhotoMessage(PhotoRequest, frozen=True, forbid_unknown_fields=True):
    """A message's photo and what is known of it. `id` comes back with the answer and makes a repetition one with it."""

    id: str | None = None


class _Named(msgspec.Struct, frozen=True):
    id: str | None = None


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it came from the broker.

    `acknowledge` tells the broker that it need not come again; `expires_in_s` is what is left of its time.
    """

    topic: str
    payload: bytes
    digest: str  # hex SHA-256 of the payload
    qos: int = 0
    retained: bool = False
    acknowledge: Callable[[], None] = lambda: None
    content_type: str = ""
    response_topic: str | None = None
    correlation: bytes | None = None
    properties: tuple[tuple[str, str], ...] = ()
    expires_in_s: float | None = None

    @property
    def robot(self) -> str:
        """The last level of the topic."""
        return self.topic.rpartition("/")[2]

    @property
    def is_json(self) -> bool:
        """Whether it is JSON: as it says, or by its first byte, since MQTT 3 can't say."""
        return self.content_type.partition(";")[0].strip().lower() == JSON_TYPE or self.payload[:1] == b"{"

    @property
    def identity(self) -> tuple[object, ...]:
        """What a repetition has in common with it: then one answer is an answer to both."""
        return self.topic, self.digest, self.properties, self.response_topic, self.correlation


def reply_topic(arrived: Arrived, prefix: str) -> tuple[str, bool]:
    """Where the answer goes, and whether that is where the message wants it.

    No wildcards, none of the broker's own topics, and nothing of ours but counts: a photo's answer must not come back
    as a photo.
    """
    wanted = arrived.response_topic
    usual = f"{prefix}/counts/{arrived.robot}"
    if not wanted:
        return usual, True
    is_fine = not (set(wanted) & set("+#\0")) and not wanted.startswith("$") and len(wanted.encode()) < 2**16
    if is_fine and (not wanted.startswith(f"{prefix}/") or wanted.startswith(f"{prefix}/counts/")):
        return wanted, True
    return usual, False


def question(arrived: Arrived) -> PhotoMessage:
    """What the message says.

    Raises:
        RequestError: 422, it does not say what is wanted.
    """
    if arrived.is_json:
        message: PhotoMessage = decoded(arrived.payload, PhotoMessage, hint=_HINT)
        return message
    told = [name for name, _ in arrived.properties if name in (*FIELDS, *_IDS)]
    for name in told:
        if told.count(name) > 1:
            raise invalid(f"The user properties say {name} more than once.", hint="Say it once.")
    photo = of_fields(arrived.payload, _known(arrived))
    return PhotoMessage(id=_id_beside(arrived), **_fields(photo))


def name_of(arrived: Arrived) -> str:
    """What the answer calls a message, whether or not it can be used: its id, else its payload's SHA-256."""
    if not arrived.is_json:
        return _id_beside(arrived) or arrived.digest
    try:
        return msgspec.json.decode(arrived.payload, type=_Named).id or arrived.digest
    except (ValueError, RecursionError):  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        return arrived.digest


def asked_of(message: PhotoMessage, arrived: Arrived, **more: Any) -> Asked:
    """The question for the service.

    Raises:
        RequestError: 422, it says neither or both of a photo and a URL, or something that can't be.
    """
    return PhotoRequest(**_fields(message)).asked(
        door="mqtt",
        client=f"mqtt/{arrived.robot}",
        content_type=JSON_TYPE if arrived.is_json else "application/octet-stream",
        idempotency_key=_key(arrived) if message.id is None else message.id,
        **more,
    )


def _id_beside(arrived: Arrived) -> str | None:
    said = dict(arrived.properties)
    return next((said[name] for name in _IDS if name in said), None)


def _fields(message: PhotoRequest) -> dict[str, Any]:
    return {name: getattr(message, name) for name in PhotoRequest.__struct_fields__}


def _known(arrived: Arrived) -> dict[str, str]:
    """The user properties that are about the photo; others (such as a trace's) are other people's."""
    return {name: value for name, value in arrived.properties if name in FIELDS}


def _key(arrived: Arrived) -> str:
    """The same for the same photo with the same said of it."""
    said = sorted(_known(arrived).items())
    return hashlib.sha256(msgspec.json.encode((arrived.digest, said))).hexdigest() if said else arrived.digest


def reply(name: str, answer: CountAnswer | BintallyError) -> bytes:
    """The answer's JSON: {"id", "answer"} or {"id", "error"}; `name` as `name_of` has it."""
    if isinstance(answer, CountAnswer):
        return msgspec.json.encode({"id": name, "answer": answer.to_plain()})
    return msgspec.json.encode({"id": name, "error": detail_of(answer)[1]})
