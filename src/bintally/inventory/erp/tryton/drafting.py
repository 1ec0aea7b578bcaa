"""Inventories are made, and filled in last of all.

1. With its products and no quantities: nobody can confirm it.
2. The posting is attached: it can be found.
3. Quantities, where Tryton expects what the posting starts from; without them it is stale.

Whatever is left behind when a request or its answer gets lost can thus be found, or never be carried out.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain

from bintally.errors import ErpAccessError, ErpRefusedError
from bintally.inventory.erp.coded import Document
from bintally.inventory.erp.protocol import Draft, Posting
from bintally.inventory.erp.tryton import keys
from bintally.inventory.erp.tryton.documents import documents
from bintally.inventory.erp.tryton.records import INVENTORY, Inventory, inventories, quantities
from bintally.inventory.erp.tryton.rpc import Rpc


def drafted(rpc: Rpc, postings: Sequence[Posting], *, top: int | None, since: datetime) -> dict[str, Draft]:
    """Inventories of postings, or why there is none; what is done already is left as it is."""
    found = keys.found(rpc, [posting.key for posting in postings], since=since)
    cancel(rpc, [id_ for each in found.values() for id_, state in each if state == "draft"])
    done = {key: keys.chosen(each) for key, each in found.items() if any(state == "done" for _, state in each)}
    wanted, reasons = documents(rpc, top, [posting for posting in postings if posting.key not in done])
    made = _made(rpc, wanted, reasons)
    if made:
        keys.attach(rpc, {id_: document.posting for id_, document in made.items()})
        _fill_in(rpc, made, reasons)
    ids = done | {document.posting.key: id_ for id_, document in made.items()}
    known = inventories(rpc, ids.values())
    drafts = {key: as_draft(key, known[id_]) for key, id_ in ids.items() if id_ in known}
    return drafts | {key: Draft(key, "", "refused", reason=reason) for key, reason in reasons.items()}


def as_draft(key: str, inventory: Inventory) -> Draft:
    """An inventory, as an answer to whoever asked for a key."""
    return Draft(key, inventory.reference, "done" if inventory.state == "done" else "draft", inventory.evidence())


def id_of(draft: Draft) -> int | None:
    """The id of a draft's inventory; None: it has none."""
    model, _, id_ = draft.reference.partition(",")
    return int(id_) if model == INVENTORY and id_.isdecimal() else None


def cancel(rpc: Rpc, ids: Iterable[int]) -> None:
    """Cancels those that are drafts still."""
    drafts = [each for each in inventories(rpc, ids).values() if each.state == "draft"]
    if drafts:
        rpc.call(INVENTORY, "cancel", [each.id for each in drafts], _timestamp=stamps(drafts))


def stamps(expected: Iterable[Inventory]) -> dict[str, str]:
    """As Tryton is told of which state of records one speaks: it refuses if somebody has changed them since."""
    return {inventory.reference: inventory.stamp for inventory in expected}


def _made(rpc: Rpc, wanted: Sequence[Document], reasons: dict[str, str]) -> dict[int, Document]:
    """Inventories without quantities, by id: all at once, or each alone where one is refused, with its reason."""
    if not wanted:
        return {}
    values = [
        {"location": each.location, "lines": [["create", [{"product": product} for product in each.lines]]]}
        for each in wanted
    ]
    try:
        ids = rpc.call(INVENTORY, "create", values)
    except ErpAccessError:
        raise
    except ErpRefusedError as error:
        if len(wanted) > 1:
            return dict(chain.from_iterable(_made(rpc, [each], reasons).items() for each in wanted))
        reasons[wanted[0].posting.key] = error.message
        return {}
    return dict(zip(ids, wanted, strict=True))


def _fill_in(rpc: Rpc, made: Mapping[int, Document], reasons: dict[str, str]) -> None:
    """Writes the quantities of those that Tryton expects of."""
    quantities_by_line, by_lot = [], []
    for id_, inventory in inventories(rpc, made).items():
        lines = made[id_].lines
        if all(line.expected == lines[line.product].before for line in inventory.lines):
            for line in inventory.lines:
                quantities_by_line += [[line.id], {"quantity": float(lines[line.product].after)}]
        elif _is_kept_apart(rpc, made[id_]):
            by_lot.append(id_)
            posting = made[id_].posting
            reasons[posting.key] = f"Tryton keeps the stock of {posting.bin} by lot, or by what else no photo shows"
    if quantities_by_line:
        rpc.call(f"{INVENTORY}.line", "write", *quantities_by_line)
    cancel(rpc, by_lot)


def _is_kept_apart(rpc: Rpc, document: Document) -> bool:
    """Whether the bin does hold what the posting starts from, though the inventory expects otherwise."""
    held = quantities(rpc, document.location)
    return all(held.get(product, ("", 0.0))[1] == line.before for product, line in document.lines.items())
