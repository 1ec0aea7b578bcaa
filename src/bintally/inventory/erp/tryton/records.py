"""What is asked of Tryton's models: bins (storage locations), products, their quantities, and inventories."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from bintally.errors import ErpRefusedError
from bintally.inventory.erp.tryton.rpc import Rpc

INVENTORY: Final = "stock.inventory"

PAGE: Final = 1000
"""Records asked for at once."""


class Product(msgspec.Struct, frozen=True):
    """A product (variant): its id, and whether stock is kept of it."""

    id: int
    is_goods: bool


class InventoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """A product of an inventory. `expected`: in the bin when the line was made; `quantity` None: not filled in."""

    id: int
    product: int
    sku: str
    expected: float
    quantity: float | None


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """An inventory. `stamp`: when it was last changed, as Tryton wants it back."""

    id: int
    number: str | None
    state: str
    date: str
    stamp: str
    location: int
    lines: tuple[InventoryLine, ...] = ()

    @property
    def reference(self) -> str:
        """As Tryton names records."""
        return f"{INVENTORY},{self.id}"

    @property
    def is_filled_in(self) -> bool:
        """Whether it can be confirmed."""
        return bool(self.lines) and all(line.quantity is not None for line in self.lines)

    def evidence(self) -> dict[str, Any]:
        """What Tryton says of it."""
        lines = [{"product": line.sku, "expected": line.expected, "quantity": line.quantity} for line in self.lines]
        return {"record": self.reference, "number": self.number, "state": self.state, "date": self.date, "lines": lines}


def top_location(rpc: Rpc, code: str) -> int:
    """The location of that code, under which bins are.

    Raises:
        ErpRefusedError: there is none, or several.
    """
    ids = rpc.call("stock.location", "search", [["code", "=", code]], 0, 2, None)
    if len(ids) != 1:
        raise ErpRefusedError(
            f"Tryton has {'several locations' if ids else 'no location'} of the code {code}.",
            hint="Look at the setting location.",
        )
    return int(ids[0])


def bins(rpc: Rpc, top: int | None, codes: Sequence[str] | None = None) -> Iterator[tuple[str, int]]:
    """Codes and ids of the bins under `top`; `codes` None: of all that have a code."""
    domain: list[Any] = [["type", "=", "storage"], ["code", "!=", None]]
    if top is not None:
        domain.append(["parent", "child_of", [top], "parent"])
    if codes is None:
        for row in _pages(rpc, "stock.location", domain, ["code"]):
            yield row["code"], row["id"]
        return
    wanted = sorted(set(codes))
    for start in range(0, len(wanted), PAGE):
        some = wanted[start : start + PAGE]
        for row in _pages(rpc, "stock.location", [*domain, ["code", "in", some]], ["code"]):
            yield row["code"], row["id"]


def products(rpc: Rpc, skus: Iterable[str]) -> dict[str, list[Product]]:
    """Active products by their codes; several may have the same."""
    found: dict[str, list[Product]] = {}
    for row in _pages(rpc, "product.product", [["code", "in", sorted(set(skus))]], ["code", "type"]):
        found.setdefault(row["code"], []).append(Product(row["id"], row["type"] == "goods"))
    return found


def quantities(rpc: Rpc, location: int) -> dict[int, tuple[str, float]]:
    """What is in a location now (not below it, not planned): SKU and quantity by product id."""
    rows = rpc.call(
        "product.product",
        "search_read",
        [["quantity", "!=", 0]],
        0,
        None,
        None,
        ["code", "quantity"],
        locations=[location],
        with_childs=False,
    )
    return {row["id"]: (row["code"] or f"#{row['id']}", row["quantity"]) for row in rows}


def inventories(rpc: Rpc, ids: Iterable[int]) -> dict[int, Inventory]:
    """Inventories with their lines, by id; of one that is gone, nothing."""
    fields = ["number", "state", "date", "location", "_timestamp"]
    wanted = sorted(set(ids))
    lines: dict[int, list[InventoryLine]] = {}
    for row in _pages(
        rpc,
        f"{INVENTORY}.line",
        [["inventory", "in", wanted]],
        ["inventory", "product", "product.code", "expected_quantity", "quantity"],
    ):
        line = InventoryLine(
            id=row["id"],
            product=row["product"],
            sku=row["product."]["code"] or f"#{row['product']}",
            expected=row["expected_quantity"],
            quantity=row["quantity"],
        )
        lines.setdefault(row["inventory"], []).append(line)
    return {
        row["id"]: Inventory(
            id=row["id"],
            number=row["number"],
            state=row["state"],
            date="{year:04}-{month:02}-{day:02}".format(**row["date"]),
            stamp=row["_timestamp"],
            location=row["location"],
            lines=tuple(lines.get(row["id"], ())),
        )
        for row in _pages(rpc, INVENTORY, [["id", "in", wanted]], fields)
    }


def _pages(rpc: Rpc, model: str, domain: list[Any], fields: list[str]) -> Iterator[dict[str, Any]]:
    """Records by id, page by page: what is added meanwhile comes last."""
    last = 0
    while True:
        page = rpc.call(model, "search_read", [*domain, ["id", ">", last]], 0, PAGE, [["id", "ASC"]], fields)
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1]["id"]
