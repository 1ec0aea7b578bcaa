"""`serving.service.Capture`: which questions are captured, under which name, and what is said of them."""

import asyncio
import hashlib
import time
from datetime import UTC, datetime
from typing import Final, Self

import msgspec

from bintally.monitoring.capture import CaptureLog
from bintally.monitoring.capture_line import Event
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import WHAT, Asked
from bintally.serving.idempotency.question import event_id_of, key_of
from bintally.serving.photo_check import media_type_of
from bintally.serving.redaction import without_secrets
from bintally.serving.settings import ServeConfig

FOLDER: Final = "capture"
_DAY_S: Final = 86_400.0


class SampledCapture:
    """Captures `percent` of the questions in `log`. A question that is asked again is drawn again or not again."""

    def __init__(self, log: CaptureLog, *, percent: float) -> None:
        self._log, self._percent = log, percent

    @classmethod
    def of(cls, config: ServeConfig) -> Self | None:
        """The capture that `config` wants; None: none."""
        if not config.capture:
            return None
        folder = config.state_folder / FOLDER / config.endpoint / config.variant
        log = CaptureLog(folder, max_bytes=config.capture_mb * 2**20, max_age_s=config.capture_days * _DAY_S)
        return cls(log, percent=config.capture)

    async def keep(self, asked: Asked, photo: bytes, answer: CountAnswer) -> bool:
        """As `Capture.keep`."""
        if not is_drawn(asked, self._percent):
            return False
        event = Event(
            event_id=await event_id_of(asked),
            inference_time=datetime.fromtimestamp(time.time(), UTC),
            content_type=media_type_of(photo) or asked.content_type,
            photo=photo,
            answer=answer.to_json(),
            attributes=attributes_of(asked),
            inference_id=asked.inference_id,
        )
        await asyncio.wrap_future(self._log.append(event))
        return True

    async def close(self) -> None:
        """Ends its threads, after what is under way."""
        await asyncio.to_thread(self._log.close)


def is_drawn(asked: Asked, percent: float) -> bool:
    """Whether a question is among the `percent`, by a hash of its key (where it has none: of its request id)."""
    drawn_by = asked.request_id if asked.idempotency_key is None else f"{asked.client}\n{key_of(asked.idempotency_key)}"
    drawn = int.from_bytes(hashlib.sha256(drawn_by.encode()).digest()[:8])
    return drawn * 100 < percent * 2**64


def attributes_of(asked: Asked) -> tuple[str, ...]:
    """What the caller sent along, and what was asked of the photo, as one line of JSON."""
    told = {name: value for name in WHAT if (value := getattr(asked, name)) is not None}
    if asked.url is not None:
        told["url"] = without_secrets(asked.url)
    sent = () if asked.custom_attributes is None else (asked.custom_attributes,)
    return (*sent, msgspec.json.encode(told).decode())
