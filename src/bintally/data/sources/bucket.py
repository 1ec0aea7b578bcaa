"""Object stores and web servers laid out like the public bucket, through obstore.

obstore's own retries are off: `fetch` retries bodies that were cut or damaged as well as requests, and one place should
decide how often and how fast.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import GCSStore, HTTPStore, S3Store

from bintally.data.abid import LABELS, METADATA, PHOTOS, Labels, is_file_name, parse_labels
from bintally.data.sources.base import (
    REACH_HINT,
    Entry,
    Fetched,
    ObjectBrokenError,
    ObjectMissingError,
    pause_s,
)
from bintally.data.sources.folder import bucket_entry
from bintally.errors import SourceError
from bintally.photos import PHOTO_SUFFIXES

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, RetryConfig, S3Config

ABID_BUCKET: Final = "aft-vbi-pds"  # public: registry.opendata.aws/amazon-bin-imagery
ABID_REGION: Final = "us-east-1"
LISTING_TRIES: Final = 5
PAGE: Final = 1000  # keys: the most S3 lists at once

_NO_RETRIES: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}
_MACHINE_CREDENTIALS = "169.254.169.254"  # where a cloud's machines ask for theirs: the last place that is tried
_STATUS = re.compile(r"status code: (\d{3}[ \w]*)")
_REQUEST = re.compile(r"Error performing \w+ \S+ in [\d.]+\S+ - |^Generic \w+ error: ")
_MD5 = re.compile(r'^"?([0-9a-f]{32})"?$')  # a multipart upload's ETag has a "-" and is no MD5

Store = S3Store | GCSStore | HTTPStore


class BucketSource:
    """Photos behind an object store or a web server."""

    def __init__(self, store: Store, *, name: str) -> None:
        self._store = store
        self.name = name
        self.ignored: list[str] = []
        self._listed = ""  # the last id that was listed

    async def get(self, key: str) -> Fetched:
        """The object `key`, whole: its length is the one the server promised."""
        try:
            result = await obstore.get_async(self._store, key)
            data = bytes(await result.bytes_async())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise _no_bucket(self.name) from error
            raise ObjectMissingError(key) from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise ObjectBrokenError(f"access denied ({_sentence(error)})", passing=False) from error
        except (BaseError, OSError) as error:
            raise ObjectBrokenError(_sentence(error), passing=True) from error
        if len(data) != result.meta["size"]:
            raise ObjectBrokenError(f"{len(data)} of {result.meta['size']} bytes came", passing=True)
        return Fetched(data, self._md5(result.meta["e_tag"]))

    async def entries(self) -> AsyncIterator[list[Entry]]:
        """All photos, as the store lists them: sorted by key, which sorts their ids too."""
        if isinstance(self._store, HTTPStore):
            yield await self._told_entries()
            return
        last: str | None = None
        failures = 0
        while True:
            try:
                async for page in obstore.list(self._store, f"{PHOTOS}/", offset=last, chunk_size=PAGE):
                    last, failures = page[-1]["path"], 0
                    yield [entry for item in page if (entry := self._entry(item["path"], item["e_tag"]))]
                return
            except (BaseError, OSError) as error:
                failures += 1
                if failures >= LISTING_TRIES or isinstance(error, PermissionDeniedError | UnauthenticatedError):
                    raise _unlisted(self.name, error) from error
                if "NoSuchBucket" in str(error):
                    raise _unlisted(self.name, error) from error
            await asyncio.sleep(pause_s(failures))

    def entry(self, bin_image_id: str) -> Entry:
        """Where the bucket's layout has a bin's photo."""
        return bucket_entry(bin_image_id)

    async def labels(self) -> Labels:
        """The labels.csv beside the photos; none where there is no such object."""
        try:
            table = await self.get(LABELS)
        except ObjectMissingError:
            return Labels()
        except ObjectBrokenError as error:
            if error.passing:
                raise
            return Labels()  # S3 says "denied", not "missing", to those who may not list
        try:
            return parse_labels(table.data, f"{self.name}/{LABELS}")
        except SourceError as error:
            if not isinstance(self._store, HTTPStore):
                raise
            return Labels(problems=(error.message,))  # web servers like to answer anything with a page

    async def _told_entries(self) -> list[Entry]:
        """A web server has no listing: the ids are those its labels.csv names."""
        told = (await self.labels()).by_id
        if not told:
            raise SourceError(
                f"{self.name} can't be listed: a web server has no listing, and no {LABELS} names the photos.",
                hint="Say which photos: --list FILE or --ids 00001-00500.",
            )
        return [bucket_entry(known) for known in sorted(told)]

    def _entry(self, key: str, e_tag: str | None) -> Entry | None:
        path = PurePosixPath(key)
        named = path.suffix.lower() in PHOTO_SUFFIXES and is_file_name(path.stem)
        if not named or str(path.parent) != PHOTOS:
            self.ignored.append(f"{key} has no name of a photo")
            return None
        if path.stem == self._listed:
            self.ignored.append(f"{key} has the id of the photo before it")
            return None
        self._listed = path.stem
        return Entry(path.stem, key, f"{METADATA}/{path.stem}.json", e_tag)

    def _md5(self, e_tag: str | None) -> str | None:
        """S3's ETag is the MD5 of a simple upload (S3 API, "Object"); of a web server's it is not known."""
        promised = _MD5.match(e_tag or "") if isinstance(self._store, S3Store) else None
        return promised[1] if promised else None


def s3_source(bucket: str, prefix: str, *, endpoint: str | None, anonymous: bool, timeout_s: float) -> BucketSource:
    """An S3 bucket, or any store with its protocol at `endpoint`; credentials and region from the AWS_ variables."""
    config: S3Config = {"virtual_hosted_style_request": False}
    if anonymous:
        config["skip_signature"] = True
    if endpoint := endpoint or os.environ.get("AWS_ENDPOINT_URL"):
        config["endpoint"] = endpoint
    if bucket == ABID_BUCKET:
        config["region"] = ABID_REGION
    store = S3Store(
        bucket, prefix=prefix or None, config=config, client_options=_client(timeout_s), retry_config=_NO_RETRIES
    )
    return BucketSource(store, name=f"s3://{bucket}/{prefix}".rstrip("/"))


def gcs_source(bucket: str, prefix: str, *, endpoint: str | None, anonymous: bool, timeout_s: float) -> BucketSource:
    """A Google Cloud Storage bucket; credentials from the GOOGLE_ variables or the machine's."""
    config: GCSConfig = {}
    if anonymous:
        config["skip_signature"] = True
    if endpoint:
        config["base_url"] = endpoint
    store = GCSStore(
        bucket, prefix=prefix or None, config=config, client_options=_client(timeout_s), retry_config=_NO_RETRIES
    )
    return BucketSource(store, name=f"gs://{bucket}/{prefix}".rstrip("/"))


