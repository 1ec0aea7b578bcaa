"""What the gates said of a version beside the champion of that moment: kept, whether they passed it or not."""

from datetime import datetime
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Row, insert, select

from bintally.database import audit
from bintally.database.types import now
from bintally.registry import schema
from bintally.registry.versions import by_id


class Outcome(Protocol):
    """What `gates.run` returns, as far as a promotion must know it; the whole of it is kept as JSON."""

    @property
    def version_id(self) -> int:
        """Which version was judged."""

    @property
    def against_id(self) -> int | None:
        """Beside which champion; None: there was none."""

    @property
    def passed(self) -> bool:
        """Whether all gates let it through."""


class KeptRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the gates, as it was kept. It is an `Outcome`."""

    id: int
    version_id: int
    against_id: int | None
    at: datetime
    by: str
    passed: bool
    body: dict[str, Any]


def keep(connection: Connection, outcome: Outcome, *, by: str) -> int:
    """Keeps what the gates said, in the caller's transaction; returns the row's number."""
    values = {
        "version_id": outcome.version_id,
        "against_id": outcome.against_id,
        "at": now(),
        "by": by,
        "passed": outcome.passed,
        "body": msgspec.json.encode(outcome, order="sorted").decode(),
    }
    adding = insert(schema.GateRun).values(**values).returning(schema.GateRun.id)
    added: int = connection.execute(adding).scalar_one()
    names = {
        name: None if key is None else by_id(connection, key).name
        for name, key in (("version", outcome.version_id), ("against", outcome.against_id))
    }
    body = {"gate_run": added, "against": names["against"], "passed": outcome.passed}
    audit.append(connection, actor=by, action="model.gates", subject=f"model:{names['version']}", body=body)
    return added


def gate_runs(connection: Connection, version_id: int) -> list[KeptRun]:
    """All runs of the gates for a version, the first one first."""
    run = schema.GateRun
    query = select(run.__table__).where(run.version_id == version_id).order_by(run.id)
    return [_kept(row) for row in connection.execute(query)]


def gate_run(connection: Connection, run_id: int) -> KeptRun:
    """The run with that number in the database."""
    return _kept(connection.execute(select(schema.GateRun.__table__).where(schema.GateRun.id == run_id)).one())


def last_against(connection: Connection, version_id: int, against_id: int | None) -> KeptRun | None:
    """The newest run of the gates for a version beside that champion (None: beside none)."""
    run = schema.GateRun
    query = select(run.__table__).where(run.version_id == version_id, run.against_id.is_not_distinct_from(against_id))
    row = connection.execute(query.order_by(run.id.desc()).limit(1)).one_or_none()
    return None if row is None else _kept(row)


def _kept(row: Row[Any]) -> KeptRun:
    values = {name: getattr(row, name) for name in KeptRun.__struct_fields__}
    return KeptRun(**values | {"body": msgspec.json.decode(row.body)})
