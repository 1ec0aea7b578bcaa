"""Products: what is known of them, told anew at any time."""

from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Connection, exists, or_, select, update

from bintally.database import audit
from bintally.database.inserts import add_if_new
from bintally.errors import DataError
from bintally.inventory import schema
from bintally.inventory.ledger import Site
from bintally.inventory.people import SYSTEM
from bintally.inventory.taken import Taken, conflict
from bintally.inventory.values import UNIT, name_of


def take_product(
    connection: Connection,
    site: Site,
    *,
    sku: str,
    name: str | None = None,
    abc: Literal["A", "B", "C"] | None = None,
    unit: str | None = None,
    unit_value: Decimal | float | None = None,
    height_in: float | None = None,
    length_in: float | None = None,
    width_in: float | None = None,
    weight_lb: float | None = None,
    by: str = SYSTEM,
) -> Taken:
    """A product of the site, added or updated; what is None stays as it is (new: class C, counted in "each").

    Raises:
        DataError: no SKU, no such class, or a measure below 0.
        ConflictError: another unit than that which records are already counted in.
    """
    sku = name_of("product", sku)
    measures = {"height_in": height_in, "length_in": length_in, "width_in": width_in, "weight_lb": weight_lb}
    value = None if unit_value is None else Decimal(str(unit_value))
    told = {"name": name, "abc": abc, "unit": unit, "unit_value": value, **measures}
    told = {column: each for column, each in told.items() if each is not None}
    _check(sku, told)
    added = add_if_new(connection, schema.Product, {"site_id": site.id, "sku": sku, **told}, unique=("site_id", "sku"))
    taken = Taken(added, is_new=True) if added is not None else _updated(connection, site, sku, told)
    if taken is None:
        return Taken(_held(connection, site, sku).id, is_new=False)
    action = "product.add" if taken.is_new else "product.update"
    audit.append(connection, actor=by, action=action, subject=f"product:{site.code}/{sku}", body=told)
    return taken


def _updated(connection: Connection, site: Site, sku: str, told: dict[str, Any]) -> Taken | None:
    """The product with what is told; None: that was known."""
    held = _held(connection, site, sku)
    changed = {column: value for column, value in told.items() if getattr(held, column) != value}
    if not changed:
        return None
    if "unit" in changed and _is_counted(connection, held.id):
        raise conflict(f"product {sku!r}", before=f"counted in {held.unit!r}", now=f"{changed['unit']!r}")
    connection.execute(update(schema.Product).where(schema.Product.id == held.id).values(**changed))
    return Taken(held.id, is_new=False)


def _held(connection: Connection, site: Site, sku: str) -> Any:
    product = schema.Product.__table__
    wanted = select(product).where(product.c.site_id == site.id, product.c.sku == sku)
    return connection.execute(wanted.with_for_update()).one()


def _is_counted(connection: Connection, product_id: int) -> bool:
    recorded = exists().where(schema.StockLine.product_id == product_id)
    moved = exists().where(schema.Movement.product_id == product_id)
    return bool(connection.execute(select(or_(recorded, moved))).scalar_one())


def _check(sku: str, told: dict[str, Any]) -> None:
    if "\0" in told.get("name", ""):
        raise DataError(f"The name of product {sku!r} holds a NUL character.", hint="Mend it.")
    if "unit" in told and (name_of("unit", told["unit"]) != told["unit"] or len(told["unit"]) > UNIT):
        raise DataError(f"Product {sku!r} can't be counted in {told['unit']!r}.", hint=f"{UNIT} characters are most.")
    if told.get("abc", "A") not in ("A", "B", "C"):
        raise DataError(f"Product {sku!r} can't be of class {told['abc']!r}.", hint="A, B or C can.")
    for column in ("unit_value", "height_in", "length_in", "width_in", "weight_lb"):
        if not 0 <= told.get(column, 0) < 1e12:
            raise DataError(f"{told[column]} is no {column} for product {sku!r}.", hint="0 and more can be.")
