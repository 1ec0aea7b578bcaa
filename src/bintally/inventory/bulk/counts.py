"""Files of counts that people have made at the bins, such as a plan that was worked off.

Each count is a transaction: a kill is mended by the same command, which takes none twice. Lines of one bin and time are
the products of one count; those without a count were not counted, and say nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import polars as pl

from bintally.errors import BintallyError, StorageError
from bintally.inventory.bulk.cells import REJECTS
from bintally.inventory.bulk.files import Opened
from bintally.inventory.bulk.job import Done, Job, finish
from bintally.inventory.bulk.rejects import Rejects
from bintally.inventory.bulk.rules import judge, missing, moment_rules, moments, named, whole, whole_rules
from bintally.inventory.people import person_of
from bintally.inventory.review.at_the_bin import take_count
from bintally.inventory.review.decisions import Decided
from bintally.progress import Progress

_RULES: Final = (missing("bin"), *named("bin"), *whole_rules("count", lowest=0), *moment_rules("counted_at"))
_OPTIONAL: Final = ("product", "note", "key")


class _Counted(NamedTuple):
    """A count's lines of the file; `why` it can't go in."""

    rows: Sequence[dict[str, Any]]
    why: str | None


def take_counts(job: Job, opened: Opened, rejects: Rejects, progress: Progress) -> Done:
    """Decides about bins by what a file says was counted there, as the person of the job."""
    rows, bad, lines = _read(opened, progress)
    rejects.add(bad)
    new = held = changed = 0
    with progress.task("counts", total=rows.height, unit="lines") as task:
        for counted in _counts(rows):
            why, told = counted.why, None
            if why is None:
                try:
                    told = _take(job, counted.rows)
                except StorageError:
                    raise
                except BintallyError as error:
                    why = str(error)
            if told is None:
                rejects.add(_listed(counted.rows, why or ""))
            else:
                new, held = new + told.is_new, held + (not told.is_new)
                changed += told.is_new and told.kind == "correct"
            task.advance(len(counted.rows))
    done = Done(lines=lines, new=new, changed=changed, held=held, rejected=rejects.count)
    with job.ledger.write() as connection:
        finish(connection, job, done)
    return done


def _read(opened: Opened, progress: Progress) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Lines with a count, judged (`broken`); those that can't go in; how many lines there are."""
    good, bad, lines = [], [], 0
    with progress.task("read", total=opened.size, unit=opened.unit) as task:
        for batch in opened.batches:
            lines += batch.rows.height + batch.torn.height
            told = batch.rows.filter(pl.col("count").is_not_null())
            lacking = [name for name in _OPTIONAL if name not in told.columns]
            told = told.with_columns(pl.lit(None, pl.String).alias(name) for name in lacking)
            typed = told.with_columns(
                whole("count").alias("count_n"), moments(told["counted_at"]).alias("counted_at_at")
            )
            judged, broken = judge(typed, _RULES)
            good.append(judged)
            bad += [batch.torn, broken]
            task.advance(batch.amount)
    return pl.concat(good), pl.concat(bad), lines


def _counts(rows: pl.DataFrame) -> Iterator[_Counted]:
    """The counts of a file, in its order; of those with a broken line the others."""
    for part in rows.partition_by("bin", "counted_at_at", maintain_order=True):
        broken = part.filter("broken")["line"].to_list()
        told = part.filter(~pl.col("broken")).to_dicts()
        if told:
            yield _Counted(told, _why_not(part["product"].to_list(), broken))


def _why_not(products: Sequence[str | None], broken: Sequence[int]) -> str | None:
    if broken:
        return f"belongs to the same count as line {broken[0]:,}, which can't go in"
    if len(products) > 1 and None in products:
        return "another line tells another count for this bin and time, or its products"
    return "another line counts this product, too" if len(set(products)) < len(products) else None


def _take(job: Job, rows: Sequence[dict[str, Any]]) -> Decided:
    first = rows[0]
    by_product = {row["product"]: row["count_n"] for row in rows if row["product"] is not None}
    with job.ledger.write() as connection:
        return take_count(
            connection,
            job.site,
            bin=first["bin"],
            person=person_of(connection, job.by),
            counted_at=first["counted_at_at"],
            count=None if by_product else first["count_n"],
            lines=by_product or None,
            note=first["note"] or "",
            key=first["key"],
        )


def _listed(rows: Sequence[dict[str, Any]], why: str) -> pl.DataFrame:
    told = [(row["line"], "bin", row["bin"], why) for row in rows]
    return pl.DataFrame(told, schema=REJECTS, orient="row")
