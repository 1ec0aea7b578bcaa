"""The registry's tables. What happened is only ever added; what is so now is the last thing that happened.

```
model ── model_version ─┬─ model_state     waiting for approval, approved, rejected, retired, forgotten
                        ├─ gate_run        what the gates said of it, beside the champion of that moment
                        ├─ alias_change    which version an alias ("champion") points to, since when, and why
                        ├─ shadow          which challenger counts beside a champion, unheard
                        └─ deployment      which service took it, or refused it, and why
registry_place: the folder that belongs to this database.
registry_lease: who is promoting just now (`database.leases`).      audit: who did all that (`database.audit`).
```
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from bintally.database.types import Key, Table

NAME: Final = 200  # characters of a name
SHA256: Final = 64
IDENTITY: Final = 36  # characters of a UUID


def _key() -> Mapped[int]:
    return mapped_column(Key, primary_key=True)


def _of(table: str, **how: Any) -> Mapped[Any]:
    return mapped_column(Key, ForeignKey(f"{table}.id"), **how)


class Model(Table):
    """What versions are versions of."""

    __tablename__ = "model"
    id: Mapped[int] = _key()
    name: Mapped[str] = mapped_column(String(NAME), unique=True)


class ModelVersion(Table):
    """A bundle that was registered. Never changed."""

    __tablename__ = "model_version"
    id: Mapped[int] = _key()
    model_id: Mapped[int] = _of("model")
    number: Mapped[int]  # 1, 2, 3 .. of the model
    bundle_sha256: Mapped[str] = mapped_column(String(SHA256))  # `signatures.digest_of` its files
    bundle_bytes: Mapped[int] = mapped_column(BigInteger)
    card: Mapped[str] = mapped_column(Text)  # the bundle's card.json
    run_id: Mapped[str | None] = mapped_column(String(NAME))  # the tracking server's name of the training
    lineage: Mapped[str] = mapped_column(Text)  # JSON: recipe, dataset fingerprint, code, environment, findings ...
    registered_at: Mapped[datetime]
    registered_by: Mapped[str] = mapped_column(String(NAME))
    __table_args__ = (UniqueConstraint("model_id", "number"), UniqueConstraint("model_id", "bundle_sha256"))


class ModelState(Table):
    """What people (and retention) said of a version; the last one counts."""

    __tablename__ = "model_state"
    id: Mapped[int] = _key()
    version_id: Mapped[int] = _of("model_version", index=True)
    state: Mapped[str] = mapped_column(String(30))
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(NAME))
    reason: Mapped[str] = mapped_column(Text)
    __table_args__ = (
        CheckConstraint(
            "state IN ('PendingManualApproval', 'Approved', 'Rejected', 'Retired', 'Forgotten')", name="state"
        ),
    )


class GateRun(Table):
    """What the gates said of a version beside the champion of that moment."""

    __tablename__ = "gate_run"
    id: Mapped[int] = _key()
    version_id: Mapped[int] = _of("model_version", index=True)
    against_id: Mapped[int | None] = _of("model_version")  # None: there was no champion
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(NAME))
    passed: Mapped[bool]
    body: Mapped[str] = mapped_column(Text)  # JSON: each gate's figure, interval, limit and reason


class AliasChange(Table):
    """An alias that was pointed to a version. The last row of an alias says where it points now."""

    __tablename__ = "alias_change"
    id: Mapped[int] = _key()
    model_id: Mapped[int] = _of("model")
    alias: Mapped[str] = mapped_column(String(NAME))
    version_id: Mapped[int | None] = _of("model_version")  # None: the alias was taken away
    before_id: Mapped[int | None] = _of("model_version")  # where it pointed before
    kind: Mapped[str] = mapped_column(String(20))
    gate_run_id: Mapped[int | None] = _of("gate_run")
    rollback_of: Mapped[int | None] = mapped_column(Key, ForeignKey("alias_change.id"))
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(NAME))
    reason: Mapped[str] = mapped_column(Text)
    __table_args__ = (
        Index(None, "model_id", "alias", "id"),
        CheckConstraint("kind IN ('promote', 'force', 'rollback', 'set', 'clear')", name="kind"),
    )


class Deployment(Table):
    """What a service did with a version: took it, refused it, or let it go."""

    __tablename__ = "deployment"
    id: Mapped[int] = _key()
    version_id: Mapped[int] = _of("model_version", index=True)
    service: Mapped[str] = mapped_column(String(NAME))
    outcome: Mapped[str] = mapped_column(String(10))
    at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(Text)
    __table_args__ = (CheckConstraint("outcome IN ('taken', 'refused', 'left')", name="outcome"),)


class Shadow(Table):
    """A shadow that was started; under way while the change of the alias that began it is its last. Never changed."""

    __tablename__ = "shadow"
    id: Mapped[int] = _key()
    change_id: Mapped[int] = mapped_column(Key, ForeignKey("alias_change.id"), unique=True)
    champion_id: Mapped[int] = _of("model_version")  # of that moment
    percent: Mapped[float]  # of the photos that are counted
    __table_args__ = (CheckConstraint("percent > 0 AND percent <= 100", name="percent"),)


class RegistryPlace(Table):
    """Which registry's folder this database belongs to: one row. Never changed."""

    __tablename__ = "registry_place"
    id: Mapped[int] = _key()
    identity: Mapped[str] = mapped_column(String(IDENTITY))
    made_at: Mapped[datetime]
    __table_args__ = (CheckConstraint("id = 1", name="one"),)
