"""Checked facts into the ledger's tables, in the caller's transaction; what stands there already stays."""

from typing import Any, NamedTuple

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from bintally.database.types import Key, Table, UtcTime
from bintally.inventory import schema
from bintally.inventory.bulk.cells import REJECTS
from bintally.inventory.bulk.groups import Grouped
from bintally.inventory.bulk.stage import staged
from bintally.inventory.ledger import Site
from bintally.inventory.schema import CODE


class Loaded(NamedTuple):
    """How many facts were new, changed what was known (products), or were refused, and the lines of these."""

    new: int
    changed: int
    refused: int
    rejects: pl.DataFrame


def load_bins(connection: sa.Connection, site: Site, codes: pl.Series) -> int:
    """Adds bins; returns how many were new."""
    rows = pl.DataFrame({"code": codes})
    with staged(connection, "staged_bin", rows, sa.Column("code", sa.String(CODE))) as stage:
        values = sa.select(sa.literal(site.id), stage.c.code)
        return _add(connection, schema.Bin, ["site_id", "code"], values, ["site_id", "code"])


def load_records(connection: sa.Connection, grouped: Grouped) -> Loaded:
    """Adds versions of records with their lines."""
    records, columns = _numbered(connection, schema.StockRecord, grouped.facts)
    with (
        staged(connection, "staged_record", records, *columns, sa.Column("source", sa.String(CODE))) as stage,
        staged(
            connection,
            "staged_line",
            grouped.lines,
            sa.Column("n", Key, primary_key=True, autoincrement=False),
            sa.Column("product_id", Key, primary_key=True),
            sa.Column("quantity", sa.BigInteger),
        ) as lines,
    ):
        names = ["id", "bin_id", "key", "quantity", "effective_at", "received_at", "source"]
        values = sa.select(*(stage.c["at" if name == "effective_at" else name] for name in names))
        new = _add(connection, schema.StockRecord, names, values.order_by(stage.c.n), ["bin_id", "key"])
        record = schema.StockRecord
        added = sa.select(record.id, lines.c.product_id, lines.c.quantity).select_from(
            lines.join(stage, stage.c.n == lines.c.n).join(record, record.id == stage.c.id)
        )
        into = sa.insert(schema.StockLine)
        connection.execute(into.from_select(["record_id", "product_id", "quantity"], added.order_by(record.id)))
        refused, rejects = _conflicts(connection, grouped, new, _other_records(stage, lines))
    return Loaded(new, 0, refused, rejects)


def load_movements(connection: sa.Connection, grouped: Grouped) -> Loaded:
    """Adds movements."""
    moves, columns = _numbered(connection, schema.Movement, grouped.facts)
    with staged(connection, "staged_movement", moves, *columns, sa.Column("product_id", Key)) as stage:
        names = ["id", "bin_id", "key", "product_id", "quantity", "moved_at", "received_at"]
        values = sa.select(*(stage.c["at" if name == "moved_at" else name] for name in names))
        new = _add(connection, schema.Movement, names, values.order_by(stage.c.n), ["bin_id", "key"])
        held = schema.Movement
        differs = sa.or_(
            held.quantity != stage.c.quantity,
            held.moved_at != stage.c.at,
            sa.func.coalesce(held.product_id, 0) != sa.func.coalesce(stage.c.product_id, 0),
        )
        same_key = sa.and_(held.bin_id == stage.c.bin_id, held.key == stage.c.key)
        others = sa.select(stage.c.n).join(held, same_key).where(differs)
        refused, rejects = _conflicts(connection, grouped, new, others)
    return Loaded(new, 0, refused, rejects)


