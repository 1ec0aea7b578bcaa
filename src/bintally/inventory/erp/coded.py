"""Postings in a stock system's terms: its ids instead of codes, or why one can't be told in them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from bintally.inventory.erp.protocol import Line, Posting


class HasId(Protocol):
    """A product, as a stock system knows it."""

    @property
    def id(self) -> int:
        """Its number there."""


Product = TypeVar("Product", bound=HasId)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made of a posting: its location, and its lines by product id."""

    posting: Posting
    location: int
    lines: Mapping[int, Line]


def skus_of(postings: Iterable[Posting]) -> list[str]:
    """The products that postings name."""
    return [line.product for posting in postings for line in posting.lines if line.product is not None]


def documents(
    postings: Iterable[Posting],
    places: Iterable[tuple[str, int]],
    products: Mapping[str, Sequence[Product]],
    *,
    system: str,
    place: str = "location",
    why_not: Callable[[str, Product], str | None],
) -> tuple[list[Document], dict[str, str]]:
    """What is to be made of postings in the stock system `system`, and reasons, by key, why of others nothing is.

    `places`: (code, id); what the stock system calls them is `place`. `products`: those it has, by code. `why_not`: why
    it can't keep so many of a product, told its code.
    """
    locations: dict[str, list[int]] = {}
    for code, id_ in places:
        locations.setdefault(code, []).append(id_)
    made, reasons = [], {}
    for posting in postings:
        there = locations.get(posting.bin, [])
        why = _why_no_place(there, posting.bin, place) or _why_no_line(posting, products, why_not)
        if why is not None:
            reasons[posting.key] = f"{system} {why}"
            continue
        lines = {products[line.product][0].id: line for line in posting.lines if line.product is not None}
        made.append(Document(posting=posting, location=there[0], lines=lines))
    return made, reasons


def _why_no_place(there: Sequence[int], code: str, place: str) -> str | None:
    if len(there) == 1:
        return None
    return f"has {f'several {place}s' if there else f'no {place}'} of the code {code}"


def _why_no_line(
    posting: Posting, products: Mapping[str, Sequence[Product]], why_not: Callable[[str, Product], str | None]
) -> str | None:
    for line in posting.lines:
        if line.product is None:
            return "keeps stock by product, and this corrects all that is in the bin together"
        found = products.get(line.product, ())
        if len(found) != 1:
            return f"has {'several products' if found else 'no product'} of the code {line.product}"
        if why := why_not(line.product, found[0]):
            return why
    return None
