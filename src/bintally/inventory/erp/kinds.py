"""Kinds of stock systems: ours, and those that other packages bring along.

A package brings one by an entry point of the group `bintally.connectors`, whose name is the kind's and whose value is a
`ConnectorKind`:

```toml
[project.entry-points."bintally.connectors"]
acme = "acme_wms.bintally:KIND"
```
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import msgspec

from bintally.config import Config
from bintally.errors import UsageError, did_you_mean
from bintally.inventory.erp.protocol import Connector

GROUP: Final = "bintally.connectors"

_OURS: Final = ("tryton", "odoo", "erpnext", "folder", "webhook")


class ConnectorKind(msgspec.Struct, frozen=True):
    """How connectors of a kind are made: from settings, checked by `settings`, and a secret (None: nobody gave one).

    `takes_secret` False: it never needs one.
    """

    settings: type[Config]
    open: Callable[[Any, str | None], Connector]
    takes_secret: bool = True


def kinds() -> tuple[str, ...]:
    """The names of all kinds that are installed."""
    return tuple(dict.fromkeys((*_OURS, *sorted(entry_points(group=GROUP).names))))


def kind_of(name: str) -> ConnectorKind:
    """The kind called `name`.

    Raises:
        UsageError: there is none.
    """
    if name in _OURS:
        found: ConnectorKind = import_module(f"bintally.inventory.erp.{name}").KIND
        return found
    brought = entry_points(group=GROUP, name=name)
    if not brought:
        raise UsageError(f"There is no stock system of the kind {name!r}.", hint=did_you_mean(name, kinds()))
    loaded: ConnectorKind = next(iter(brought)).load()
    return loaded
