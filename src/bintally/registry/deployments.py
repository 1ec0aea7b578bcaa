"""What services did with versions: took them, refused them, let them go."""

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Row, func, insert, select

from bintally.database.types import now
from bintally.registry import schema

Outcome: TypeAlias = Literal["taken", "refused", "left"]


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What one service did with one version."""

    id: int
    version_id: int
    service: str
    outcome: Outcome
    at: datetime
    reason: str


def record(connection: Connection, version_id: int, service: str, outcome: Outcome, reason: str = "") -> int:
    """Says what a service did with a version, in the caller's transaction; returns the row's number.

    `service`: who it is, the same after a restart, such as "HOST:8080/worker-1".
    """
    values = {
        "version_id": version_id,
        "service": service[: schema.NAME],
        "outcome": outcome,
        "at": now(),
        "reason": reason,
    }
    adding = insert(schema.Deployment).values(**values).returning(schema.Deployment.id)
    added: int = connection.execute(adding).scalar_one()
    return added


def deployments(
    connection: Connection, *, version_id: int | None = None, service: str | None = None
) -> list[Deployment]:
    """What was done with a version, or by a service, or all of it; the first one first."""
    done = schema.Deployment
    query = select(done.__table__).order_by(done.id)
    if version_id is not None:
        query = query.where(done.version_id == version_id)
    if service is not None:
        query = query.where(done.service == service)
    return [_deployment(row) for row in connection.execute(query)]


def refused(connection: Connection, *, service: str | None = None) -> frozenset[int]:
    """The ids of versions of which the last word of the services (or of `service`) is that they refuse it."""
    done = schema.Deployment
    last = select(func.max(done.id)).where(done.outcome != "left").group_by(done.version_id)
    if service is not None:
        last = last.where(done.service == service)
    query = select(done.version_id).where(done.id.in_(last), done.outcome == "refused")
    return frozenset(connection.execute(query).scalars())


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(**{name: getattr(row, name) for name in Deployment.__struct_fields__})
