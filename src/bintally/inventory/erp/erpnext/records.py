"""What is asked of ERPNext: bins (Warehouse), what is in them (Bin), products (Item), and reconciliations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from bintally.errors import ErpRefusedError
from bintally.inventory.erp.erpnext.rest import Rest
from bintally.inventory.erp.erpnext.settings import ErpNextSettings

RECONCILIATION: Final = "Stock Reconciliation"

DRAFT, SUBMITTED, CANCELLED = 0, 1, 2
"""A document's `docstatus`."""

NOT_THERE: Final = "DoesNotExistError"


class Item(msgspec.Struct, frozen=True):
    """A product, and why its stock can't be corrected here (""; it can)."""

    why_not: str


class Row(msgspec.Struct, frozen=True):
    """A product of a reconciliation: what was there when the document was last saved, and what is to be."""

    item: str
    warehouse: str
    before: float
    after: float


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """A Stock Reconciliation. `modified`: when it was last changed, as ERPNext wants it back."""

    name: str
    docstatus: int
    modified: str
    posting_date: str
    posting_time: str
    rows: tuple[Row, ...]

    def evidence(self) -> dict[str, Any]:
        """What ERPNext says of it."""
        lines = [{"product": row.item, "expected": row.before, "quantity": row.after} for row in self.rows]
        at = f"{self.posting_date} {self.posting_time}"
        return {"document": self.name, "docstatus": self.docstatus, "posted_at": at, "lines": lines}


def reconciliation(document: Mapping[str, Any]) -> Reconciliation:
    """A document as it is answered."""
    rows = [
        Row(row["item_code"], row["warehouse"], float(row.get("current_qty") or 0), float(row.get("qty") or 0))
        for row in document.get("items") or ()
    ]
    told = {name: str(document.get(name) or "") for name in ("name", "modified", "posting_date", "posting_time")}
    return Reconciliation(**told, docstatus=int(document["docstatus"]), rows=tuple(rows))


def reconciliation_called(rest: Rest, name: str) -> Reconciliation | None:
    """The document of that name; None: there is none."""
    reply = rest.read(RECONCILIATION, name) if name else None
    if reply is None or reply.error == NOT_THERE:
        return None
    return reconciliation(reply.accepted())


def of_keys(rest: Rest, settings: ErpNextSettings, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name and docstatus of the documents that carry keys, by key, cancelled ones too."""
    field = settings.key_field
    rows = rest.listed_of(RECONCILIATION, ["docstatus", field], [], field=field, values=list(keys))
    return {row[field]: row for row in sorted(rows, key=lambda row: row["docstatus"] == SUBMITTED)}


def warehouses(rest: Rest, settings: ErpNextSettings, codes: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Codes and names of the bins: warehouses of the company that are no groups; `codes` None: all."""
    filters: list[Any] = [["company", "=", settings.company], ["is_group", "=", 0], ["disabled", "=", 0]]
    if settings.parent is not None:
        left, right = group(rest, settings.parent)
        filters += [["lft", ">", left], ["rgt", "<", right]]
    fields = ["warehouse_name"]
    if codes is None:
        rows = rest.listed("Warehouse", fields, filters)
    else:
        rows = rest.listed_of("Warehouse", fields, filters, field=settings.bins_by, values=codes)
    return [(row[settings.bins_by], row["name"]) for row in rows]


def group(rest: Rest, name: str) -> tuple[int, int]:
    """The bounds of a group warehouse, in the tree of all warehouses.

    Raises:
        ErpRefusedError: there is none of that name.
    """
    reply = rest.read("Warehouse", name)
    if reply.error == NOT_THERE:
        raise ErpRefusedError(
            f"ERPNext has no warehouse {name}.", hint='Look at the setting parent: a name such as "Stores - D".'
        )
    document = reply.accepted()
    return int(document["lft"]), int(document["rgt"])


def items(rest: Rest, codes: Iterable[str]) -> dict[str, Item]:
    """Products by their codes."""
    fields = ["is_stock_item", "has_serial_no", "has_batch_no", "has_variants", "disabled"]
    rows = rest.listed_of("Item", fields, [], field="name", values=sorted(set(codes)))
    return {row["name"]: Item(_why_not(row)) for row in rows}


def held(rest: Rest, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """What is in warehouses now, by their names: quantities by product; 0 is left out."""
    found: dict[str, dict[str, float]] = {}
    filters = [["actual_qty", "!=", 0]]
    fields = ["warehouse", "item_code", "actual_qty"]
    for row in rest.listed_of("Bin", fields, filters, field="warehouse", values=names):
        found.setdefault(row["warehouse"], {})[row["item_code"]] = row["actual_qty"]
    return found


def _why_not(row: Mapping[str, Any]) -> str:
    told = {
        "has_serial_no": "is kept by serial number, which no photo shows",
        "has_batch_no": "is kept by batch, which no photo shows",
        "has_variants": "is a template: its variants are what is in stock",
        "disabled": "is disabled",
    }
    if not row["is_stock_item"]:
        return "is no stock item"
    return next((why for name, why in told.items() if row[name]), "")
