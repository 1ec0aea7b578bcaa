"""The seam between fetch and the places photos come from.

```
abid, s3://, gs://, https://  bucket.py   object stores and plain web servers, through obstore
DIR                           folder.py   a folder laid out like the bucket
DIR/3/x.jpg, photos.csv       own.py      one's own photos
sample                        sample.py   bins rendered here, then a folder
```
"""

import random
from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from bintally.data.abid import Labels

REACH_HINT: Final = (
    "Check address and network. A private bucket needs credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "GOOGLE_APPLICATION_CREDENTIALS), a public one --anonymous."
)
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0


def pause_s(attempt: int) -> float:
    """Seconds to wait after failed try `attempt` (from 0): doubling, and spread so that tries don't come in waves."""
    return min(FIRST_PAUSE_S * 2.0**attempt, LONGEST_PAUSE_S) * random.uniform(0.5, 1.5)


class Entry(msgspec.Struct, frozen=True):
    """A photo of a source: where it and its metadata are, before anything was fetched."""

    bin_image_id: str
    photo: str
    metadata: str | None = None
    version: str | None = None  # changes when the source's object changes; None: the source does not say


class Fetched(msgspec.Struct, frozen=True):
    """An object's bytes, and the MD5 the source promises for them, if it does."""

    data: bytes
    md5: str | None = None


class Source(Protocol):
    """A place photos come from."""

    @property
    def name(self) -> str:
        """What people call it; two runs into one folder must agree on it."""

    @property
    def ignored(self) -> list[str]:
        """What lies among the photos and is none, with the reason; known once the source was listed."""

    async def get(self, key: str) -> Fetched:
        """The object called `key`.

        Raises:
            ObjectMissingError: there is none.
            ObjectBrokenError: it can't be had, or not now.
            SourceError: nothing can be had from this source.
        """

    def entries(self) -> AsyncIterator[list[Entry]]:
        """All photos of the source in pages, sorted by id.

        Raises:
            SourceError: the source can't be listed.
        """

    def entry(self, bin_image_id: str) -> Entry:
        """Where the photo of a bin should be, when the source is not listed."""

    async def labels(self) -> Labels:
        """What the source tells about its photos beside their metadata."""


class ObjectMissingError(Exception):
    """The source has no such object. Never leaves fetch: it becomes a line of the report."""


class ObjectBrokenError(Exception):
    """An object could not be had; `passing` says whether another try may help. Never leaves fetch."""

    def __init__(self, why: str, *, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing
