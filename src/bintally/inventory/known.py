"""What the ledger knows by name: bins and products, looked up, with the nearest names where there is none."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select
from sqlalchemy.orm import InstrumentedAttribute

from bintally.errors import DataError, did_you_mean
from bintally.inventory import schema
from bintally.inventory.ledger import Site

_NEAR: Final = 1000  # names before and after an unknown one among which the meant one is looked for


def bin_of(connection: Connection, site: Site, code: str) -> int:
    """The number of the site's bin `code`.

    Raises:
        DataError: there is none.
    """
    code = code.strip()
    held = bin_id(connection, site, code)
    if held is None:
        raise DataError(f"Site {site.code} has no bin {code!r}.", hint=_near(connection, schema.Bin.code, site, code))
    return held


def bin_id(connection: Connection, site: Site, code: str) -> int | None:
    """The number of the site's bin `code`; None: there is none."""
    bins = schema.Bin
    held: int | None = connection.execute(
        select(bins.id).where(bins.site_id == site.id, bins.code == code)
    ).scalar_one_or_none()
    return held


def products_of(connection: Connection, site: Site, skus: Sequence[str]) -> dict[str, int]:
    """The numbers of the site's products `skus`.

    Raises:
        DataError: one of them is not known.
    """
    if not skus:
        return {}
    products = schema.Product
    rows = connection.execute(
        select(products.sku, products.id).where(products.site_id == site.id, products.sku.in_(skus))
    )
    held = {row.sku: row.id for row in rows}
    for sku in skus:
        if sku not in held:
            hint = _near(connection, products.sku, site, sku)
            raise DataError(f"Site {site.code} has no product {sku!r}.", hint=hint)
    return held


def _near(connection: Connection, names: InstrumentedAttribute[str], site: Site, name: str) -> str:
    """A hint with names like `name`. Only its neighbours in order are compared: a site may have a million bins."""
    of_site = select(names).where(names.class_.site_id == site.id)
    before = of_site.where(names < name).order_by(names.desc()).limit(_NEAR)
    after = of_site.where(names > name).order_by(names).limit(_NEAR)
    known = [*connection.execute(before).scalars(), *connection.execute(after).scalars()]
    return did_you_mean(name, known) if known else "There is none at all yet: take some in first."
