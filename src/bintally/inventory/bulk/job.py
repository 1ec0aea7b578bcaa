"""One file on its way into a ledger: what all kinds share."""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from bintally.database import audit
from bintally.database.inserts import add_if_new
from bintally.database.types import now
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger, Site


@dataclass(frozen=True)
class Job:
    """What is taken in, where, by whom."""

    ledger: Ledger
    site: Site
    kind: str
    file: str
    sha256: str
    by: str
    create_bins: bool


class Done(msgspec.Struct, frozen=True):
    """Lines read, and what they came to."""

    lines: int = 0
    new: int = 0
    changed: int = 0
    held: int = 0
    bins: int = 0
    rejected: int = 0


def was_whole(connection: Connection, site: Site, kind: str, sha256: str) -> bool:
    """Whether this very file was taken in before, and no line of it was left out."""
    intake = schema.Intake
    bad = select(intake.bad_rows).where(intake.site_id == site.id, intake.kind == kind, intake.sha256 == sha256)
    return connection.execute(bad).scalar_one_or_none() == 0


def tell(connection: Connection, job: Job, **body: Any) -> None:
    """A line of the audit log: what of the file went in with this transaction."""
    told = {"file": job.file, "sha256": job.sha256, **body}
    audit.append(connection, actor=job.by, action=f"import.{job.kind}", subject=f"site:{job.site.code}", body=told)


def finish(connection: Connection, job: Job, done: Done) -> None:
    """The file is known from now on."""
    key = {"site_id": job.site.id, "kind": job.kind, "sha256": job.sha256}
    counts = {"rows": done.lines, "bad_rows": done.rejected, "done_at": now()}
    if add_if_new(connection, schema.Intake, {**key, **counts}, unique=tuple(key)) is None:
        intake = schema.Intake
        held = update(intake).where(intake.site_id == job.site.id, intake.kind == job.kind, intake.sha256 == job.sha256)
        connection.execute(held.values(**counts))
