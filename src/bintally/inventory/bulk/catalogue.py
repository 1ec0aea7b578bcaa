"""Files of bins and products: held in memory whole, taken in by one transaction."""

import polars as pl

from bintally.inventory.bulk.cells import REJECTS
from bintally.inventory.bulk.columns import MEASURES
from bintally.inventory.bulk.files import Opened
from bintally.inventory.bulk.job import Done, Job, finish, tell
from bintally.inventory.bulk.load import Loaded, load_bins, load_products
from bintally.inventory.bulk.rejects import Rejects
from bintally.inventory.bulk.rules import judge, missing, named, product_rules
from bintally.progress import Progress

_EMPTY = pl.DataFrame(schema=REJECTS)


def take_catalogue(job: Job, opened: Opened, rejects: Rejects, progress: Progress) -> Done:
    """Takes in a file of bins or products."""
    check = _bins if job.kind == "bins" else _products
    good, lines = [], 0
    with progress.task("read", total=opened.size, unit=opened.unit) as task:
        for batch in opened.batches:
            rows, bad = check(batch.rows)
            good.append(rows)
            rejects.add(batch.torn)
            rejects.add(bad)
            lines += batch.rows.height + batch.torn.height
            task.advance(batch.amount)
    rows = pl.concat(good, how="diagonal") if good else pl.DataFrame()
    with job.ledger.write() as connection:
        if not rows.height:
            loaded, facts = Loaded(0, 0, 0, _EMPTY), 0
        elif job.kind == "bins":
            codes = rows["bin"].unique(maintain_order=True)
            loaded, facts = Loaded(load_bins(connection, job.site, codes), 0, 0, _EMPTY), len(codes)
        else:
            once, contradicting = _once(rows)
            rejects.add(contradicting)
            loaded, facts = load_products(connection, job.site, once), once.height
        rejects.add(loaded.rejects)
        held = facts - loaded.new - loaded.changed - loaded.refused
        done = Done(lines, loaded.new, loaded.changed, held, 0, rejects.count)
        finish(connection, job, done)
        if loaded.new or loaded.changed:
            tell(connection, job, lines=lines, new=loaded.new, changed=loaded.changed, rejected=rejects.count)
    return done


def _bins(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    judged, bad = judge(rows, [missing("bin"), *named("bin")])
    return judged.filter(~pl.col("broken")).select("bin"), bad


def _products(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    measures = [column for column in MEASURES if column in rows.columns]
    typed = rows.with_columns(pl.col(column).cast(pl.Float64, strict=False).alias(f"{column}_n") for column in measures)
    judged, bad = judge(typed, product_rules(rows.columns))
    texts = [column for column in ("name", "abc", "unit") if column in rows.columns]
    good = judged.filter(~pl.col("broken")).select(
        "line",
        pl.col("product").alias("sku"),
        *(pl.col(column).str.to_uppercase() if column == "abc" else pl.col(column) for column in texts),
        *(_measure(column) for column in measures),
    )
    return good, bad


def _measure(column: str) -> pl.Expr:
    number = pl.col(f"{column}_n")
    # As `database.types.Money` keeps it: a whole number of ten-thousandths.
    return ((number * 10_000).round().cast(pl.Int64) if column == "unit_value" else number).alias(column)


def _once(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each product once; those of which two lines say different things are listed."""
    once = rows.unique([column for column in rows.columns if column != "line"], keep="first", maintain_order=True)
    is_twice = pl.col("sku").is_duplicated()
    twice = once.filter(is_twice)["sku"].unique()
    contradicting = rows.filter(pl.col("sku").is_in(twice.implode())).select(
        "line",
        pl.lit("product").alias("column"),
        pl.col("sku").alias("value"),
        pl.lit("another line says other things of this product").alias("why"),
    )
    return once.filter(~is_twice), contradicting
