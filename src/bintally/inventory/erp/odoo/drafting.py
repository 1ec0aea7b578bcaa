"""Counts are written into Odoo's Physical Inventory, together with what will apply them under our key.

A quant has one count at a time, and no field for a key. What has one is the wizard behind its button Apply All
(`stock.inventory.adjustment.name`): its name becomes the reference of the stock moves. So a draft is such a wizard,
with the quants, whose counts are written by the very call that makes it: either both are there or neither is.

Applying a quant that has no count, as a second `action_apply_inventory` would, empties it (odoo/odoo#119195). The
wizard leaves such quants out (since 20 April 2023 in Odoo 16), which is why nothing else is ever called here.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from bintally.errors import ErpAccessError, ErpRefusedError
from bintally.inventory.erp.coded import Document
from bintally.inventory.erp.odoo import records
from bintally.inventory.erp.odoo.documents import mine, why_not_counted
from bintally.inventory.erp.odoo.records import Quant
from bintally.inventory.erp.odoo.rpc import Rpc
from bintally.inventory.erp.protocol import Draft
from bintally.inventory.erp.quantities import moved

WIZARD: Final = "stock.inventory.adjustment.name"

_CREATE, _UPDATE, _LINK, _SET = 0, 1, 4, 6  # commands of a Many2many field (odoo.fields.Command)
_NO_COUNT: Final = {"inventory_quantity": 0, "inventory_quantity_set": False, "user_id": False}


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What will be applied together, under a key: a wizard, and those of its quants that exist."""

    id: int
    key: str
    quants: tuple[Quant, ...]

    def is_ours(self, uid: int) -> bool:
        """Whether each quant still has a count, and it is ours."""
        return bool(self.quants) and all(
            each.is_set and each.counter is not None and each.counter[0] == uid for each in self.quants
        )

    def evidence(self) -> dict[str, Any]:
        """What Odoo was told, by product id."""
        lines = [
            {"quant": each.id, "product": each.product, "expected": each.expected, "counted": each.counted}
            for each in sorted(self.quants, key=lambda each: each.id)
        ]
        return {"lines": lines}

    def as_draft(self) -> Draft:
        """As an answer to whoever asked for the key, which is the reference in Odoo too."""
        return Draft(self.key, self.key, "draft", self.evidence())


def counts(rpc: Rpc, domain: Sequence[Any], uid: int) -> list[Counts]:
    """Our user's wizards that have quants, the oldest first. Those of others are theirs."""
    ours = [["create_uid", "=", uid], *domain]
    fields = ["inventory_adjustment_name", "quant_ids"]
    rows = rpc.call(WIZARD, "search_read", domain=ours, fields=fields, order="id")
    ids = sorted(set(chain.from_iterable(row["quant_ids"] for row in rows)))
    known = {quant.id: quant for quant in records.quants(rpc, [["id", "in", ids]])} if ids else {}
    return [
        Counts(
            id=row["id"],
            key=row["inventory_adjustment_name"] or "",
            quants=tuple(known[id_] for id_ in row["quant_ids"] if id_ in known),
        )
        for row in rows
        if row["quant_ids"]
    ]


def of_keys(rpc: Rpc, keys: Sequence[str], uid: int) -> list[Counts]:
    """Counts that carry keys, the oldest first."""
    return counts(rpc, [["inventory_adjustment_name", "in", list(keys)]], uid)


def disarm(rpc: Rpc, drafts: Iterable[Counts], uid: int) -> None:
    """Takes counts of ours back, and sees to it that their wizards apply nothing: in one call each, so both or neither.

    An `action_apply` that is under way writes the same quants: one of the two is made to start over, and finds what the
    other has done. Nobody may delete wizards; Odoo does, after an hour or so.
    """
    for each in drafts:
        ours = [quant.id for quant in each.quants if quant.is_set and quant.counter and quant.counter[0] == uid]
        commands: list[list[Any]] = [[_UPDATE, id_, _NO_COUNT] for id_ in ours]
        values = {"inventory_adjustment_name": "", "quant_ids": [*commands, [_SET, 0, []]]}
        rpc.call(WIZARD, "write", [each.id], vals=values)


