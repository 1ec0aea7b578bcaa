"""What any door asks of the service, once it has read its own format."""

import time
import uuid
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from bintally.errors import RequestError

Door: TypeAlias = Literal["http", "sagemaker", "inference", "mqtt", "lambda", "python"]

PHOTO_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
"""Only these are let in, told by their first bytes: Pillow knows dozens of formats, and a service should not run the
parsers of the rare ones on a stranger's bytes."""

JSON_TYPE: Final = "application/json"

WHAT: Final = ("url", "counts", "bin_image_id", "bin_id", "site", "recorded_count", "captured_at", "model")
"""The fields of `Asked` that, with the photo, are the question: not who asks, by which door, and by when."""


def new_id() -> str:
    """A name for a request, one that sorts by time: it stands in logs, captures and answers."""
    return f"{time.time_ns() // 1_000_000:012x}-{uuid.uuid4().hex[:16]}"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One photo to count, and what is known about it. Exactly one of `photo` (a file's bytes) and `url` is given.

    `bin_id` is a bin's code in the ledger (of `site`; None: the only one). `idempotency_key` makes the same question,
    asked twice by the same `client`, one. `deadline` is a moment of `time.monotonic()` after which nobody waits for
    the answer any more. Photos of one request are called `ID.0`, `ID.1` ...: by what stands before the last dot,
    requests take turns.
    """

    photo: bytes | None = None
    url: str | None = None
    counts: str | None = None
    bin_image_id: str | None = None
    bin_id: str | None = None
    site: str | None = None
    recorded_count: int | None = None
    captured_at: datetime | None = None
    model: str | None = None  # of those that are loaded; None: the one the service was started with
    idempotency_key: str | None = None
    client: str = ""  # the name of the API key, or of the MQTT client; "": nobody asked who it is
    door: Door = "python"
    content_type: str = "application/octet-stream"  # of the body it came in, for the capture
    request_id: str = msgspec.field(default_factory=new_id)
    inference_id: str | None = None  # the caller's own name for it (SageMaker), for the capture
    custom_attributes: str | None = None  # what SageMaker's caller sent along, for the capture
    deadline: float | None = None
    question: bytes | None = None  # what `idempotency.question` made of it, once it has

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; below 0 after it, infinite where there is none."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def check_deadline(self) -> None:
        """Nothing is worked on that nobody waits for.

        Raises:
            RequestError: 504.
        """
        if self.left_s <= 0:
            raise too_late()


def too_late() -> RequestError:
    """The refusal of what nobody waits for any more."""
    return RequestError(
        "The answer was wanted earlier than it could be given.",
        status=504,
        code="deadline_exceeded",
        hint="Allow more time, or send fewer photos at once.",
    )
