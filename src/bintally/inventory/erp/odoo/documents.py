"""Postings in Odoo's terms: ids instead of codes, or why there can be no count of one."""

from collections.abc import Iterable, Sequence

from bintally.inventory.erp import coded
from bintally.inventory.erp.coded import Document
from bintally.inventory.erp.odoo import records
from bintally.inventory.erp.odoo.records import Product, Quant
from bintally.inventory.erp.odoo.rpc import Rpc
from bintally.inventory.erp.odoo.settings import OdooSettings
from bintally.inventory.erp.protocol import Posting


def documents(rpc: Rpc, settings: OdooSettings, postings: Sequence[Posting]) -> tuple[list[Document], dict[str, str]]:
    """Counts to be made of postings, and reasons, by key, why others can't be."""
    places = records.bins(rpc, settings, sorted({posting.bin for posting in postings}))
    known = records.products(rpc, settings, coded.skus_of(postings))
    told, reasons = coded.documents(postings, places, known, system="Odoo", why_not=_why_not)
    made: list[Document] = []
    for document in told:
        if any(each.location == document.location and each.lines.keys() & document.lines.keys() for each in made):
            why = "Odoo has one count of a product in a bin at a time, and another one is being posted"
            reasons[document.posting.key] = why
        else:
            made.append(document)
    return made, reasons


def mine(document: Document, quants: Iterable[Quant]) -> list[Quant]:
    """The quants that a count is about."""
    return [each for each in quants if each.location == document.location and each.product in document.lines]


def why_not_counted(document: Document, quants: Sequence[Quant], uid: int) -> str | None:
    """Why what is there can't be counted by us; None: it can."""
    seen = set()
    for quant in quants:
        sku = document.lines[quant.product].product
        if not quant.is_plain and quant.quantity:
            return f"Odoo keeps {sku} in {document.posting.bin} by lot, package or owner, which no photo shows"
        if not quant.is_plain:
            continue
        if quant.product in seen:  # Odoo may split one when two write it at once, and merges them later
            return f"Odoo has two records of {sku} there: open its Physical Inventory, which puts them together"
        seen.add(quant.product)
        if quant.is_set and (quant.counter is None or quant.counter[0] != uid):
            who = quant.counter[1] if quant.counter else "somebody"
            return f"{who} has counted {sku} there in Odoo: that count has to be applied or cleared first"
    return None


def _why_not(sku: str, product: Product) -> str | None:
    return None if product.tracking == "none" else f"keeps {sku} by {product.tracking} number, which no photo shows"
