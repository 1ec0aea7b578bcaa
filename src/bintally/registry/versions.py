"""Versions of models: added, named, looked up."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Select, func, insert, select

from bintally.bundle import Card
from bintally.database import audit
from bintally.database.inserts import add_if_new
from bintally.database.types import now
from bintally.errors import UsageError, did_you_mean
from bintally.registry import schema

State: TypeAlias = Literal["PendingManualApproval", "Approved", "Rejected", "Retired", "Forgotten"]
"""The first three as SageMaker's model registry has them; a retired version is kept but never served, a forgotten one's
bundle is gone."""

PENDING: Final[State] = "PendingManualApproval"
MODEL: Final = "bintally"
"""What a model is called where nobody gave it a name."""

_DIGITS: Final = 9  # of a version's number: what the database can hold


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A registered bundle, and what is said of it now."""

    id: int
    model: str
    number: int
    state: State
    bundle_sha256: str
    bundle_bytes: int
    card: Card
    run_id: str | None
    lineage: dict[str, Any]
    registered_at: datetime
    registered_by: str

    @property
    def name(self) -> str:
        """As people write it: MODEL/NUMBER."""
        return f"{self.model}/{self.number}"


def add_version(
    connection: Connection,
    *,
    model: str,
    bundle_sha256: str,
    bundle_bytes: int,
    card: Card,
    lineage: Mapping[str, Any],
    run_id: str | None = None,
    state: State = PENDING,
    by: str,
    reason: str = "",
) -> tuple[Version, bool]:
    """A bundle as the model's next version, and whether it is new: the same bundle again is the version it was."""
    add_if_new(connection, schema.Model, {"name": model}, unique=("name",))
    version = schema.ModelVersion
    model_id = locked(connection, model)  # so that two registrations do not take one number
    taken = select(func.coalesce(func.max(version.number), 0)).where(version.model_id == model_id)
    number = connection.execute(taken).scalar_one() + 1
    values = {
        "model_id": model_id,
        "number": number,
        "bundle_sha256": bundle_sha256,
        "bundle_bytes": bundle_bytes,
        "card": msgspec.json.encode(card).decode(),
        "run_id": run_id,
        "lineage": msgspec.json.encode(lineage, order="sorted").decode(),
        "registered_at": now(),
        "registered_by": by,
    }
    added = add_if_new(connection, version, values, unique=("model_id", "bundle_sha256"))
    if added is None:
        held = select(version.number).where(version.model_id == model_id, version.bundle_sha256 == bundle_sha256)
        return version_of(connection, f"{model}/{connection.execute(held).scalar_one()}"), False
    body = {"bundle": bundle_sha256, "run": run_id, "state": state, "reason": reason}
    set_state(connection, added, state, by=by, reason=reason or "registered", audited=False)
    audit.append(connection, actor=by, action="model.register", subject=f"model:{model}/{number}", body=body)
    return version_of(connection, f"{model}/{number}"), True


def set_state(
    connection: Connection, version_id: int, state: State, *, by: str, reason: str, audited: bool = True
) -> None:
    """Says what a version is from now on."""
    values = {"version_id": version_id, "state": state, "at": now(), "by": by, "reason": reason}
    connection.execute(insert(schema.ModelState).values(**values))
    if audited:
        held = by_id(connection, version_id)
        body = {"state": state, "reason": reason}
        audit.append(connection, actor=by, action="model.state", subject=f"model:{held.name}", body=body)


def version_of(connection: Connection, called: str, *, model: str | None = None) -> Version:
    """The version called MODEL/NUMBER, NUMBER, an alias, or MODEL@ALIAS. `model`: whose, where only a number is given.

    Raises:
        UsageError: there is none.
    """
    from bintally.registry.aliases import alias_target

    name, number, alias = _parts(called, model)
    if alias is not None:
        target = alias_target(connection, name, alias)
        if target is None:
            raise UsageError(
                f"There is no version {called!r}: {name} has no such alias.",
                hint="Say a number, MODEL/NUMBER or an alias; `bintally models list` shows what there is.",
            )
        return by_id(connection, target)
    rows = connection.execute(_query().where(schema.Model.name == name, schema.ModelVersion.number == number)).all()
    if not rows:
        known = [version.name for version in versions(connection, name)]
        if not known:
            raise no_model(connection, name)
        raise UsageError(f"There is no version {called!r}.", hint=did_you_mean(f"{name}/{number}", known))
    return _version(rows[0])


def locked(connection: Connection, model: str) -> int:
    """The id of a model that nobody else registers, promotes or judges until the caller's transaction ends.

    PostgreSQL locks its row; SQLite has one writer anyway.

    Raises:
        UsageError: there is no such model.
    """
    models = schema.Model
    held: int | None = connection.execute(
        select(models.id).where(models.name == model).with_for_update()
    ).scalar_one_or_none()
    if held is None:
        raise no_model(connection, model)
    return held


def no_model(connection: Connection, model: str) -> UsageError:
    """The error for a model that the registry does not have."""
    known = connection.execute(select(schema.Model.name)).scalars().all()
    hint = did_you_mean(model, known) if known else "`bintally models register BUNDLE` adds a first version."
    return UsageError(f"The registry has no model {model!r}.", hint=hint)


def by_id(connection: Connection, version_id: int) -> Version:
    """The version with that number in the database."""
    return _version(connection.execute(_query().where(schema.ModelVersion.id == version_id)).one())


def versions(connection: Connection, model: str | None = None) -> list[Version]:
    """All versions, of one model or all, the newest first."""
    query = _query() if model is None else _query().where(schema.Model.name == model)
    rows = connection.execute(query.order_by(schema.Model.name, schema.ModelVersion.number.desc())).all()
    return [_version(row) for row in rows]


def of_bundle(connection: Connection, bundle_sha256: str) -> list[Version]:
    """The versions that are that bundle: one at most of each model."""
    rows = connection.execute(_query().where(schema.ModelVersion.bundle_sha256 == bundle_sha256)).all()
    return [_version(row) for row in rows]


def _parts(called: str, model: str | None) -> tuple[str, int | None, str | None]:
    """Model, number and alias that a name says; one of the last two is None."""
    name, at, alias = called.partition("@")
    if at:
        return name or model or MODEL, None, alias
    name, slash, number = called.rpartition("/")
    name = name if slash else model or MODEL
    if not number.isdecimal():
        return name, None, number
    return name, int(number) if len(number) <= _DIGITS else 0, None  # 0: no version's


def _query() -> Select[Any]:
    version, state = schema.ModelVersion, schema.ModelState
    last = select(func.max(state.id)).where(state.version_id == version.id).correlate(version).scalar_subquery()
    joined = select(version.__table__, schema.Model.name.label("model"), state.state).join(
        schema.Model, schema.Model.id == version.model_id
    )
    return joined.join(state, state.id == last)


def _version(row: Any) -> Version:
    return Version(
        id=row.id,
        model=row.model,
        number=row.number,
        state=row.state,
        bundle_sha256=row.bundle_sha256,
        bundle_bytes=row.bundle_bytes,
        card=msgspec.json.decode(row.card, type=Card),
        run_id=row.run_id,
        lineage=msgspec.json.decode(row.lineage),
        registered_at=row.registered_at,
        registered_by=row.registered_by,
    )
