"""Postings in Odoo's terms: ids instead of codes, or why there can be no count of one."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bintally.inventory.erp.odoo import records
from bintally.inventory.erp.odoo.records import Product, Quant
from bintally.inventory.erp.odoo.rpc import Rpc
from bintally.inventory.erp.odoo.settings import OdooSettings
from bintally.inventory.erp.protocol import Line, Posting


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A count to be made: its location, and its lines by product id."""

    posting: Posting
    location: int
    lines: Mapping[int, Line]


def documents(rpc: Rpc, settings: OdooSettings, postings: Sequence[Posting]) -> tuple[list[Document], dict[str, str]]:
    """Counts to be made of postings, and reasons, by key, why others can't be."""
    locations: dict[str, list[int]] = {}
    for code, id_ in records.bins(rpc, settings, sorted({posting.bin for posting in postings})):
        locations.setdefault(code, []).append(id_)
    skus = [line.product for posting in postings for line in posting.lines if line.product is not None]
    known = records.products(rpc, settings, skus)
    made: list[Document] = []
    reasons = {}
    for posting in postings:
        why = _why_not(posting, locations.get(posting.bin, []), known)
        if why is not None:
            reasons[posting.key] = why
            continue
        lines = {known[line.product][0].id: line for line in posting.lines if line.product is not None}
        document = Document(posting=posting, location=locations[posting.bin][0], lines=lines)
        if any(each.location == document.location and each.lines.keys() & lines.keys() for each in made):
            reasons[posting.key] = "Odoo has one count of a product in a bin at a time, and another one is being posted"
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


def _why_not(posting: Posting, locations: Sequence[int], known: Mapping[str, Sequence[Product]]) -> str | None:
    if len(locations) != 1:
        many = "several locations" if locations else "no location"
        return f"Odoo has {many} of the code {posting.bin}"
    for line in posting.lines:
        if line.product is None:
            return "Odoo keeps stock by product, and this corrects all that is in the bin together"
        found = known.get(line.product, ())
        if len(found) != 1:
            return f"Odoo has {'several products' if found else 'no product'} of the code {line.product}"
        if found[0].tracking != "none":
            return f"Odoo keeps {line.product} by {found[0].tracking} number, which no photo shows"
    return None
