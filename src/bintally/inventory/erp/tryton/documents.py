"""Postings in Tryton's terms: ids instead of codes, or why there can be no inventory of one."""

from collections.abc import Mapping, Sequence

import msgspec

from bintally.inventory.erp.protocol import Line, Posting
from bintally.inventory.erp.tryton.records import Product, bins, products
from bintally.inventory.erp.tryton.rpc import Rpc


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """An inventory to be made: its location, and its lines by product id."""

    posting: Posting
    location: int
    lines: Mapping[int, Line]


def documents(rpc: Rpc, top: int | None, postings: Sequence[Posting]) -> tuple[list[Document], dict[str, str]]:
    """Inventories to be made of postings, and reasons, by key, why others can't be."""
    locations: dict[str, list[int]] = {}
    for code, id_ in bins(rpc, top, [posting.bin for posting in postings]):
        locations.setdefault(code, []).append(id_)
    known = products(rpc, [line.product for posting in postings for line in posting.lines if line.product is not None])
    made, reasons = [], {}
    for posting in postings:
        why = _why_not(posting, locations.get(posting.bin, []), known)
        if why is not None:
            reasons[posting.key] = why
            continue
        lines = {known[line.product][0].id: line for line in posting.lines if line.product is not None}
        made.append(Document(posting=posting, location=locations[posting.bin][0], lines=lines))
    return made, reasons


def _why_not(posting: Posting, locations: Sequence[int], known: Mapping[str, Sequence[Product]]) -> str | None:
    if len(locations) != 1:
        many = "several storage locations" if locations else "no storage location"
        return f"Tryton has {many} of the code {posting.bin}"
    for line in posting.lines:
        if line.product is None:
            return "Tryton keeps stock by product, and this corrects all that is in the bin together"
        found = known.get(line.product, ())
        if len(found) != 1:
            return f"Tryton has {'several products' if found else 'no product'} of the code {line.product}"
        if not found[0].is_goods:
            return f"Tryton keeps no stock of {line.product}, which is no goods"
    return None
