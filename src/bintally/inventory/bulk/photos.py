"""Files that list photos: each photo's bytes are kept by their hash, then it is a fact.

Some at a time, each in a transaction: a kill is mended by the same command, which takes nothing twice.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import polars as pl
from sqlalchemy import Connection

from bintally.errors import BintallyError
from bintally.inventory.bulk.cells import REJECTS
from bintally.inventory.bulk.files import Opened
from bintally.inventory.bulk.job import Done, Job, finish
from bintally.inventory.bulk.rejects import Rejects
from bintally.inventory.bulk.rules import judge, missing, moment_rules, moments, named
from bintally.inventory.intake import take_photo
from bintally.inventory.kept_photos import keep
from bintally.inventory.known import bin_id
from bintally.photos import read_photo
from bintally.progress import Progress

_AT_ONCE: Final = 64
_RULES: Final = (missing("photo"), missing("bin"), *named("bin"), *moment_rules("taken_at"))


def take_photos(job: Job, opened: Opened, beside: Path, kept: Path, rejects: Rejects, progress: Progress) -> Done:
    """Takes in the photos that a file lists, whose paths start in the folder `beside`; their bytes go to `kept`."""
    done = Done()
    with progress.task("photos", total=opened.size, unit=opened.unit) as task:
        for batch in opened.batches:
            timed = batch.rows.with_columns(moments(batch.rows["taken_at"]).alias("taken_at_at"))
            judged, bad = judge(timed, _RULES)
            rejects.add(batch.torn)
            rejects.add(bad)
            good = judged.filter(~pl.col("broken"))
            new = sum(_take(job, part, beside, kept, rejects) for part in good.iter_slices(_AT_ONCE))
            lines = batch.rows.height + batch.torn.height
            done = Done(lines=done.lines + lines, new=done.new + new)
            task.advance(batch.amount)
    held = done.lines - done.new - rejects.count
    done = Done(lines=done.lines, new=done.new, held=held, rejected=rejects.count)
    with job.ledger.write() as connection:
        finish(connection, job, done)
    return done


def _take(job: Job, rows: pl.DataFrame, beside: Path, kept: Path, rejects: Rejects) -> int:
    """New photos among `rows`."""
    refused: list[tuple[int, str, str, str]] = []
    photos: list[tuple[dict[str, Any], bytes]] = []
    for row in rows.iter_rows(named=True):
        try:
            photos.append((row, read_photo(beside / row["photo"])))
        except BintallyError as error:
            refused.append((row["line"], "photo", row["photo"], error.message))
    new = 0
    with job.ledger.write() as connection:
        for row, data in photos:
            if not job.create_bins and bin_id(connection, job.site, row["bin"]) is None:
                refused.append((row["line"], "bin", row["bin"], f"is no bin of site {job.site.code}"))
                continue
            try:
                new += _fact(connection, job, row, data, kept)
            except BintallyError as error:
                refused.append((row["line"], "bin", row["bin"], error.message))
    rejects.add(pl.DataFrame(refused, schema=REJECTS, orient="row"))
    return new


def _fact(connection: Connection, job: Job, row: dict[str, Any], data: bytes, kept: Path) -> bool:
    return take_photo(
        connection,
        job.site,
        bin=row["bin"],
        sha256=hashlib.sha256(data).hexdigest(),
        taken_at=row["taken_at_at"],
        place=str(keep(data, kept)),
        size_bytes=len(data),
        create_bins=job.create_bins,
        by=job.by,
    ).is_new