def http_source(url: str, *, timeout_s: float) -> BucketSource:
    """A web server with the bucket's layout under `url`; its name says neither who logs in nor what a query signs."""
    parts = urlsplit(url)
    name = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    store = HTTPStore.from_url(url, client_options=_client(timeout_s), retry_config=_NO_RETRIES)
    return BucketSource(store, name=name)


def _client(timeout_s: float) -> "ClientConfig":
    return {
        "allow_http": True,
        "timeout": timedelta(seconds=timeout_s),
        "connect_timeout": timedelta(seconds=min(5.0, timeout_s)),
        "user_agent": "bintally",
    }


def _unlisted(name: str, error: Exception) -> SourceError:
    why = _sentence(error)
    if "NoSuchBucket" in str(error):
        return _no_bucket(name)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "403" in why or "401" in why:
        return SourceError(f"{name} can't be listed: access denied.", hint=REACH_HINT)
    return SourceError(f"{name} can't be listed: {why}.", hint=REACH_HINT)


def _no_bucket(name: str) -> SourceError:
    return SourceError(f"There is no bucket for {name}.", hint="Check its name and --endpoint.")


def _sentence(error: Exception) -> str:
    """What went wrong, without the address, the time it took and the structures that obstore's errors carry."""
    told = str(error).partition("\n")[0]
    if _MACHINE_CREDENTIALS in told:
        return "no credentials are set, and this machine has none either"
    status = _STATUS.search(told)
    return f"the server said {status[1]}" if status else _REQUEST.sub("", told)[:200]
