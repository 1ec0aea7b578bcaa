"""One row a judged record: what was decided of it, and what a person found, if anybody looked.

A record version that was judged several times, as photos came, counts once: by the verdict that a person decided
about, else by its last. So a count by a person never passes for an automatic acceptance that came after it.
"""

from typing import Final

import polars as pl

from bintally.inventory.kpi.facts import Facts

NO_CLASS: Final = "no product told"

_TELLS: Final = ("accept", "correct", "uncountable", "not_this_bin")
_KNOWS: Final = ("accept", "correct")  # after these the record is known to be right or wrong


def cases_of(facts: Facts, *, since_s: int | None = None) -> pl.DataFrame:
    """All records whose verdict was made since `since_s`, ordered by id.

    Columns: record_id, bin_id, site_id, outcome, promised, recorded, made_s, week, class; drawn (an accepted one a
    person should check), waits (a review is open), decided_s (null: nobody decided), known (whether it is right is
    known), wrong, chance (to be looked at), decision_id; gross, net (items), gross_value, net_value, corrections,
    unvalued.
    """
    reviewed = _reviewed(facts)
    verdicts = facts.verdicts.join(reviewed, left_on="id", right_on="verdict_id", how="left")
    standing = verdicts.sort(pl.col("decided_s").is_not_null(), "id").group_by("record_id", maintain_order=True).last()
    if since_s is not None:
        standing = standing.filter(pl.col("made_s") >= since_s)
    cases = standing.join(_changes(facts), on="decision_id", how="left").join(
        _classes(facts), on="record_id", how="left"
    )
    waits = pl.col("waits").fill_null(value=False)  # a count that somebody has to repeat is not known yet
    known = pl.col("kind").is_in(_KNOWS).fill_null(value=False) & ~waits
    base = pl.col("base").fill_null(pl.col("recorded"))  # a count at the bin may be about a later version
    off = (pl.col("count") - base).fill_null(pl.col("net")).fill_null(0)
    cases = cases.with_columns(
        known=known,
        wrong=known & ((off != 0) | pl.col("corrections").fill_null(0).gt(0)),
        class_=pl.col("class").fill_null(NO_CLASS),
        week=week_of(pl.col("made_s")),
        waits=waits,
        decided_s=pl.when(~waits).then(pl.col("decided_s")),
        drawn=(pl.col("outcome") == "match") & pl.col("chance").is_not_null(),
        off=off,
    )
    told = pl.col("corrections").fill_null(0).gt(0)  # by adjustments; else by the count alone
    return (
        cases.with_columns(
            gross=_of_wrong(told, pl.col("gross"), pl.col("off").abs()),
            net=_of_wrong(told, pl.col("net"), pl.col("off")),
            gross_value=_of_wrong(told, pl.col("gross_value"), pl.lit(0)),
            net_value=_of_wrong(told, pl.col("net_value"), pl.lit(0)),
            corrections=_of_wrong(told, pl.col("corrections"), pl.lit(1)),
            unvalued=_of_wrong(told, pl.col("unvalued"), pl.lit(1)),
        )
        .drop("class", "off", "kind", "count", "base")
        .rename({"class_": "class"})
        .sort("record_id")
    )


def lines_of(facts: Facts, cases: pl.DataFrame) -> tuple[pl.DataFrame, int, int]:
    """`cases` by product, a row for each a record names or a person found, with its `sku`; and what has no such row.

    Those are the judged records that name no product, and the wrong ones of several products of which only the total
    was told: any of their products may be the wrong one.
    """
    names = facts.products.select("product_id", "sku")
    by_product = _kept(facts).filter(pl.col("product_id").is_not_null())
    found = cases.join(by_product, on="decision_id").select("record_id", "product_id")  # some that no record names
    named = pl.concat([facts.lines.join(cases, on="record_id", how="semi"), found]).unique()
    lines = cases.join(named, on="record_id").with_columns(products=pl.len().over("record_id").cast(pl.Int64))
    changes = by_product.group_by("decision_id", "product_id").agg(*_SUMS)
    told = by_product.select("decision_id").unique().with_columns(by_product=pl.lit(value=True))
    lines = lines.join(told, on="decision_id", how="left").with_columns(pl.col("by_product").fill_null(value=False))
    untold = pl.col("wrong") & (pl.col("products") > 1) & ~pl.col("by_product")
    total = pl.col("products") == 1
    found = lines.filter(~untold).join(changes, on=("decision_id", "product_id"), how="left", suffix="_line")
    own = {
        name: pl.when(total).then(pl.col(name)).otherwise(pl.col(f"{name}_line").fill_null(0))
        for name in ("gross", "net", "gross_value", "net_value", "corrections", "unvalued")
    }
    found = found.with_columns(**own).with_columns(
        wrong=pl.col("wrong") & (total | (pl.col("corrections") > 0)),
    )
    without = len(cases) - lines["record_id"].n_unique()
    return found.join(names, on="product_id"), without, lines.filter(untold)["record_id"].n_unique()


