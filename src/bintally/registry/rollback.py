"""The `rollback` verb: the champion before becomes the champion again, at once and without asking the gates.

Two in a row go further back, not back and forth: what was rolled back from, or past, is skipped until somebody makes it
champion again. So is what is retired, rejected or forgotten, what a service refused, and what has no whole bundle.
"""

import msgspec
from sqlalchemy import Connection

from bintally.errors import ConflictError, UsageError
from bintally.registry.acting import actor
from bintally.registry.aliases import CHAMPION, alias_target, history, point
from bintally.registry.bundles import is_whole
from bintally.registry.deployments import refused
from bintally.registry.place import Registry
from bintally.registry.rolled_back import how, rolled_back
from bintally.registry.versions import MODEL, PENDING, Version, by_id, locked, version_of


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback did: the champion until then, and from then on. `skipped`: those between, and why not them."""

    before: Version
    version: Version
    change_id: int
    skipped: dict[str, str]


def rollback(
    registry: Registry,
    *,
    model: str = MODEL,
    to: str | None = None,
    of: str | None = None,
    by: str,
    reason: str = "",
) -> Rollback:
    """Makes an earlier champion the champion again, in one short transaction.

    `to`: which version (None: the last one before that can be used). `of`: the champion to roll back from (None:
    whichever it is); one that was rolled back from already is left so: the same command does nothing twice.

    Raises:
        UsageError: there is no champion, none before it, or `to` can't be used.
        ConflictError: `of` is not the champion.
    """
    by = actor(by)
    with registry.write() as connection:
        locked(connection, model)
        past = _Past(registry, connection, model)
        done = past.done_before(of=of, to=to)
        if done is not None:
            return done
        target, skipped = past.last_usable() if to is None else (past.chosen(to), {})
        change_id = point(
            connection, model, CHAMPION, target.id, kind="rollback", by=by,
            reason=reason.strip() or f"rolled back from {past.champion.name}", expect=past.champion.id,
            rollback_of=past.changes[-1].id,
        )  # fmt: skip
    return Rollback(before=past.champion, version=target, change_id=change_id, skipped=skipped)


def targets(registry: Registry, connection: Connection, model: str = MODEL) -> list[Version]:
    """The versions that a rollback would go to, one rollback after the other: those must be kept."""
    if alias_target(connection, model, CHAMPION) is None:
        return []
    past = _Past(registry, connection, model)
    return [version for version in past.earlier() if past.why_not(version) is None]


class _Past:
    """A model's champions until now."""

    def __init__(self, registry: Registry, connection: Connection, model: str) -> None:
        self.changes = history(connection, model)
        if not self.changes or self.changes[-1].version_id is None:
            raise UsageError(f"{model} has no champion.", hint="`bintally models promote VERSION` makes one.")
        self.champion = by_id(connection, self.changes[-1].version_id)
        self._registry, self._connection, self._model = registry, connection, model
        self._marked, self._refused = rolled_back(self.changes), refused(connection)

    def done_before(self, *, of: str | None, to: str | None) -> Rollback | None:
        """The rollback from `of` to `to` that the champion comes from, if that is what was asked for."""
        last = self.changes[-1]
        asked = None if of is None else self._version(of)
        if asked is None or asked.id == self.champion.id:
            return None
        if last.kind != "rollback" or last.before_id != asked.id or to not in (None, self.champion.name):
            raise ConflictError(
                f"The champion is {self.champion.name}, not {asked.name}.", hint="Look again, and decide anew."
            )
        return Rollback(before=asked, version=self.champion, change_id=last.id, skipped={})

    def earlier(self) -> list[Version]:
        """The champions before, the last one first."""
        ids = dict.fromkeys(change.version_id for change in reversed(self.changes) if change.version_id is not None)
        return [by_id(self._connection, key) for key in ids if key != self.champion.id]

    def last_usable(self) -> tuple[Version, dict[str, str]]:
        """Where a rollback goes to, and what it skips."""
        skipped: dict[str, str] = {}
        for version in self.earlier():
            why_not = self.why_not(version) or self._damaged(version)
            if why_not is None:
                return version, skipped
            skipped[version.name] = why_not
        told = f" ({'; '.join(f'{name}: {why}' for name, why in skipped.items())})" if skipped else ""
        raise UsageError(
            f"There is no champion before {self.champion.name} to go back to{told}.",
            hint="`--to VERSION` goes back to one that was rolled back from, or refused by a service.",
        )

    def chosen(self, to: str) -> Version:
        """The version that somebody named, who may know better than a mark."""
        target = self._version(to)
        if target.id == self.champion.id:
            raise UsageError(f"{target.name} is the champion.", hint="Name another version.")
        if target.id not in {version.id for version in self.earlier()}:
            raise UsageError(f"{target.name} has never been the champion.", hint="`bintally models promote` it.")
        unusable = self._unusable(target) or self._damaged(target)
        if unusable is not None:
            raise UsageError(f"{target.name} can't be used: {unusable}.", hint="Name another version.")
        return target

    def why_not(self, version: Version) -> str | None:
        """Why a rollback skips a version, in words; None: it does not."""
        unusable = self._unusable(version)
        if unusable is not None:
            return unusable
        if version.id in self._marked:
            return f"{how(self._marked[version.id], version.id)} it"
        return "a service refused it" if version.id in self._refused else None

    def _unusable(self, version: Version) -> str | None:
        if version.state not in ("Approved", PENDING):
            return f"it is {version.state}"
        is_kept = self._registry.bundle_of(version.bundle_sha256).is_dir()
        return None if is_kept else "its bundle is not in the registry's folder"

    def _damaged(self, version: Version) -> str | None:
        """Reads all of its bundle: only asked of the one that a rollback would go to."""
        is_right = is_whole(self._registry.bundle_of(version.bundle_sha256))
        return None if is_right else "its files are not those that were registered"

    def _version(self, called: str) -> Version:
        found = version_of(self._connection, called, model=self._model)
        if found.model != self._model:
            raise UsageError(f"{found.name} is no version of {self._model}.", hint=f"Say --model {found.model}.")
        return found
