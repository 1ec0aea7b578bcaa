"""Counts are applied, each at most once, and what came of it is looked up: Odoo's answer does not tell.

Odoo itself applies none of which stock has moved since it was counted (`is_outdated`), which is the last look of all,
in the same transaction as the moves. What it has applied has no count any more, and can't be applied again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bintally.errors import ErpAccessError, ErpRefusedError
from bintally.inventory.erp.odoo import records
from bintally.inventory.erp.odoo.drafting import WIZARD, Counts, of_keys
from bintally.inventory.erp.odoo.rpc import Rpc
from bintally.inventory.erp.protocol import Answer, Draft


def applied(rpc: Rpc, drafts: Sequence[Draft], *, uid: int, since: datetime) -> dict[str, Answer]:
    """What became of drafts."""
    keys = [draft.key for draft in drafts]
    before = records.moves(rpc, keys, since=since)
    counts = {each.key: each for each in of_keys(rpc, keys, uid)}
    reasons: dict[str, tuple[str, str]] = {}
    for draft in drafts:
        if draft.key not in before:
            why = _why_not(draft, counts.get(draft.key), uid)
            reasons[draft.key] = why or _apply(rpc, counts[draft.key])
    after = before | records.moves(rpc, [key for key in keys if key not in before], since=since)
    return {draft.key: _answer(draft, after, reasons) for draft in drafts}


def done(key: str, moves: Sequence[Mapping[str, Any]]) -> Draft:
    """A posting that was carried out, with what moved as evidence."""
    return Draft(key, key, "done", _evidence(moves))


def _why_not(draft: Draft, counts: Counts | None, uid: int) -> tuple[str, str] | None:
    """Outcome and reason where there is nothing to apply; None: there is."""
    if counts is None:
        is_stale = draft.fate == "draft" and draft.reason
        return "stale" if is_stale else "refused", draft.reason or "Odoo has no such count any more"
    if not counts.is_ours(uid) or (draft.answer and draft.answer != counts.evidence()):
        return "stale", "somebody has counted, applied or cleared it in Odoo meanwhile"
    if any(quant.is_outdated for quant in counts.quants):
        return "stale", _outdated(counts)
    return None


def _apply(rpc: Rpc, counts: Counts) -> tuple[str, str]:
    """Applies counts; outcome and reason in case that nothing has moved."""
    try:
        told = rpc.call(WIZARD, "action_apply", [counts.id])
    except ErpAccessError:
        raise
    except ErpRefusedError as error:
        return "refused", error.message
    if isinstance(told, dict) and told.get("res_model") == "stock.inventory.conflict":
        return "stale", "its stock moved while it was applied"
    if isinstance(told, dict):
        return "refused", f"Odoo asks back: {told.get('name') or told.get('res_model')}"
    return "stale", "somebody has counted, applied or cleared it in Odoo meanwhile"


def _outdated(counts: Counts) -> str:
    told = [
        f"{each.quantity:g} of product {each.product} there, {each.expected:g} expected"
        for each in counts.quants
        if each.is_outdated
    ]
    return f"its stock moved: {'; '.join(told)}"


def _answer(draft: Draft, moves: Mapping[str, Sequence[Any]], reasons: Mapping[str, tuple[str, str]]) -> Answer:
    if draft.key in moves:
        return Answer(draft.key, "done", draft.key, "", _evidence(moves[draft.key]))
    outcome, reason = reasons[draft.key]
    if outcome == "stale":
        return Answer(draft.key, "stale", draft.key, reason, draft.answer)
    return Answer(draft.key, "refused", draft.key, reason, draft.answer)


def _evidence(moves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    told = ("id", "reference", "date", "product_id", "product_uom_qty", "location_id", "location_dest_id")
    return {"moves": [{name: move[name] for name in told} for move in moves]}
