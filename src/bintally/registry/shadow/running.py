"""A shadow's life: it starts when the alias `challenger` is pointed to a version, and ends when that changes.

It also ends when the challenger becomes the champion: there is nothing left to compare it with.
"""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select
from sqlalchemy.orm import aliased

from bintally.database import audit
from bintally.errors import ConflictError, UsageError
from bintally.registry import schema
from bintally.registry.acting import actor
from bintally.registry.aliases import CHALLENGER, CHAMPION, alias_target, point
from bintally.registry.bundles import is_whole
from bintally.registry.place import Registry
from bintally.registry.versions import MODEL, PENDING, Version, by_id, locked, version_of

PERCENT: Final = 10.0
"""Of the live photos, where nobody said how many."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A shadow that is under way. `champion`: whoever it is now; `percent`: of the live photos."""

    challenger: Version
    champion: Version
    percent: float
    since: datetime
    by: str
    reason: str
    change_id: int


def start(
    registry: Registry, version: str, *, model: str | None = None, percent: float = PERCENT, by: str, reason: str = ""
) -> Running:
    """Has services count `percent` of their photos with `version`, too. Started again, it goes on with another share.

    Raises:
        UsageError: no such version, it can't be used, it is the champion or there is none; or no share.
        ConflictError: another shadow of the model is under way.
    """
    by = actor(by)
    if not 0 < percent <= 100:
        raise UsageError(f"{percent:g}% is no share of the photos.", hint="Say more than 0, and 100 at most.")
    with registry.write() as connection:
        name = version_of(connection, version, model=model).model
        locked(connection, name)
        held = version_of(connection, version, model=model)
        champion = _champion(connection, held)
        _must_be_usable(registry, held)
        before = under_way(connection, name)
        if before is not None and before.challenger.id != held.id:
            raise ConflictError(
                f"{before.challenger.name} is in the shadow of {before.champion.name} already.",
                hint="`bintally models shadow stop` ends that first.",
            )
        change_id = point(
            connection, name, CHALLENGER, held.id, kind="set", by=by, reason=reason or "a shadow was started",
            expect=alias_target(connection, name, CHALLENGER),
        )  # fmt: skip
        values = {"change_id": change_id, "champion_id": champion.id, "percent": percent}
        connection.execute(insert(schema.Shadow).values(**values))
        body = {"beside": champion.name, "percent": percent, "reason": reason, "change": change_id}
        audit.append(connection, actor=by, action="model.shadow", subject=f"model:{held.name}", body=body)
        begun = under_way(connection, name)
    assert begun is not None  # noqa: S101 - its alias was pointed to it in this transaction
    return begun


def stop(registry: Registry, *, model: str = MODEL, by: str, reason: str = "") -> Version:
    """Takes the alias `challenger` away, which ends the shadow; returns the version that it pointed to.

    Raises:
        UsageError: it points to none.
    """
    by = actor(by)
    with registry.write() as connection:
        locked(connection, model)
        target = alias_target(connection, model, CHALLENGER)
        if target is None:
            raise UsageError(
                f"{model} has no challenger.", hint="`bintally models shadow start VERSION` makes a version one."
            )
        point(
            connection, model, CHALLENGER, None, kind="clear", by=by, reason=reason or "the shadow was ended",
            expect=target,
        )  # fmt: skip
        return by_id(connection, target)


def under_way(connection: Connection, model: str = MODEL) -> Running | None:
    """The shadow of a model that is under way; None: none is.

    One whose alias was set in another way counts `PERCENT`.
    """
    change, shadow = schema.AliasChange, schema.Shadow
    query = (
        select(change.__table__, shadow.percent)
        .join(schema.Model, schema.Model.id == change.model_id)
        .outerjoin(shadow, shadow.change_id == change.id)
        .where(schema.Model.name == model, change.alias == CHALLENGER)
        .order_by(change.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    champion_id = alias_target(connection, model, CHAMPION)
    if row is None or row.version_id is None or champion_id is None:
        return None
    if row.version_id == champion_id or _was_promoted(connection, row.version_id, after=row.id):
        return None
    return Running(
        challenger=by_id(connection, row.version_id),
        champion=by_id(connection, champion_id),
        percent=PERCENT if row.percent is None else row.percent,
        since=row.at,
        by=row.by,
        reason=row.reason,
        change_id=row.id,
    )


def last(connection: Connection, model: str = MODEL) -> tuple[Version, Version] | None:
    """Challenger and champion of the shadow that was started last, under way or not; None: there was none."""
    change, shadow = schema.AliasChange, schema.Shadow
    query = (
        select(change.version_id, shadow.champion_id)
        .join_from(shadow, change, change.id == shadow.change_id)
        .join(schema.Model, schema.Model.id == change.model_id)
        .where(schema.Model.name == model)
        .order_by(shadow.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else (by_id(connection, row.version_id), by_id(connection, row.champion_id))


def unfinished(connection: Connection) -> frozenset[int]:
    """The ids of the versions that shadows under way count with: their bundles are needed."""
    models = connection.execute(select(schema.Model.name)).scalars().all()
    shadows = [shadow for model in models if (shadow := under_way(connection, model)) is not None]
    return frozenset(version.id for shadow in shadows for version in (shadow.challenger, shadow.champion))


def _champion(connection: Connection, challenger: Version) -> Version:
    champion_id = alias_target(connection, challenger.model, CHAMPION)
    if champion_id is None:
        raise UsageError(
            f"{challenger.model} has no champion to compare {challenger.name} with.",
            hint="`bintally models promote VERSION` makes one.",
        )
    if champion_id == challenger.id:
        raise UsageError(f"{challenger.name} is the champion.", hint="Name another version.")
    return by_id(connection, champion_id)


def _must_be_usable(registry: Registry, version: Version) -> None:
    if version.state not in ("Approved", PENDING):
        raise UsageError(
            f"{version.name} is {version.state}.", hint="`bintally models approve` may make it usable again."
        )
    place = registry.bundle_of(version.bundle_sha256)
    if not place.is_dir():
        raise UsageError(
            f"The bundle of {version.name} is not in the registry's folder.", hint="Is it mounted? Was it removed?"
        )
    if not is_whole(place):
        raise UsageError(
            f"The files of {version.name} are not those that were registered.", hint="Registering it again mends them."
        )


def _was_promoted(connection: Connection, version_id: int, *, after: int) -> bool:
    """Whether a version became the champion after a change of an alias."""
    change, later = schema.AliasChange, aliased(schema.AliasChange)
    query = (
        select(later.id)
        .join_from(change, later, later.model_id == change.model_id)
        .where(change.id == after, later.id > after, later.alias == CHAMPION, later.version_id == version_id)
        .limit(1)
    )
    return connection.execute(query).first() is not None
