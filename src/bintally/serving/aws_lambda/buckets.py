"""Photos from S3, with the rights of the function's role."""

from functools import cache
from typing import Any, Final

from bintally.errors import MissingExtraError, RequestError
from bintally.serving.aws_lambda.events import S3Object
from bintally.serving.refusals import too_large

_CONNECT_S: Final = 3
_READ_S: Final = 10
_TRIES: Final = 3
_PASSING: Final = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "503", "500"})


def photo_in(place: S3Object, *, max_photo_bytes: int) -> bytes:
    """The bytes of an object.

    Raises:
        RequestError: 413 too large, 400 not to be had, 503 not to be had just now.
        MissingExtraError: boto3 is not installed (Lambda has it).
    """
    client = _client()
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = client.get_object(Bucket=place.bucket, Key=place.key)
        with found["Body"] as body:
            photo = bytes(body.read(max_photo_bytes + 1))
    except ClientError as error:
        raise _refused(place, str(error.response.get("Error", {}).get("Code", "unknown"))) from None
    except BotoCoreError as error:
        raise _away(place, str(error)) from None
    if len(photo) > max_photo_bytes:
        raise too_large(max_photo_bytes)
    return photo


@cache
def _client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError:
        raise MissingExtraError("boto3 is not installed.", hint="Install it with `pip install boto3`.") from None
    limits = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"total_max_attempts": _TRIES})
    return boto3.client("s3", config=limits)


def _refused(place: S3Object, code: str) -> RequestError:
    if code in _PASSING:
        return _away(place, code)
    return RequestError(
        f"s3://{place.bucket}/{place.key} can't be read: {code}.",
        status=400,
        code="s3_unreadable",
        hint="Is it there, and may the function's role read it (s3:GetObject)?",
    )


def _away(place: S3Object, why: str) -> RequestError:
    return RequestError(
        f"s3://{place.bucket} can't be reached: {why}.",
        status=503,
        code="s3_unreachable",
        hint="Try it again later.",
        retry_after_s=1.0,
    )
