"""Inventories are confirmed, each at most once.

Tryton moves what lies between the expected and the counted quantity. What is picked between our look into the bin and
that move is therefore not undone, but reckoned in. An inventory is confirmed only as we saw it (`_timestamp`), so that
two who do it at once, or one who cancels it meanwhile, don't both succeed.
"""

from collections.abc import Mapping, Sequence

from bintally.errors import ErpAccessError, ErpRefusedError
from bintally.inventory.erp.protocol import Answer, Draft
from bintally.inventory.erp.tryton.drafting import id_of, stamps
from bintally.inventory.erp.tryton.records import INVENTORY, Inventory, inventories, quantities
from bintally.inventory.erp.tryton.rpc import Rpc


def confirmed(rpc: Rpc, drafts: Sequence[Draft]) -> dict[str, Answer]:
    """What became of drafts. What was said is looked up afterwards, not guessed from the call."""
    ids = {draft.key: id_of(draft) for draft in drafts}
    before = inventories(rpc, filter(None, ids.values()))
    moved = {id_: why for id_, inventory in before.items() if (why := _moved(rpc, inventory)) is not None}
    fit = [each for id_, each in before.items() if each.state == "draft" and id_ not in moved]
    reasons = _confirm(rpc, fit)
    # What seems to have moved may have been moved by this very inventory, which somebody else was just confirming.
    after = before | inventories(rpc, [each.id for each in before.values() if each.state == "draft"])
    return {draft.key: _answer(draft, after.get(ids[draft.key] or 0), moved, reasons) for draft in drafts}


def _moved(rpc: Rpc, inventory: Inventory) -> str | None:
    """How the bin's stock differs from what a draft expects; None: it does not."""
    if inventory.state != "draft":
        return None
    if not inventory.is_filled_in:
        return "its stock moved before the inventory was filled in"
    held = quantities(rpc, inventory.location)
    for line in inventory.lines:
        quantity = held.get(line.product, ("", 0.0))[1]
        if quantity != line.expected:
            return f"its stock moved: {quantity:g} of {line.sku} there, {line.expected:g} expected"
    return None


def _confirm(rpc: Rpc, fit: Sequence[Inventory]) -> dict[int, str]:
    """Confirms all at once, or each alone where one is refused; reasons, by id, of those that are."""
    if not fit:
        return {}
    try:
        rpc.call(INVENTORY, "confirm", [each.id for each in fit], _timestamp=stamps(fit))
    except ErpAccessError:
        raise
    except ErpRefusedError as error:
        if len(fit) == 1:
            return {fit[0].id: error.message}
        return {id_: why for each in fit for id_, why in _confirm(rpc, [each]).items()}
    return {}


def _answer(draft: Draft, inventory: Inventory | None, moved: Mapping[int, str], reasons: Mapping[int, str]) -> Answer:
    if inventory is None:
        return Answer(draft.key, "refused", draft.reference, draft.reason or "Tryton has no such inventory any more")
    evidence = inventory.evidence()
    if inventory.state == "done":
        return Answer(draft.key, "done", draft.reference, "", evidence)
    if inventory.state == "cancelled":
        return Answer(draft.key, "refused", draft.reference, "its inventory was cancelled", evidence)
    if inventory.id in moved:
        return Answer(draft.key, "stale", draft.reference, moved[inventory.id], evidence)
    reason = reasons.get(inventory.id, "Tryton left its inventory a draft")
    return Answer(draft.key, "refused", draft.reference, reason, evidence)
