"""Files of records and movements: checked in the order of the file, loaded in the order of bins, part by part.

Facts of one bin are together in a part, so that records are whole; and a database that gets them in the order of its
indexes is several times as fast.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import polars as pl

from bintally.database.types import now
from bintally.inventory.bulk.facts import FactKind, Known, facts_of, known_of
from bintally.inventory.bulk.files import Opened
from bintally.inventory.bulk.groups import Grouped, movements_of, records_of
from bintally.inventory.bulk.job import Done, Job, finish, tell
from bintally.inventory.bulk.load import Loaded, load_bins, load_movements, load_records
from bintally.inventory.bulk.rejects import Rejects
from bintally.inventory.schema import CODE
from bintally.progress import Progress

PART: Final = 250_000
"""Lines that are loaded by one transaction, about."""

_EVERY: Final = 50  # of these lines one is looked at to choose where parts end
_ROW_GROUP: Final = 8192


def take_parts(job: Job, opened: Opened, folder: Path, rejects: Rejects, progress: Progress) -> Done:
    """Takes in a file of records or movements."""
    kind = cast(FactKind, job.kind)
    with job.ledger.read() as connection:
        read = _Read(job, kind, known_of(connection, job.site), folder)
    with progress.task("read", total=opened.size, unit=opened.unit) as task:
        for batch in opened.batches:
            rejects.add(batch.torn)
            rejects.add(read.take(batch.rows))
            read.lines += batch.torn.height
            task.advance(batch.amount)
    new = held = 0
    with progress.task("load", total=read.facts, unit="lines") as task:
        for part in read.parts():
            rows = part.collect()
            grouped = (records_of if kind == "records" else movements_of)(rows, read.known.products)
            loaded = _load(job, kind, grouped, rows.height)
            rejects.add(grouped.rejects)
            rejects.add(loaded.rejects)
            new += loaded.new
            held += grouped.facts.height - loaded.new - loaded.refused
            task.advance(rows.height)
    done = Done(read.lines, new, 0, held, read.bins, rejects.count)
    with job.ledger.write() as connection:
        finish(connection, job, done)
    return done


def _load(job: Job, kind: FactKind, grouped: Grouped, lines: int) -> Loaded:
    told = grouped._replace(
        facts=grouped.facts.with_columns(
            pl.col("received_at").fill_null(now()),
            *([pl.col("source").fill_null(job.file[:CODE])] if kind == "records" else []),
        )
    )
    with job.ledger.write() as connection:
        loaded = (load_records if kind == "records" else load_movements)(connection, told)
        if loaded.new:
            tell(connection, job, lines=lines, new=loaded.new, rejected=grouped.rejects.height + loaded.refused)
    return loaded


class _Read:
    """What was read and checked so far, on disk, each batch in the order of bins."""

    def __init__(self, job: Job, kind: FactKind, known: Known, folder: Path) -> None:
        self.known = known
        self.lines = self.facts = self.bins = 0
        self._job, self._kind, self._folder = job, kind, folder
        self._some: list[pl.Series] = []  # bins of every so many lines

    def take(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Puts a batch's facts down; returns what can't go in."""
        self.lines += rows.height
        create = self._job.create_bins
        facts, bad, unknown = facts_of(rows, self._kind, self.known, create_bins=create)
        if len(unknown):
            self._create(unknown)
            facts, bad, _ = facts_of(rows, self._kind, self.known, create_bins=create)
        if facts.height:
            ordered = facts.sort("bin_id", maintain_order=True)
            ordered.write_parquet(
                self._folder / f"facts-{len(self._some):06}.parquet", row_group_size=_ROW_GROUP, compression="lz4"
            )
            self._some.append(ordered["bin_id"].gather_every(_EVERY))
            self.facts += facts.height
        return bad

    def parts(self) -> Iterator[pl.LazyFrame]:
        """All facts, in parts of about `PART` lines with all of a bin's together, bins in order."""
        if not self._some:
            return
        facts = pl.scan_parquet(self._folder / "facts-*.parquet")
        some = pl.concat(self._some).sort()
        ends = some.gather_every(PART // _EVERY, offset=PART // _EVERY).unique().sort().to_list()
        for first, end in zip([None, *ends], [*ends, None], strict=True):
            part = facts if first is None else facts.filter(pl.col("bin_id") >= first)
            yield part if end is None else part.filter(pl.col("bin_id") < end)

    def _create(self, codes: pl.Series) -> None:
        with self._job.ledger.write() as connection:
            new = load_bins(connection, self._job.site, codes)
            self.bins += new
            self.known = known_of(connection, self._job.site)
            if new:
                tell(connection, self._job, bins=new)
