"""Which kind of event Lambda was called with, and what it asks.

    API Gateway, REST or HTTP API with payload 1.0   {"httpMethod", "headers", "body", "isBase64Encoded", ...}
    HTTP API with payload 2.0, function URL          {"version": "2.0", "requestContext": {"http": ...}, ...}
    S3 notification                                  {"Records": [{"eventSource": "aws:s3", "s3": ...}]}
    called directly                                  {"image": BASE64} or {"url"} or {"s3": {"bucket", "key"}}, and more

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from bintally.errors import RequestError
from bintally.serving.http.body import PhotoRequest
from bintally.serving.refusals import invalid

HINT: Final = 'Send {"image": BASE64}, {"url": URL} or {"s3": {"bucket": NAME, "key": KEY}}.'


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request, as API Gateway or a function URL passes it on. Names of headers are in lower case."""

    method: str
    headers: dict[str, str]
    query: tuple[tuple[str, str], ...]
    body: bytes
    caller: str = ""  # the API key's id, where API Gateway asked for one


class S3Object(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A photo in a bucket."""

    bucket: str
    key: str


class Direct(msgspec.Struct, frozen=True):
    """Called with a photo."""

    photo: PhotoRequest
    s3: S3Object | None = None  # then the photo is there
    idempotency_key: str | None = None


class NewObject(msgspec.Struct, frozen=True):
    """A photo that was put into a bucket. `idempotency_key`: the same when Lambda brings the notification again."""

    place: S3Object
    idempotency_key: str | None = None


class Notified(msgspec.Struct, frozen=True):
    """S3 tells of new photos."""

    objects: tuple[NewObject, ...]


Event: TypeAlias = Http | Direct | Notified


def event_of(event: object) -> Event:
    """What `event` is.

    Raises:
        RequestError: 422, it is none of these.
    """
    if not isinstance(event, Mapping):
        raise invalid("The event is no JSON object.", hint=HINT)
    if "httpMethod" in event or "http" in _part(event, "requestContext"):
        return _http(event)
    if "Records" in event:
        return _notified(event)
    return _direct(event)


def _http(event: Mapping[str, Any]) -> Http:
    context = _part(event, "requestContext")
    several = _part(event, "multiValueQueryStringParameters")
    if "rawQueryString" in event:
        query = tuple(parse_qsl(str(event["rawQueryString"]), keep_blank_values=True))
    elif several:
        query = tuple((name, str(value)) for name, values in several.items() for value in values)
    else:
        query = tuple((name, str(value)) for name, value in _part(event, "queryStringParameters").items())
    return Http(
        method=str(event.get("httpMethod") or _part(context, "http").get("method", "")).upper(),
        headers={name.lower(): str(value) for name, value in _part(event, "headers").items()},
        query=query,
        body=_body(event),
        caller=str(_part(context, "identity").get("apiKeyId") or ""),
    )


def _body(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if not isinstance(text, str):
        raise invalid("The event's body is no text.", hint=HINT)
    if not event.get("isBase64Encoded"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("The body is not the base64 that it is said to be.", hint=HINT) from None


def _notified(event: Mapping[str, Any]) -> Notified:
    """S3's test message ({"Event": "s3:TestEvent"}) has no records and does not come here."""
    try:
        records = [record["s3"] for record in event["Records"] if record.get("eventSource") == "aws:s3"]
        objects = tuple(_new_object(str(s3["bucket"]["name"]), s3["object"]) for s3 in records)
    except (LookupError, TypeError, AttributeError):
        objects = ()
    if not objects:
        raise invalid("The event's records are not S3's.", hint="Connect a bucket's s3:ObjectCreated notifications.")
    return Notified(objects)


def _new_object(bucket: str, told: Mapping[str, Any]) -> NewObject:
    place, sequencer = S3Object(bucket, unquote_plus(str(told["key"]))), told.get("sequencer")
    if sequencer is None:  # what was put cannot be told from what was put over it
        return NewObject(place)
    name = json.dumps([place.bucket, place.key, str(sequencer)])  # a key may be longer than an Idempotency-Key
    return NewObject(place, f"s3-{hashlib.sha256(name.encode()).hexdigest()}")


def _direct(event: Mapping[str, Any]) -> Direct:
    said = dict(event)
    if "s3" in said and ("image" in said or "url" in said):
        raise invalid('The event names a photo in S3 and "image" or "url".', hint="Name one.")
    place, key = said.pop("s3", None), said.pop("idempotency_key", None)
    try:
        return Direct(
            photo=msgspec.convert(said, PhotoRequest),
            s3=None if place is None else msgspec.convert(place, S3Object),
            idempotency_key=msgspec.convert(key, str | None),
        )
    except msgspec.ValidationError as error:
        raise invalid(f"The event can't be used: {error}.", hint=HINT) from None


def _part(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part that may be missing or null."""
    part = event.get(name)
    return part if isinstance(part, Mapping) else {}


def no_other(method: str) -> RequestError:
    """The refusal of another method than POST and GET."""
    return RequestError(
        f"{method} is not to be had here.",
        status=405,
        code="method_not_allowed",
        hint="POST a photo, or GET what counts.",
    )
