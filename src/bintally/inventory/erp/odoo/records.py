"""What is asked of Odoo's models: bins (stock.location), products, what is where (stock.quant), and what moved."""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from bintally.errors import ErpRefusedError
from bintally.inventory.erp.odoo.rpc import Rpc
from bintally.inventory.erp.odoo.settings import OdooSettings

PAGE: Final = 1000
"""Records asked for at once."""

_T = TypeVar("_T")

_QUANT: Final = (
    "product_id",
    "location_id",
    "lot_id",
    "package_id",
    "owner_id",
    "user_id",
    "quantity",
    "inventory_quantity",
    "inventory_quantity_set",
    "inventory_diff_quantity",
    "is_outdated",
)


class Product(msgspec.Struct, frozen=True):
    """A product (variant). `tracking`: "none", "lot" or "serial"."""

    id: int
    tracking: str


class Quant(msgspec.Struct, frozen=True, kw_only=True):
    """So much of a product in a location; with a count of it, where `is_set`.

    `expected`: what was there when it was counted. `is_outdated`: that is not what is there now. `counter`: the user
    who counted, or is to count. `is_plain`: without lot, package or owner.
    """

    id: int
    product: int
    location: int
    quantity: float
    is_set: bool
    counted: float
    expected: float
    is_outdated: bool
    counter: tuple[int, str] | None
    is_plain: bool


def bins(rpc: Rpc, settings: OdooSettings, codes: Sequence[str] | None = None) -> list[tuple[str, int]]:
    """Codes and ids of the bins; `codes` None: of all that have a code."""
    domain: list[Any] = [["usage", "in", ["internal", "transit"]], [settings.bins_by, "!=", False]]
    if settings.location is not None:
        domain.append(["id", "child_of", top_location(rpc, settings.location)])
    wanted = [[]] if codes is None else [[[settings.bins_by, "in", some]] for some in _parts(codes)]
    return [
        (row[settings.bins_by], row["id"])
        for some in wanted
        for row in _pages(rpc, "stock.location", [*domain, *some], [settings.bins_by])
    ]


def top_location(rpc: Rpc, name: str) -> int:
    """The location of that full name, under which bins are.

    Raises:
        ErpRefusedError: there is none, or several.
    """
    ids = [row["id"] for row in _pages(rpc, "stock.location", [["complete_name", "=", name]], ["id"])]
    if len(ids) != 1:
        many = "several locations" if ids else "no location"
        raise ErpRefusedError(f"Odoo has {many} called {name}.", hint="Look at the setting location.")
    return int(ids[0])


def products(rpc: Rpc, settings: OdooSettings, skus: Iterable[str]) -> dict[str, list[Product]]:
    """Active products by SKU; several may have the same."""
    found: dict[str, list[Product]] = {}
    for some in _parts(sorted(set(skus))):
        domain = [[settings.products_by, "in", some]]
        for row in _pages(rpc, "product.product", domain, [settings.products_by, "tracking"]):
            found.setdefault(row[settings.products_by], []).append(Product(row["id"], row["tracking"]))
    return found


def skus(rpc: Rpc, settings: OdooSettings, ids: Iterable[int]) -> dict[int, str]:
    """SKUs by the products' ids; of one that has none, its id as #7. Archived products are told too."""
    wanted, told = sorted(set(ids)), {}
    for some in _parts(wanted):
        domain = [["id", "in", some], ["active", "in", [True, False]]]
        for row in _pages(rpc, "product.product", domain, [settings.products_by]):
            told[row["id"]] = row[settings.products_by]
    return {id_: told.get(id_) or f"#{id_}" for id_ in wanted}


def quants(rpc: Rpc, domain: Sequence[Any]) -> list[Quant]:
    """What is where, and what was counted."""
    return [_quant(row) for row in _pages(rpc, "stock.quant", domain, _QUANT)]


def held(rpc: Rpc, locations: Iterable[int]) -> dict[int, Tally[int]]:
    """Quantities by location and product, lots and packages together; 0 is left out."""
    found: dict[int, Tally[int]] = {}
    for some in _parts(sorted(set(locations))):
        domain = [["location_id", "in", some], ["quantity", "!=", 0]]
        for row in _pages(rpc, "stock.quant", domain, ["location_id", "product_id", "quantity"]):
            found.setdefault(row["location_id"][0], Tally())[row["product_id"][0]] += row["quantity"]
    return found


def moves(rpc: Rpc, keys: Sequence[str], *, since: datetime) -> dict[str, list[dict[str, Any]]]:
    """The inventory adjustments that carry keys as their reference, by key: what moved, as evidence.

    Up to Odoo 18, the reference of a move is its name: the key, and "(User)" behind it. From 19 on it is the key alone.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    of_us = [["is_inventory", "=", True], ["state", "=", "done"], ["date", ">=", _moment(since)]]
    fields = ["reference", "date", "product_id", "product_uom_qty", "location_id", "location_dest_id"]
    for some in _parts(keys):
        domain = [*of_us, *["|"] * (len(some) - 1), *[["reference", "=like", f"{key}%"] for key in some]]
        for row in _pages(rpc, "stock.move", domain, fields):
            key = row["reference"].partition(" ")[0]
            if key in keys:
                found.setdefault(key, []).append(row)
    return found


def _quant(row: dict[str, Any]) -> Quant:
    user = row["user_id"]
    return Quant(
        id=row["id"],
        product=row["product_id"][0],
        location=row["location_id"][0],
        quantity=row["quantity"],
        is_set=row["inventory_quantity_set"],
        counted=row["inventory_quantity"],
        expected=row["inventory_quantity"] - row["inventory_diff_quantity"],
        is_outdated=row["is_outdated"],
        counter=(user[0], user[1]) if user else None,
        is_plain=not (row["lot_id"] or row["package_id"] or row["owner_id"]),
    )


def _parts(wanted: Sequence[_T]) -> Iterator[list[_T]]:
    """`wanted`, so many at once that Odoo's queries stay small."""
    for start in range(0, len(wanted), PAGE):
        yield list(wanted[start : start + PAGE])


def _pages(rpc: Rpc, model: str, domain: Sequence[Any], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Records by id, page by page: what is added meanwhile comes last."""
    last = 0
    while True:
        and_later = [*domain, ["id", ">", last]]
        page = rpc.call(model, "search_read", domain=and_later, fields=list(fields), limit=PAGE, order="id")
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1]["id"]


def _moment(at: datetime) -> str:
    """As Odoo has it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
