"""The `gc` verb: what nobody needs any more goes.

First the database: versions that go by a setting's word are retired, and it is written down whose bundles go. Then each
bundle, in a transaction that lets nobody register, approve or promote it meanwhile and looks again, gets a name that
says that it goes; then it is deleted. A kill leaves versions that are out of use with their bundles, or such names:
the next run finishes.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import StorageError
from bintally.registry.acting import actor
from bintally.registry.bundles import no_changes
from bintally.registry.place import Registry
from bintally.registry.retention.beside import REMOVING, Goes, beside, is_abandoned
from bintally.registry.retention.needed import needed
from bintally.registry.retention.verdicts import OUT_OF_USE, Verdict, verdicts
from bintally.registry.versions import Version, locked, of_bundle, set_state, versions


class Stays(msgspec.Struct, frozen=True, kw_only=True):
    """A version whose bundle stays, and why."""

    version: str
    why: str
    bytes: int


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What went, or would go; what stays; and the versions that were retired for it, or would be."""

    goes: tuple[Goes, ...]
    stays: tuple[Stays, ...]
    retired: tuple[str, ...]
    is_dry: bool

    @property
    def bytes(self) -> int:
        """Of all that goes."""
        return sum(each.bytes for each in self.goes)


def gc(registry: Registry, *, by: str, dry_run: bool = False, at: datetime | None = None) -> Collected:
    """Removes the bundles of old versions, as registry.toml's [retention] says, and what lies about.

    `dry_run`: only tells. `at`: the moment that counts as now.

    Raises:
        UsageError: `by` is nobody's name.
        StorageError: something can't be removed (the next run tries again), or the database was put back from before
            versions that the folder knows.
    """
    by, moment = actor(by), at or now()
    with registry.read() if dry_run else registry.write() as connection:
        if not dry_run:
            _nobody_else(connection, versions(connection))
        judged = verdicts(registry, connection, moment)
        goes = [*_bundles(registry, judged), *beside(registry, connection, moment, _staying(judged))]
        if not dry_run:
            _write_down(connection, judged, goes, by=by)
    return Collected(
        goes=tuple(goes if dry_run else _removed(registry, goes, moment)),
        stays=tuple(
            Stays(version=each.version.name, why=each.why, bytes=each.version.bundle_bytes)
            for each in judged
            if each.stays
        ),
        retired=tuple(each.version.name for each in judged if each.must_be_retired),
        is_dry=dry_run,
    )


def _nobody_else(connection: Connection, found: list[Version]) -> None:
    """Until the transaction ends, nobody registers a version, or judges or promotes one of these models."""
    no_changes(connection)
    for model in sorted({version.model for version in found}):
        locked(connection, model)


def _staying(judged: list[Verdict]) -> frozenset[str]:
    return frozenset(each.version.bundle_sha256 for each in judged if each.stays)


def _bundles(registry: Registry, judged: list[Verdict]) -> list[Goes]:
    """The bundles that go, each once."""
    going: dict[str, list[Verdict]] = {}
    for each in judged:
        if not each.stays:
            going.setdefault(each.version.bundle_sha256, []).append(each)
    return [
        Goes(
            kind="bundle",
            what=", ".join(each.version.name for each in of_one),
            path=str(registry.bundle_of(sha256)),
            why=of_one[0].why,
            bytes=of_one[0].version.bundle_bytes,
        )
        for sha256, of_one in going.items()
    ]


def _write_down(connection: Connection, judged: list[Verdict], goes: list[Goes], *, by: str) -> None:
    for each in judged:
        if each.must_be_retired:
            set_state(connection, each.version.id, "Retired", by=by, reason=f"retention: {each.why}")
        if not each.stays:
            body = {"bundle": each.version.bundle_sha256, "bytes": each.version.bundle_bytes, "reason": each.why}
            audit.append(connection, actor=by, action="model.gc", subject=f"model:{each.version.name}", body=body)
    others = [each.what for each in goes if each.kind in ("unregistered", "pairs")]
    if others:
        audit.append(connection, actor=by, action="registry.gc", subject="registry", body={"removed": others})


def _removed(registry: Registry, goes: list[Goes], moment: datetime) -> list[Goes]:
    """What of it has gone by now.

    Raises:
        StorageError: something can't be removed; the rest has gone.
    """
    removed, problems = [], []
    for each in goes:
        try:
            if _is_removed(registry, each, moment):
                removed.append(each)
        except StorageError as error:
            problems.append(error)
    if problems:
        more = f" So it is with {len(problems) - 1} more." if len(problems) > 1 else ""
        raise StorageError(f"{problems[0].message}{more}", hint=problems[0].hint) from problems[0]
    return removed


def _is_removed(registry: Registry, goes: Goes, moment: datetime) -> bool:
    """Removes it; False: by now it stays, or somebody else has removed it."""
    path: Path | None = Path(goes.path)
    if goes.kind in ("bundle", "unregistered"):
        path = _taken_out(registry, Path(goes.path), moment)
    elif goes.kind == "pairs":
        path = _renamed(Path(goes.path))
    return path is not None and _is_deleted(path)


def _taken_out(registry: Registry, bundle: Path, moment: datetime) -> Path | None:
    """The bundle under its new name, if it is still so that it goes: somebody may have come between."""
    with registry.write() as connection:
        found = of_bundle(connection, bundle.name)
        _nobody_else(connection, found)
        found = of_bundle(connection, bundle.name)
        is_used = any(version.state not in OUT_OF_USE for version in found) or needed(registry, connection, found)
        is_young = not found and not is_abandoned(bundle, moment)
        return None if is_used or is_young else _renamed(bundle)


def _renamed(path: Path) -> Path | None:
    """A folder under a name that says that it goes; None: it has gone."""
    target = path.with_name(f"{REMOVING}{secrets.token_hex(8)}")
    with _no_removal(path), suppress(FileNotFoundError):
        return path.replace(target)
    return None


def _is_deleted(path: Path) -> bool:
    with _no_removal(path), suppress(FileNotFoundError):  # somebody else collects, too
        if path.is_dir() and not path.is_symlink():  # what a link leads to is not ours
            shutil.rmtree(path)
        else:
            path.unlink()
        return True
    return False


@contextmanager
def _no_removal(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} can't be removed: {error.strerror or error}.", hint="Look at its permissions, and run it again."
        ) from error
