"""Where photos come from: one small module for each kind of source."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bintally.data.abid import PHOTOS
from bintally.data.sources.base import REACH_HINT, Source
from bintally.data.sources.folder import FolderSource
from bintally.data.sources.own import counted_folders, folders_source, table_source
from bintally.errors import SourceError, did_you_mean
from bintally.progress import Progress

NAMED: Final = ("abid", "sample")
SCHEMES: Final = ("s3", "gs", "http", "https")

_LAYOUTS = (
    "Give it bin-images/<id>.jpg and metadata/<id>.json, or folders named by count (3/x.jpg), or a CSV of path,count."
)


def open_source(
    source: str, *, endpoint: str | None, anonymous: bool, timeout_s: float, photos: int, seed: int, progress: Progress
) -> Source:
    """The source people call `source`; nothing is fetched from it yet.

    Raises:
        SourceError: there is none of that name, or no photos in it.
    """
    if source == "sample":
        from bintally.data.sources.sample import sample_source

        return sample_source(photos=photos, seed=seed, progress=progress)
    if source == "abid" or "://" in source:
        return _remote_source(source, endpoint=endpoint, anonymous=anonymous, timeout_s=timeout_s)
    try:
        return local_source(Path(source).expanduser())
    except OSError as error:
        raise SourceError(
            f"{source} can't be read: {error.strerror}.", hint="Check the path and its rights."
        ) from error


def local_source(path: Path) -> Source:
    """A folder laid out like the bucket, folders named by count, or a CSV of one's own photos.

    Raises:
        SourceError: none of these.
    """
    if path.is_file():
        return table_source(path)
    if not path.exists():
        near = did_you_mean(path.name, NAMED) if path.parent == Path() else "Check the path."
        raise SourceError(f"There is no source {str(path)!r}: no such file or folder.", hint=near)
    if (path / PHOTOS).is_dir():
        return FolderSource(path)
    if counted_folders(path):
        return folders_source(path)
    what = "is not laid out as a source" if any(path.iterdir()) else "is empty"
    raise SourceError(f"{path} {what}.", hint=_LAYOUTS)


def _remote_source(source: str, *, endpoint: str | None, anonymous: bool, timeout_s: float) -> Source:
    from obstore.exceptions import BaseError

    from bintally.data.sources import bucket  # obstore is loaded only where it is used

    if source == "abid":
        return bucket.s3_source(bucket.ABID_BUCKET, "", endpoint=endpoint, anonymous=True, timeout_s=timeout_s)
    try:
        url = urlsplit(source)
        url.port  # noqa: B018 - a port that is no number is found out here
    except ValueError as error:
        raise SourceError(f"{source!r} is no address: {error}.", hint=REACH_HINT) from error
    if url.scheme not in SCHEMES or not url.netloc:
        raise SourceError(
            f"{source!r} is no address photos can be fetched from.",
            hint="Known are s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, https://HOST/PATH, folders, abid and sample.",
        )
    if url.scheme in {"http", "https"}:
        return bucket.http_source(source, timeout_s=timeout_s)
    store = bucket.s3_source if url.scheme == "s3" else bucket.gcs_source
    try:
        return store(url.netloc, url.path.strip("/"), endpoint=endpoint, anonymous=anonymous, timeout_s=timeout_s)
    except (ValueError, BaseError) as error:  # credentials that can't be read, say
        raise SourceError(f"{source!r} can't be opened: {error}.", hint=REACH_HINT) from error
