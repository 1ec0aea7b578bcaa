"""Drafts are submitted, each at most once, as of the moment when they were made.

A reconciliation says how many there are at its posting time, whatever was there before. Submitted as of now, it would
undo a pick between our look and itself. As of when it was drafted, when what was there was what the correction starts
from, ERPNext reckons in what was picked since.

It is submitted by a PUT of `docstatus`, which is done when it answers (Desk's own submit goes to the background where a
document has more than 100 rows), and only as we saw it (`modified`): who changes or submits it meanwhile comes first.
"""

from collections.abc import Sequence
from typing import Final

from bintally.inventory.erp.erpnext.drafting import NO_CHANGE
from bintally.inventory.erp.erpnext.records import (
    DRAFT,
    NOT_THERE,
    RECONCILIATION,
    SUBMITTED,
    Reconciliation,
    held,
    reconciliation,
    reconciliation_called,
)
from bintally.inventory.erp.erpnext.rest import Reply, Rest
from bintally.inventory.erp.protocol import Answer, Draft

_CHANGED: Final = ("TimestampMismatchError", "DocstatusTransitionError", "UpdateAfterSubmitError", NOT_THERE)
_MOVED: Final = (NO_CHANGE, "NegativeStockError", "BackDatedStockTransaction")


def submitted(rest: Rest, drafts: Sequence[Draft]) -> dict[str, Answer]:
    """What became of drafts."""
    return {draft.key: _submitted(rest, draft) for draft in drafts}


def _submitted(rest: Rest, draft: Draft) -> Answer:
    document = reconciliation_called(rest, draft.reference)
    if document is None or document.docstatus != DRAFT:
        return _ended(draft, document)
    stale = _moved(rest, document)
    if stale is None:
        reply = _submit(rest, document)
        if not reply.error:
            return _ended(draft, reconciliation(reply.document))
        if reply.error not in (*_CHANGED, *_MOVED):
            return Answer(draft.key, "refused", document.name, reply.words, document.evidence())
        stale = f"its stock moved: {reply.words}" if reply.error in _MOVED else None
    after = reconciliation_called(rest, document.name)
    if stale is None or after is None or after.docstatus != DRAFT:  # somebody was at it, and that may have moved stock
        return _ended(draft, after)
    return Answer(draft.key, "stale", document.name, stale, document.evidence())


def _submit(rest: Rest, document: Reconciliation) -> Reply:
    values = {
        "docstatus": SUBMITTED,
        "set_posting_time": 1,
        "posting_date": document.posting_date,
        "posting_time": document.posting_time,
        "modified": document.modified,
    }
    return rest.update(RECONCILIATION, document.name, values)


def _ended(draft: Draft, document: Reconciliation | None) -> Answer:
    """What is said of a document that we can't submit, or have submitted."""
    if document is None:
        is_stale = draft.fate == "draft" and draft.reason
        reason = draft.reason or "ERPNext has no such document any more"
        return Answer(draft.key, "stale" if is_stale else "refused", draft.reference, reason)
    evidence = document.evidence()
    if document.docstatus == SUBMITTED:
        return Answer(draft.key, "done", document.name, "", evidence)
    if document.docstatus == DRAFT:
        return Answer(draft.key, "stale", document.name, "somebody has changed it in ERPNext meanwhile", evidence)
    return Answer(draft.key, "refused", document.name, "somebody has cancelled it in ERPNext", evidence)


def _moved(rest: Rest, document: Reconciliation) -> str | None:
    """How the bin's stock differs from what the draft starts from; None: it does not."""
    there = held(rest, sorted({row.warehouse for row in document.rows}))
    for row in document.rows:
        quantity = there.get(row.warehouse, {}).get(row.item, 0.0)
        if quantity != row.before:
            return f"its stock moved: {quantity:g} of {row.item} there, {row.before:g} expected"
    return None
