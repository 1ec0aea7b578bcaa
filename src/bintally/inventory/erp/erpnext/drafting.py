"""Reconciliations are made, one for each posting: as drafts, which change no stock.

ERPNext keeps our key in a field of our own that is unique: of two drafts of a key, however late one of them arrives,
the second is not made. It drops rows that would change nothing, and makes no document without rows; either means that
stock has just moved.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bintally.errors import ErpUnavailableError
from bintally.inventory.erp.erpnext.records import (
    CANCELLED,
    DRAFT,
    RECONCILIATION,
    SUBMITTED,
    Item,
    Reconciliation,
    items,
    of_keys,
    reconciliation,
    reconciliation_called,
    warehouses,
)
from bintally.inventory.erp.erpnext.rest import Rest
from bintally.inventory.erp.erpnext.settings import ErpNextSettings
from bintally.inventory.erp.protocol import Draft, Posting
from bintally.inventory.erp.quantities import moved

NO_CHANGE: Final = "EmptyStockReconciliationItemsError"
_TAKEN: Final = ("UniqueValidationError", "DuplicateEntryError")


def drafted(rest: Rest, settings: ErpNextSettings, postings: Sequence[Posting]) -> dict[str, Draft]:
    """Drafts of postings, or why there is none; what is done already is left as it is."""
    found = of_keys(rest, settings, [posting.key for posting in postings])
    names: dict[str, list[str]] = {}
    for code, name in warehouses(rest, settings, sorted({posting.bin for posting in postings})):
        names.setdefault(code, []).append(name)
    known = items(rest, [line.product for posting in postings for line in posting.lines if line.product is not None])
    told = {}
    for posting in postings:
        before = _made_before(rest, posting.key, found.get(posting.key))
        why = _why_not(posting, names.get(posting.bin, []), known)
        if before is not None:
            told[posting.key] = before
        elif why is not None:
            told[posting.key] = Draft(posting.key, "", "refused", reason=why)
        else:
            told[posting.key] = _made(rest, settings, posting, names[posting.bin][0])
    return told


def as_draft(key: str, document: Reconciliation) -> Draft:
    """A document, as an answer to whoever asked for a key."""
    return Draft(key, document.name, "done" if document.docstatus == SUBMITTED else "draft", document.evidence())


def throw_away(rest: Rest, name: str) -> None:
    """Deletes a draft; what was submitted or is gone stays as it is.

    It is saved once more before: whoever is about to submit it as they saw it, however late, finds that it has changed.
    Frappe alone would not see to it that nobody submits what is just being deleted.
    """
    document = reconciliation_called(rest, name)
    if document is None or document.docstatus != DRAFT:
        return
    rest.update(RECONCILIATION, name, {"modified": document.modified})
    rest.delete(RECONCILIATION, name)


def _made_before(rest: Rest, key: str, row: Mapping[str, Any] | None) -> Draft | None:
    """What a posting has become already; None: nothing, or a draft, which is thrown away."""
    if row is None:
        return None
    if row["docstatus"] == DRAFT:
        throw_away(rest, row["name"])
        return None
    if row["docstatus"] == CANCELLED:
        return Draft(key, row["name"], "refused", reason=f"somebody has cancelled {row['name']} in ERPNext")
    document = reconciliation_called(rest, row["name"])
    return None if document is None else as_draft(key, document)


def _made(rest: Rest, settings: ErpNextSettings, posting: Posting, warehouse: str, *, tries: int = 1) -> Draft:
    rows = [{"item_code": line.product, "warehouse": warehouse, "qty": line.after} for line in posting.lines]
    document = {"company": settings.company, "purpose": RECONCILIATION, settings.key_field: posting.key, "items": rows}
    reply = rest.create(RECONCILIATION, document)
    if reply.error == NO_CHANGE:
        return Draft(posting.key, "", reason="its stock moved: what is to be there is there already")
    if reply.error in _TAKEN:  # one that we gave up has arrived meanwhile
        if not tries:
            raise ErpUnavailableError(f"ERPNext has another draft of {posting.key} each time that we make one.")
        before = _made_before(rest, posting.key, of_keys(rest, settings, [posting.key]).get(posting.key))
        return before or _made(rest, settings, posting, warehouse, tries=tries - 1)
    if reply.error:
        return Draft(posting.key, "", "refused", reason=reply.words)
    return _checked(rest, posting, reconciliation(reply.document))


def _checked(rest: Rest, posting: Posting, document: Reconciliation) -> Draft:
    """The draft, if it starts from what the posting starts from; else it is deleted, and stale."""
    rows = {row.item: row for row in document.rows}
    stale = moved(posting.lines, {item: row.before for item, row in rows.items()})
    if stale is None and all(line.product in rows for line in posting.lines):
        return as_draft(posting.key, document)
    throw_away(rest, document.name)
    return Draft(posting.key, document.name, reason=stale or "its stock moved: some of it is there already")


def _why_not(posting: Posting, names: Sequence[str], known: Mapping[str, Item]) -> str | None:
    if len(names) != 1:
        return f"ERPNext has {'several warehouses' if names else 'no warehouse'} of the code {posting.bin}"
    for line in posting.lines:
        if line.product is None:
            return "ERPNext keeps stock by item, and this corrects all that is in the bin together"
        if line.product not in known:
            return f"ERPNext has no item {line.product}"
        if known[line.product].why_not:
            return f"ERPNext's item {line.product} {known[line.product].why_not}"
    return None
