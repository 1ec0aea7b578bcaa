"""One line of a capture, as SageMaker's Model Monitor writes and reads it.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bintally.errors import DataError

EVENT_VERSION: Final = "0"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A question and its answer. `inference_time` has a time zone; `photo` are the bytes of a JPEG, PNG or WebP file.

    `attributes` are SageMaker's custom attributes; the last one is a JSON object of what was asked of the photo.
    `inference_id` is the caller's own name for it, by which what is later found to be true can be joined.
    """

    event_id: str
    inference_time: datetime
    content_type: str
    photo: bytes
    answer: str  # one line of JSON
    attributes: tuple[str, ...] = ()
    inference_id: str | None = None

    def plain_answer(self) -> dict[str, Any]:
        """The answer's JSON as a dict.

        Raises:
            DataError: it is none.
        """
        try:
            return msgspec.json.decode(self.answer, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise DataError(f"The answer of event {self.event_id} is no JSON object: {error}.") from None


class _Part(msgspec.Struct, rename="camel", frozen=True):
    data: str
    observed_content_type: str = ""
    mode: str = ""
    encoding: str = ""


class _Data(msgspec.Struct, rename="camel", frozen=True):
    endpoint_input: _Part
    endpoint_output: _Part


class _Metadata(msgspec.Struct, rename="camel", frozen=True):
    event_id: str
    inference_time: datetime
    custom_attributes: tuple[str, ...] = ()
    inference_id: str | None = None


class _Line(msgspec.Struct, rename="camel", frozen=True):
    capture_data: _Data
    event_metadata: _Metadata


class Heading(msgspec.Struct, frozen=True):
    """What a line is told by, without its data."""

    event_id: str
    inference_time: datetime


class _HeadingLine(msgspec.Struct, rename="camel", frozen=True):
    event_metadata: _Metadata


_LINES: Final = msgspec.json.Decoder(_Line)
_HEADINGS: Final = msgspec.json.Decoder(_HeadingLine)


def encoded(event: Event) -> bytes:
    """`event` as one line, with its end."""
    metadata: dict[str, Any] = {"eventId": event.event_id}
    if event.attributes:
        metadata["customAttributes"] = event.attributes
    if event.inference_id is not None:
        metadata["inferenceId"] = event.inference_id
    metadata["inferenceTime"] = event.inference_time.astimezone(UTC)
    line = {
        "captureData": {
            "endpointInput": {
                "observedContentType": event.content_type,
                "mode": "INPUT",
                "data": event.photo,  # msgspec writes bytes as base64
                "encoding": "BASE64",
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "data": event.answer,
                "encoding": "JSON",
            },
        },
        "eventMetadata": metadata,
        "eventVersion": EVENT_VERSION,
    }
    return msgspec.json.encode(line) + b"\n"


def heading_of(line: bytes) -> Heading | None:
    """What `line` is told by; None: it is torn, or no capture."""
    if not line.endswith(b"\n"):
        return None
    try:
        metadata = _HEADINGS.decode(line).event_metadata
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Heading(metadata.event_id, _aware(metadata.inference_time))


def decoded(line: bytes) -> Event | None:
    """The event of `line`; None: it is torn, or no capture."""
    try:
        whole = _LINES.decode(line)
        given, answer = whole.capture_data.endpoint_input, whole.capture_data.endpoint_output
        is_base64 = given.encoding == "BASE64"
        photo = base64.b64decode(given.data, validate=True) if is_base64 else given.data.encode()
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error):
        return None
    metadata = whole.event_metadata
    return Event(
        event_id=metadata.event_id,
        inference_time=_aware(metadata.inference_time),
        content_type=given.observed_content_type,
        photo=photo,
        answer=answer.data,
        attributes=metadata.custom_attributes,
        inference_id=metadata.inference_id,
    )


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
