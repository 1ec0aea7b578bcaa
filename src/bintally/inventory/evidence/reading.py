"""How rows of the ledger become facts."""

from decimal import Decimal
from functools import cached_property
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, select

from bintally.inventory.evidence.facts import Named
from bintally.registry import schema as registry

_T = TypeVar("_T", bound=msgspec.Struct)


def fact(kind: type[_T], row: Any, **more: Any) -> _T:
    """A row as a fact: columns by the names of its fields, and `more`."""
    held = row._mapping
    columns = {name: held[name] for name in kind.__struct_fields__ if name in held and name not in more}
    return kind(**columns, **more)


def parsed(text: str | None) -> Any:
    """What was kept as JSON."""
    return None if text is None else msgspec.json.decode(text)


def money(value: Decimal | None) -> str | None:
    """An amount, to the ten-thousandth as it is kept."""
    return None if value is None else f"{value:.4f}"


def named(key: int | None, name: str | None) -> Named | None:
    """Somebody or something, if there is one."""
    return None if key is None or name is None else Named(key, name)


class Versions:
    """Versions that the registry in this database has of models; read when they are first asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, model_sha256: str) -> tuple[str, ...]:
        """Those of a model, such as "bintally/3"."""
        return self._known.get(model_sha256, ())

    @cached_property
    def _known(self) -> dict[str, tuple[str, ...]]:
        version, model = registry.ModelVersion, registry.Model
        query = select(model.name, version.number, version.card).join(model, model.id == version.model_id)
        known: dict[str, tuple[str, ...]] = {}
        for row in self._connection.execute(query.order_by(model.name, version.number)):
            sha256 = str(msgspec.json.decode(row.card).get("model_sha256"))
            known[sha256] = (*known.get(sha256, ()), f"{row.name}/{row.number}")
        return known