def queue_of(facts: Facts) -> pl.DataFrame:
    """Each review's opening and end, in seconds (null: it waits at `until_s`)."""
    reviews = facts.reviews.filter((pl.col("state") != "withdrawn") | pl.col("closed_s").is_not_null())
    ended = pl.when(pl.col("closed_s") < facts.until_s).then(pl.col("closed_s"))
    return reviews.select("opened_s", closed_s=ended).sort("opened_s", "closed_s")


def week_of(seconds: pl.Expr) -> pl.Expr:
    """The ISO 8601 week of a moment, in UTC, such as 2026-W47."""
    return pl.from_epoch(seconds, time_unit="s").dt.strftime("%G-W%V")


def _of_wrong(told: pl.Expr, found: pl.Expr, otherwise: pl.Expr) -> pl.Expr:
    return pl.when(~pl.col("wrong")).then(0).when(told).then(found).otherwise(otherwise).cast(pl.Int64)


def _reviewed(facts: Facts) -> pl.DataFrame:
    """By verdict: whether a review of it waits, and the decision that stands.

    What a verdict is looked at by chance for is its first review; others follow from what was found there.
    """
    decided = _standing(facts)
    reviews = facts.reviews.join(decided, on="id", how="left").sort("id")
    waits = pl.col("decision_id").is_null() & _open(facts.until_s)
    last = [pl.col(name).sort_by("decision_id", nulls_last=False).last() for name in decided.columns if name != "id"]
    return reviews.group_by("verdict_id", maintain_order=True).agg(
        pl.col("chance").first(), waits.any().alias("waits"), *last
    )


def _open(until_s: int) -> pl.Expr:
    """Whether a review without a decision waits for one."""
    closed = pl.col("closed_s").is_not_null() & (pl.col("closed_s") < until_s)
    return ~closed & ~((pl.col("state") == "withdrawn") & pl.col("closed_s").is_null())


def _standing(facts: Facts) -> pl.DataFrame:
    """By review (`id`): its decision that stood at `until_s`, with its kind, count, base and decided_s."""
    made = facts.decisions.filter(pl.col("made_s") < facts.until_s)
    undone = made["undoes_id"].drop_nulls()
    live = made.filter(~pl.col("id").is_in(undone.implode()), pl.col("kind") != "undo").sort("id")
    told = live.filter(pl.col("kind").is_in(_TELLS)).group_by("review_id", maintain_order=True).last()
    said = (
        live.filter(pl.col("kind").is_in(("approve", "reject")))
        .group_by("review_id", maintain_order=True)
        .agg(said=pl.col("kind").last(), said_id=pl.col("id").last(), said_s=pl.col("made_s").last())
    )
    settled = _settled(facts, made)
    found = told.join(settled, left_on="review_id", right_on="id", how="semi").join(said, on="review_id", how="left")
    after = (pl.col("said_id") > pl.col("id")).fill_null(value=False)
    found = found.filter(~(after & (pl.col("said") == "reject")))
    decided_s = pl.when(after).then(pl.col("said_s")).otherwise(pl.col("made_s"))
    return found.select("kind", "count", "base", id=pl.col("review_id"), decision_id=pl.col("id"), decided_s=decided_s)


def _settled(facts: Facts, made: pl.DataFrame) -> pl.DataFrame:
    """Reviews that were closed at `until_s`: still so, or opened again later by taking back what closed them."""
    closed = facts.reviews.filter(pl.col("state") == "closed", pl.col("closed_s") < facts.until_s).select("id")
    later = facts.decisions.filter(pl.col("made_s") >= facts.until_s)["undoes_id"].drop_nulls()
    reopened = made.filter(pl.col("id").is_in(later.implode())).select(id="review_id")
    return pl.concat([closed, reopened]).unique()


def _kept(facts: Facts) -> pl.DataFrame:
    return facts.adjustments.filter(pl.col("state") != "rejected", pl.col("change") != 0)


_SUMS: Final = (
    pl.col("change").abs().sum().alias("gross"),
    pl.col("change").sum().alias("net"),
    pl.col("value").abs().sum().alias("gross_value"),
    pl.col("value").sum().alias("net_value"),
    pl.len().cast(pl.Int64).alias("corrections"),
    pl.col("value").is_null().sum().cast(pl.Int64).alias("unvalued"),
)


def _changes(facts: Facts) -> pl.DataFrame:
    """By decision: what its adjustments add up to."""
    return _kept(facts).group_by("decision_id").agg(*_SUMS)


def _classes(facts: Facts) -> pl.DataFrame:
    """By record: the ABC class of its product worth most; A of several."""
    lines = facts.lines.join(facts.products.select("product_id", "abc"), on="product_id")
    return lines.group_by("record_id").agg(pl.col("abc").min().alias("class"))