def load_products(connection: sa.Connection, site: Site, products: pl.DataFrame) -> Loaded:
    """Adds products (line, sku, and columns of `schema.Product`), and updates what is known of them.

    Lines that would change the unit of a product that is counted already are refused.
    """
    table: Any = schema.Product.__table__
    told = [name for name in products.columns if name not in ("line", "sku")]
    columns = [sa.Column(name, table.c[name].type) for name in ("sku", *told)]
    refused = pl.DataFrame(schema=REJECTS)
    with staged(connection, "staged_product", products, sa.Column("line", Key, primary_key=True), *columns) as stage:
        same = sa.and_(table.c.site_id == site.id, table.c.sku == stage.c.sku)
        if "unit" in told:
            counted = sa.or_(
                sa.exists().where(schema.StockLine.product_id == table.c.id),
                sa.exists().where(schema.Movement.product_id == table.c.id),
            )
            other = sa.select(stage.c.line, stage.c.unit).join(table, same).where(stage.c.unit != table.c.unit, counted)
            rows = connection.execute(other).all()
            why = "records are counted in another unit already"
            refused = pl.DataFrame([(line, "unit", unit, why) for line, unit in rows], schema=REJECTS, orient="row")
            connection.execute(sa.delete(stage).where(stage.c.line.in_(refused["line"].to_list())))
        changed = 0
        for name in told:
            differs = sa.or_(table.c[name].is_(None), table.c[name] != stage.c[name])
            change = sa.update(table).values({name: stage.c[name]}).where(same, stage.c[name].is_not(None), differs)
            changed += connection.execute(change).rowcount
        defaults = {"name": "", "abc": "C", "unit": "each"}
        values = [
            sa.func.coalesce(stage.c[name], sa.literal(defaults[name])) if name in defaults else stage.c[name]
            for name in told
        ]
        absent = [name for name in defaults if name not in told]
        rows_of = sa.select(
            sa.literal(site.id), stage.c.sku, *values, *(sa.literal(defaults[name]) for name in absent)
        ).order_by(stage.c.line)
        names = ["site_id", "sku", *told, *absent]
        new = _add(connection, schema.Product, names, rows_of, ["site_id", "sku"])
    return Loaded(new, changed, refused.height, refused)


def _numbered(
    connection: sa.Connection, table: type[Table], facts: pl.DataFrame
) -> tuple[pl.DataFrame, list[sa.Column[Any]]]:
    """The facts and their staging columns with numbers to be: PostgreSQL's sequence gives them, SQLite counts on."""
    columns: list[sa.Column[Any]] = [
        sa.Column("n", Key, primary_key=True, autoincrement=False),
        sa.Column("bin_id", Key),
        sa.Column("key", sa.String(CODE)),
        sa.Column("quantity", sa.BigInteger),
        sa.Column("at", UtcTime()),
        sa.Column("received_at", UtcTime()),
    ]
    if connection.dialect.name == "postgresql":
        following = sa.text(f"nextval(pg_get_serial_sequence('{table.__tablename__}', 'id'))")
        return facts, [*columns, sa.Column("id", Key, server_default=following)]
    last = connection.execute(sa.select(sa.func.max(table.__table__.c.id))).scalar_one() or 0
    return facts.with_columns((pl.col("n").cast(pl.Int64) + last + 1).alias("id")), [*columns, sa.Column("id", Key)]


def _add(
    connection: sa.Connection, table: type[Table], names: list[str], rows: sa.Select[Any], unique: list[str]
) -> int:
    made = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    # SQLite takes ON CONFLICT after a SELECT for a join's condition, unless there is a WHERE.
    adding = made.from_select(names, rows.where(sa.true())).on_conflict_do_nothing(index_elements=unique)
    return connection.execute(adding, execution_options={"preserve_rowcount": True}).rowcount


def _other_records(stage: sa.Table, lines: sa.Table) -> sa.Select[Any]:
    """Staged records whose key stands for another content."""
    held, line = schema.StockRecord, schema.StockLine
    of_staged = sa.select(sa.func.count()).select_from(lines).where(lines.c.n == stage.c.n).scalar_subquery()
    of_held = sa.select(sa.func.count()).select_from(line).where(line.record_id == held.id).scalar_subquery()
    same = sa.exists().where(
        line.record_id == held.id, line.product_id == lines.c.product_id, line.quantity == lines.c.quantity
    )
    other_line = sa.exists().where(lines.c.n == stage.c.n, sa.not_(same))
    differs = sa.or_(
        held.quantity != stage.c.quantity, held.effective_at != stage.c.at, of_staged != of_held, other_line
    )
    same_key = sa.and_(held.bin_id == stage.c.bin_id, held.key == stage.c.key)
    return sa.select(stage.c.n).join(held, same_key).where(held.id != stage.c.id, differs)


def _conflicts(
    connection: sa.Connection, grouped: Grouped, new: int, others: sa.Executable
) -> tuple[int, pl.DataFrame]:
    if not grouped.told or new == grouped.facts.height:
        return 0, pl.DataFrame(schema=REJECTS)
    numbers = pl.Series(list(connection.execute(others).scalars()), dtype=grouped.facts["n"].dtype)
    rows = grouped.of.filter(pl.col("n").is_in(numbers.implode())).join(grouped.facts.select("n", "key"), on="n")
    return len(numbers), rows.select(
        "line",
        pl.lit("key").alias("column"),
        pl.col("key").alias("value"),
        pl.lit("was taken in with other content: send it under a key of its own").alias("why"),
    )
