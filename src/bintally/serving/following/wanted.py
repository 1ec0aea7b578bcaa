"""Which version an alias points to, as a service sees it, and keeps it."""

from pathlib import Path
from typing import Any, Final, cast

import msgspec
from sqlalchemy import Connection, Select, func, select

from bintally.registry import schema
from bintally.registry.aliases import CHALLENGER, Kind
from bintally.registry.place import Registry

_RETIRED: Final = ("Retired", "Forgotten", "Rejected")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A version that an alias was pointed to by `change` (of `kind`), and where its bundle is."""

    change: int
    kind: Kind
    version_id: int
    name: str  # MODEL/NUMBER
    bundle_sha256: str
    folder: str

    @property
    def bundle(self) -> Path:
        """The folder of its bundle."""
        return Path(self.folder)


class Seen(msgspec.Struct, frozen=True):
    """What the aliases say. `champion` is what the followed alias points to; `changes`: the newest ones by alias."""

    champion: Wanted | None
    challenger: Wanted | None
    changes: dict[str, int]


def newest_changes(connection: Connection, model: str, alias: str) -> dict[str, int]:
    """The number of the last change of `alias`, and of the challenger's: one look at an index."""
    change = schema.AliasChange
    query = (
        select(change.alias, func.max(change.id))
        .join_from(change, schema.Model, schema.Model.id == change.model_id)
        .where(schema.Model.name == model, change.alias.in_((alias, CHALLENGER)))
        .group_by(change.alias)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def seen(connection: Connection, registry: Registry, alias: str, changes: dict[str, int]) -> Seen:
    """What `changes` pointed their aliases to."""
    change = schema.AliasChange
    rows = connection.execute(_versions().where(change.id.in_(changes.values())))
    found = {row.alias: _wanted(row, registry) for row in rows}
    return Seen(found.get(alias), found.get(CHALLENGER), changes)


def earlier(connection: Connection, registry: Registry, model: str, alias: str) -> list[Wanted]:
    """Versions that `alias` pointed to once, the last ones first; without those that nobody may serve any more."""
    change, state = schema.AliasChange, schema.ModelState
    last = select(func.max(state.id)).group_by(state.version_id)
    out = select(state.version_id).where(state.id.in_(last), state.state.in_(_RETIRED))
    query = _versions().where(schema.Model.name == model, change.alias == alias, change.version_id.not_in(out))
    found: dict[int, Wanted] = {}
    for row in connection.execute(query.order_by(change.id.desc())):
        found.setdefault(row.version_id, _wanted(row, registry))
    return list(found.values())


def _versions() -> Select[Any]:
    """Changes with the versions they pointed to."""
    change, version = schema.AliasChange, schema.ModelVersion
    columns = (change.id, change.alias, change.kind, change.version_id, version.number, version.bundle_sha256)
    query: Any = select(*columns, schema.Model.name.label("model"))
    joined = query.join_from(change, version, version.id == change.version_id)
    return cast("Select[Any]", joined.join(schema.Model, schema.Model.id == version.model_id))


def _wanted(row: Any, registry: Registry) -> Wanted:
    return Wanted(
        change=row.id,
        kind=row.kind,
        version_id=row.version_id,
        name=f"{row.model}/{row.number}",
        bundle_sha256=row.bundle_sha256,
        folder=str(registry.bundle_of(row.bundle_sha256).absolute()),
    )
