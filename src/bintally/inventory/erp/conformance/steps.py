"""What the tests of connectors do over and over: stock a bin, prepare, carry out, look."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

from bintally.inventory.erp.conformance.bench import Bench
from bintally.inventory.erp.protocol import KEY, Answer, Connector, Draft, Line, Posting, Stock


def reading(erp: Bench, connector: Connector) -> str:
    """A new bin of a stock system that tells what it holds."""
    if not connector.about().reads:
        pytest.skip("it does not tell what it holds")
    return erp.new_bin()


def needs_drafts(erp: Bench) -> None:
    """Skips the test where no drafts are kept."""
    if not erp.keeps_drafts:
        pytest.skip("it keeps no drafts")


def new_key() -> str:
    """A key that nobody has used."""
    return f"bintally-{uuid4().hex}"[:KEY]


def stocked(erp: Bench, *, before: int = 4, after: int = 3, code: str | None = None) -> Posting:
    """A bin with `before` of the first product, and what makes them `after`."""
    code = code or erp.new_bin()
    if before:
        erp.put(code, erp.products[0], before)
    return Posting(
        key=new_key(),
        kind="adjust",
        site="conformance",
        bin=code,
        lines=(Line(erp.products[0], before, after),),
        counted_at=datetime.now(UTC),
        by="rita",
        approved_by="omar",
        note="counted twice",
    )


def with_lines(posting: Posting, *lines: Line, **changed: object) -> Posting:
    """The posting with other lines."""
    return msgspec.structs.replace(posting, lines=lines, **changed)


def prepared(connector: Connector, posting: Posting) -> Draft:
    """The draft of a posting that nothing is wrong with."""
    return connector.prepare([posting])[posting.key]


def drafts_of(connector: Connector, postings: Sequence[Posting]) -> dict[str, Draft]:
    """Drafts of postings, by their keys; of those that are refused, nothing."""
    return {key: draft for key, draft in connector.prepare(postings).items() if draft.fate != "refused"}


def carry_out(connector: Connector, draft: Draft) -> Answer:
    """What becomes of a draft."""
    return connector.commit([draft])[draft.key]


def posted(connector: Connector, posting: Posting) -> Answer:
    """What becomes of a posting."""
    return carry_out(connector, prepared(connector, posting))


def read(connector: Connector, bins: Sequence[str] | None) -> dict[str, Stock]:
    """What is in bins, each told once."""
    stocks = list(connector.read(bins))
    by_bin = {stock.bin: stock for stock in stocks}
    assert len(by_bin) == len(stocks), "a bin was told twice"
    return by_bin


def held(erp: Bench, posting: Posting) -> int:
    """How many of the first product the posting's bin holds."""
    return erp.held(posting.bin).get(erp.products[0], 0)


def some(lines: Mapping[str, int]) -> dict[str, int]:
    """What is there; a product of which there is none may be named or not."""
    return {product: quantity for product, quantity in lines.items() if quantity}
