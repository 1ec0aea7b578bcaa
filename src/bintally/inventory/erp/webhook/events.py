"""Postings as events after CloudEvents 1.0, in JSON. The same posting is the same event, byte for byte."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import msgspec

from bintally.inventory.erp.protocol import Posting

CONTENT_TYPE: Final = "application/cloudevents+json"

ADJUSTED: Final = "bintally.stock.adjusted.v1"
PING: Final = "bintally.ping.v1"

_VERSION: Final = "1.0"


def adjusted(posting: Posting) -> dict[str, Any]:
    """The event of a posting: its id is the key, its source the site, its subject the bin, its time the count's."""
    data = msgspec.to_builtins(posting)
    data["lines"] = [{**msgspec.to_builtins(line), "change": line.change} for line in posting.lines]
    return {
        "specversion": _VERSION,
        "id": posting.key,
        "source": f"/bintally/sites/{quote(posting.site, safe='')}",
        "type": ADJUSTED,
        "subject": posting.bin,
        "time": data["counted_at"],
        "datacontenttype": "application/json",
        "data": data,
    }


def ping() -> dict[str, Any]:
    """An event that asks for nothing but an answer."""
    return {"specversion": _VERSION, "id": f"ping-{uuid4().hex}", "source": "/bintally", "type": PING}


def body_of(event: Mapping[str, Any]) -> bytes:
    """An event as it is sent."""
    return msgspec.json.encode(event)
