"""import_file: bins, products, records, movements, photos or counts into a ledger.

What can't go in is listed, the rest does.

A file is read in blocks, so that memory does not grow with it. Records and movements are checked, put down on disk in
the order of their bins, and loaded a part at a time: each part is a transaction with its own line in the audit log. A
kill leaves whole parts; the same file can be taken in again, and nothing of it stands twice.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

import msgspec

from bintally.artifacts import sha256_of, storage_errors
from bintally.errors import UsageError, did_you_mean
from bintally.inventory.bulk.catalogue import take_catalogue
from bintally.inventory.bulk.columns import REQUIRED, Kind
from bintally.inventory.bulk.counts import take_counts
from bintally.inventory.bulk.files import open_file
from bintally.inventory.bulk.job import Done, Job, was_whole
from bintally.inventory.bulk.parts import take_parts
from bintally.inventory.bulk.photos import take_photos
from bintally.inventory.bulk.rejects import Rejected, Rejects
from bintally.inventory.kept_photos import photos_folder
from bintally.inventory.ledger import Ledger, site_of
from bintally.inventory.people import person_of
from bintally.progress import SILENT, Progress

REJECTED: Final = ".rejected.csv"


class ImportReport(msgspec.Struct, frozen=True):
    """What taking in a file came to.

    `new` and `changed` (products; of counts, those that correct the record) are facts, `held` those that stood before;
    `rejected` are lines, the first of them in `first`, all in the file `rejects`. `bins`: how many were created on the
    way.
    """

    kind: str
    file: str
    sha256: str
    lines: int
    new: int
    changed: int
    held: int
    bins: int
    rejected: int
    first: tuple[Rejected, ...]
    rejects: str | None
    ignored: tuple[str, ...]  # columns that say nothing to us
    is_again: bool  # the very file was taken in before, whole: nothing was done
    seconds: float


def import_file(
    *,
    ledger: Ledger,
    kind: Kind,
    file: Path,
    by: str,
    site: str | None = None,
    create_bins: bool = False,
    rejected: Path | None = None,
    photos: Path | None = None,
    progress: Progress = SILENT,
) -> ImportReport:
    """Takes in a CSV or Parquet file (`columns` says which columns), as the admin `by`; counts as whoever has counted.

    Lines that can't go in are written to `rejected` (default: FILE.rejected.csv), and go in when the file comes again
    and they can. `photos`: the folder that keeps photos' bytes; None: `photos` beside a ledger that is a file.

    Raises:
        DataError: the file can't be read, or lacks a column.
        AccessError, UsageError: nobody of that name, or who may not; no such site or kind.
    """
    start = time.perf_counter()
    if kind not in REQUIRED:
        raise UsageError(f"There are no files of {kind!r}.", hint=did_you_mean(kind, REQUIRED))
    opened = open_file(file, kind)
    digest = sha256_of(file)
    with ledger.read() as connection:
        place = site_of(connection, site)
        person_of(connection, by).need("reviewer" if kind == "counts" else "admin", site_id=place.id)
        is_again = kind != "products" and was_whole(connection, place, kind, digest)
    job = Job(ledger, place, kind, file.name, digest, by, create_bins)
    target = rejected or file.with_name(file.name + REJECTED)
    done = Done()
    first: tuple[Rejected, ...] = ()
    if not is_again:
        with storage_errors(Path(gettempdir())), TemporaryDirectory(prefix="bintally-") as folder:
            rejects = Rejects(Path(folder))
            if kind in ("bins", "products"):
                done = take_catalogue(job, opened, rejects, progress)
            elif kind == "photos":
                done = take_photos(job, opened, file.parent, photos or photos_folder(ledger), rejects, progress)
            elif kind == "counts":
                done = take_counts(job, opened, rejects, progress)
            else:
                done = take_parts(job, opened, Path(folder), rejects, progress)
            first = rejects.first()
            rejects.write(target)
    return ImportReport(
        kind=kind,
        file=str(file),
        sha256=digest,
        lines=done.lines,
        new=done.new,
        changed=done.changed,
        held=done.held,
        bins=done.bins,
        rejected=done.rejected,
        first=first,
        rejects=str(target) if done.rejected else None,
        ignored=opened.ignored,
        is_again=is_again,
        seconds=round(time.perf_counter() - start, 2),
    )
