"""Which inventory a posting became: its key is the name of a file that is attached to it.

An inventory of Tryton 8.2 has no field that is free for a key: its number is Tryton's own, and nothing else of it is
text. A file can be attached by whoever may write the inventory, and holds the whole posting besides, for people to
open. Files are found by name only together with the records they hang on: the inventories of a year or so are gone
through, a page at a time.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bintally.inventory.erp.protocol import Posting
from bintally.inventory.erp.tryton.records import INVENTORY, PAGE
from bintally.inventory.erp.tryton.rpc import Rpc


def attach(rpc: Rpc, inventories: Mapping[int, Posting]) -> None:
    """Attaches postings to their inventories, by the inventories' ids: from now on they are found."""
    rpc.call("ir.attachment", "create", [_file(id_, posting) for id_, posting in inventories.items()])


def found(rpc: Rpc, keys: Sequence[str], *, since: datetime) -> dict[str, list[tuple[int, str]]]:
    """Ids and states of the inventories of keys, those that were cancelled left out; each key's lowest id first.

    `since`: when the oldest of them was made, at most.
    """
    names = {_name(key): key for key in keys}
    matches: dict[str, list[tuple[int, str]]] = {}
    if not names:
        return matches
    for states in _newest(rpc, since):
        domain = [["resource", "in", [f"{INVENTORY},{id_}" for id_ in states]], ["name", "in", sorted(names)]]
        for row in rpc.call("ir.attachment", "search_read", domain, 0, None, None, ["name", "resource"]):
            id_ = int(row["resource"].split(",")[1])
            matches.setdefault(names[row["name"]], []).append((id_, states[id_]))
        if all(any(state == "done" for _, state in matches.get(key, ())) for key in keys):
            break
    return {key: sorted(set(each)) for key, each in matches.items()}


def chosen(each: Sequence[tuple[int, str]]) -> int:
    """Of several inventories of a key, the one that counts: the first that is done, else the newest draft."""
    done = [id_ for id_, state in each if state == "done"]
    return done[0] if done else each[-1][0]


def _newest(rpc: Rpc, since: datetime) -> Iterator[dict[int, str]]:
    """Inventories that were not cancelled: their states by id, a page at a time, the newest first."""
    domain: list[Any] = [["state", "!=", "cancelled"], ["create_date", ">=", _moment(since)]]
    last: list[Any] = []
    while rows := rpc.call(INVENTORY, "search_read", domain + last, 0, PAGE, [["id", "DESC"]], ["state"]):
        yield {row["id"]: row["state"] for row in rows}
        last = [["id", "<", rows[-1]["id"]]]


def _moment(at: datetime) -> dict[str, Any]:
    """As Tryton's JSON has it, in UTC."""
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **{part: getattr(at.astimezone(UTC), part) for part in parts}}


def _file(id_: int, posting: Posting) -> dict[str, Any]:
    approved = f", approved by {posting.approved_by}" if posting.approved_by else ""
    body = base64.b64encode(msgspec.json.format(msgspec.json.encode(posting))).decode()
    return {
        "resource": f"{INVENTORY},{id_}",
        "name": _name(posting.key),
        "description": f"Counted {posting.counted_at:%Y-%m-%d %H:%M} UTC, by {posting.by}{approved}\n{posting.note}",
        "data": {"__class__": "bytes", "base64": body},
    }


def _name(key: str) -> str:
    return f"{key}.json"
