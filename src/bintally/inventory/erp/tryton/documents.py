"""Postings in Tryton's terms: ids instead of codes, or why there can be no inventory of one."""

from collections.abc import Sequence

from bintally.inventory.erp import coded
from bintally.inventory.erp.coded import Document
from bintally.inventory.erp.protocol import Posting
from bintally.inventory.erp.tryton.records import Product, bins, products
from bintally.inventory.erp.tryton.rpc import Rpc


def documents(rpc: Rpc, top: int | None, postings: Sequence[Posting]) -> tuple[list[Document], dict[str, str]]:
    """Inventories to be made of postings, and reasons, by key, why others can't be."""
    places = bins(rpc, top, [posting.bin for posting in postings])
    known = products(rpc, coded.skus_of(postings))
    return coded.documents(postings, places, known, system="Tryton", place="storage location", why_not=_why_not)


def _why_not(sku: str, product: Product) -> str | None:
    return None if product.is_goods else f"keeps no stock of {sku}, which is no goods"