def drafted(rpc: Rpc, wanted: Sequence[Document], uid: int) -> dict[str, Draft]:
    """Drafts of `wanted`, or why there is none. What else of ours lies on the same quants is taken back first."""
    if not wanted:
        return {}
    around = _around(rpc, wanted)
    keys = [document.posting.key for document in wanted]
    same = ["|", ["inventory_adjustment_name", "in", keys], ["quant_ids", "in", [quant.id for quant in around]]]
    disarm(rpc, counts(rpc, same, uid), uid)
    around = _around(rpc, wanted)
    told, fit = {}, []
    for document in wanted:
        draft = _why_none(document, mine(document, around), uid)
        if draft is None:
            fit.append(document)
        else:
            told[draft.key] = draft
    made, reasons = _made(rpc, fit, around, uid)
    told |= {key: Draft(key, "", "refused", reason=reason) for key, reason in reasons.items()}
    return told | _checked(rpc, made, uid)


def _around(rpc: Rpc, wanted: Sequence[Document]) -> list[Quant]:
    locations = sorted({document.location for document in wanted})
    products = sorted(set(chain.from_iterable(document.lines for document in wanted)))
    return records.quants(rpc, [["location_id", "in", locations], ["product_id", "in", products]])


def _why_none(document: Document, quants: Sequence[Quant], uid: int) -> Draft | None:
    """A draft that is refused or stale from the start; None: it can be made."""
    key = document.posting.key
    why = why_not_counted(document, quants, uid)
    if why is not None:
        return Draft(key, "", "refused", reason=why)
    there = {str(document.lines[quant.product].product): quant.quantity for quant in quants if quant.is_plain}
    stale = moved(document.posting.lines, there)
    return None if stale is None else Draft(key, key, reason=stale)


def _made(
    rpc: Rpc, fit: Sequence[Document], around: Sequence[Quant], uid: int
) -> tuple[dict[int, Document], dict[str, str]]:
    """Wizards with their counts, by id: all at once, or each alone where one is refused; and reasons, by key."""
    if not fit:
        return {}, {}
    try:
        ids = rpc.create(WIZARD, [_values(document, mine(document, around), uid) for document in fit])
    except ErpAccessError:
        raise
    except ErpRefusedError as error:
        if len(fit) == 1:
            return {}, {fit[0].posting.key: error.message}
        alone = [_made(rpc, [each], around, uid) for each in fit]
        made = dict(chain.from_iterable(some.items() for some, _ in alone))
        return made, dict(chain.from_iterable(reasons.items() for _, reasons in alone))
    return dict(zip(ids, fit, strict=True)), {}


def _values(document: Document, quants: Sequence[Quant], uid: int) -> dict[str, Any]:
    there = {quant.product: quant.id for quant in quants if quant.is_plain}
    commands: list[list[Any]] = []
    for product, line in document.lines.items():
        if product in there:
            count = {"inventory_quantity": line.after, "inventory_quantity_set": True, "user_id": uid}
            commands += [[_UPDATE, there[product], count], [_LINK, there[product], 0]]
        else:
            place = {"product_id": product, "location_id": document.location}
            commands.append([_CREATE, 0, {**place, "inventory_quantity": line.after}])
    return {"inventory_adjustment_name": document.posting.key, "quant_ids": commands}


def _checked(rpc: Rpc, made: Mapping[int, Document], uid: int) -> dict[str, Draft]:
    """Drafts that count from what the posting starts from; others are taken back, since stock has just moved."""
    told = {}
    for each in counts(rpc, [["id", "in", sorted(made)]], uid) if made else []:
        posting, lines = made[each.id].posting, made[each.id].lines
        found = {str(lines[quant.product].product): quant.expected for quant in each.quants}
        stale = moved(posting.lines, found)
        if stale is not None:
            disarm(rpc, [each], uid)
        told[each.key] = each.as_draft() if stale is None else Draft(each.key, each.key, reason=stale)
    return told
