"""Aliases: which version is the champion, since when, and why. An alias points to where its last change says."""

from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Row, Select, insert, select
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import ConflictError
from bintally.registry import schema
from bintally.registry.versions import Version, by_id, locked

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

Kind: TypeAlias = Literal["promote", "force", "rollback", "set", "clear"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an alias. `version`, `before`: the names of the versions it pointed to from then on, and before."""

    id: int
    alias: str
    version_id: int | None
    version: str | None
    before_id: int | None
    before: str | None
    kind: Kind
    gate_run_id: int | None
    rollback_of: int | None
    at: datetime
    by: str
    reason: str


def alias_target(connection: Connection, model: str, alias: str, *, at: datetime | None = None) -> int | None:
    """The id of the version that `alias` points to (pointed to `at` a moment); None: to none."""
    change = schema.AliasChange
    query = _of(select(change.version_id), model, alias).order_by(change.id.desc()).limit(1)
    if at is not None:
        query = query.where(change.at <= at)
    return connection.execute(query).scalar_one_or_none()


def live_at(connection: Connection, model: str, moment: datetime) -> Version | None:
    """Which version was the champion at a moment; None: none was."""
    target = alias_target(connection, model, CHAMPION, at=moment)
    return None if target is None else by_id(connection, target)


def pointing_to(connection: Connection, version: Version) -> list[str]:
    """The aliases that point to a version now."""
    change = schema.AliasChange
    names = connection.execute(
        select(change.alias).where(change.version_id == version.id).distinct().order_by(change.alias)
    ).scalars()
    return [name for name in names if alias_target(connection, version.model, name) == version.id]


def history(connection: Connection, model: str, alias: str = CHAMPION) -> list[Change]:
    """All changes of an alias, the first one first: which version was live when."""
    change = schema.AliasChange
    to, before = aliased(schema.ModelVersion), aliased(schema.ModelVersion)
    query = select(change.__table__, to.number.label("to_number"), before.number.label("before_number"))
    query = _of(query, model, alias).order_by(change.id)
    query = query.outerjoin(to, to.id == change.version_id).outerjoin(before, before.id == change.before_id)
    return [_change(row, model) for row in connection.execute(query)]


def _of(query: Select[Any], model: str, alias: str) -> Select[Any]:
    """Of one model's alias alone."""
    change = schema.AliasChange
    joined = query.join_from(change, schema.Model, schema.Model.id == change.model_id)
    return joined.where(schema.Model.name == model, change.alias == alias)


def _change(row: Row[Any], model: str) -> Change:
    names = set(Change.__struct_fields__) - {"version", "before"}
    return Change(
        **{name: getattr(row, name) for name in names},
        version=None if row.to_number is None else f"{model}/{row.to_number}",
        before=None if row.before_number is None else f"{model}/{row.before_number}",
    )


def point(
    connection: Connection,
    model: str,
    alias: str,
    version_id: int | None,
    *,
    kind: Kind,
    by: str,
    reason: str,
    expect: int | None,
    gate_run_id: int | None = None,
    rollback_of: int | None = None,
) -> int:
    """Points an alias to a version, in the caller's transaction; returns the change's id.

    `expect`: what it points to now, as whoever decided this has seen it. A challenger that becomes the champion is the
    challenger no more.

    Raises:
        UsageError: there is no such model.
        ConflictError: it points elsewhere by now.
    """
    model_id = locked(connection, model)
    before_id = alias_target(connection, model, alias)
    if before_id != expect:
        told = "nothing" if before_id is None else by_id(connection, before_id).name
        raise ConflictError(
            f"Meanwhile {alias} was pointed to {told}.", hint="Look at `bintally models history`, and decide again."
        )
    values = {
        "model_id": model_id,
        "alias": alias,
        "version_id": version_id,
        "before_id": before_id,
        "kind": kind,
        "gate_run_id": gate_run_id,
        "rollback_of": rollback_of,
        "at": _next_moment(connection, model, alias),
        "by": by,
        "reason": reason,
    }
    change_id: int = connection.execute(
        insert(schema.AliasChange).values(**values).returning(schema.AliasChange.id)
    ).scalar_one()
    target = None if version_id is None else by_id(connection, version_id).name
    body = {"alias": alias, "to": target, "gate_run": gate_run_id, "reason": reason, "change": change_id}
    audit.append(connection, actor=by, action=f"model.{kind}", subject=f"model:{target or model}", body=body)
    if alias == CHAMPION and version_id is not None and alias_target(connection, model, CHALLENGER) == version_id:
        why = f"it became the {CHAMPION}"
        point(connection, model, CHALLENGER, None, kind="clear", by=by, reason=why, expect=version_id)
    return change_id


def _next_moment(connection: Connection, model: str, alias: str) -> datetime:
    """Now, or if another machine's clock was ahead, when the alias was last changed: moments never go back."""
    change = schema.AliasChange
    query = _of(select(change.at), model, alias).order_by(change.id.desc()).limit(1)
    last: datetime | None = connection.execute(query).scalar_one_or_none()
    return now() if last is None else max(now(), last)
