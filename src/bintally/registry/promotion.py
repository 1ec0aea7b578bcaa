"""The `promote` verb: a version becomes the champion, because the gates let it or because somebody insists.

    with promoting(registry, model, by=by) as turn:
        outcome = gates.run(...)
        promotion = promote(registry, version, gates=outcome, turn=turn, by=by, reason=reason)

What was decided stands in one transaction, the word of the gates with it: before it the old champion serves, after it
the new one. It fails if the champion is not the one any more that the gates compared with.
"""

from contextlib import AbstractContextManager

import msgspec
from sqlalchemy import Connection

from bintally.database import leases
from bintally.errors import ConflictError
from bintally.registry import gate_runs
from bintally.registry.acting import actor, because
from bintally.registry.aliases import CHAMPION, alias_target, point
from bintally.registry.bundles import is_whole
from bintally.registry.place import Registry
from bintally.registry.rolled_back import same_as_rolled_back
from bintally.registry.versions import MODEL, PENDING, Version, by_id, locked, set_state, version_of


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the wish to promote a version. `before`: the champion until then.

    Not `promoted`: `why` says what stood in the way, in a sentence; the old champion stays.
    """

    version: Version
    before: Version | None
    promoted: bool
    why: str
    gate_run_id: int | None = None
    change_id: int | None = None


def promoting(
    registry: Registry, model: str = MODEL, *, by: str, seconds: float = leases.SECONDS
) -> AbstractContextManager[leases.Lease]:
    """The turn to promote a version of `model`, renewed until the block ends; ended `seconds` after a kill.

    A rollback needs none.

    Raises:
        ConflictError: somebody else has it.
    """
    return leases.held(registry, turn_of(model), by=actor(by), seconds=seconds)


def promote(
    registry: Registry,
    version: str,
    *,
    gates: gate_runs.Outcome | None = None,
    force_reason: str | None = None,
    turn: leases.Lease | None = None,
    by: str,
    reason: str = "",
) -> Promotion:
    """Makes a version the champion, if the gates' word allows it, in one transaction.

    `gates` is kept, whatever it says; None: their newest word on this version beside today's champion counts.
    `force_reason`: promote it whatever they say, and though it was rolled back. Neither sets aside that somebody must
    approve it, where the registry wants that. `turn`: from `promoting`; without one, nobody else may have it.

    Raises:
        UsageError: there is no such version.
        ConflictError: the champion is not the one that `gates` compared with, or somebody else has the turn.
    """
    by = actor(by)
    forced = None if force_reason is None else because(force_reason, what="--force")
    with registry.write() as connection:
        model = version_of(connection, version).model
        locked(connection, model)
        wish = _Wish(registry, connection, version_of(connection, version), forced)
        if turn is None:
            leases.must_be_free(connection, turn_of(model))
        else:
            turn.must_hold(connection)
        return wish.come_true(gates, by=by, reason=reason.strip())


class _Wish:
    """The wish to promote a version, in a transaction that has locked its model."""

    def __init__(self, registry: Registry, connection: Connection, version: Version, forced: str | None) -> None:
        self.registry, self.connection, self.version, self.forced = registry, connection, version, forced
        champion_id = alias_target(connection, version.model, CHAMPION)
        self.champion = None if champion_id is None else by_id(connection, champion_id)

    def come_true(self, gates: gate_runs.Outcome | None, *, by: str, reason: str) -> Promotion:
        run_id, passed = self._heard(gates, by=by)
        if self.champion is not None and self.champion.id == self.version.id:
            return self._told(True, f"{self.version.name} is the champion already.", run_id)
        why_not = self._against(passed, heard=run_id is not None)
        if why_not is not None:
            return self._told(False, why_not, run_id)
        why = self.forced or reason or "the gates let it"
        if self.version.state == PENDING:
            set_state(self.connection, self.version.id, "Approved", by=by, reason=why)
        change_id = point(
            self.connection, self.version.model, CHAMPION, self.version.id,
            kind="promote" if self.forced is None else "force", by=by, reason=why,
            expect=None if self.champion is None else self.champion.id, gate_run_id=run_id,
        )  # fmt: skip
        return self._told(True, why, run_id, change_id)

    def _heard(self, gates: gate_runs.Outcome | None, *, by: str) -> tuple[int | None, bool]:
        """The word of the gates: its number, now that it is kept, and whether they let the version through."""
        champion_id = None if self.champion is None else self.champion.id
        if gates is None:
            last = gate_runs.last_against(self.connection, self.version.id, champion_id)
            return (None, False) if last is None else (last.id, last.passed)
        if gates.version_id != self.version.id:
            raise ConflictError(f"The gates judged another version than {self.version.name}.", hint="Run them on it.")
        if gates.against_id != champion_id and self.version.id != champion_id:
            now = "there is none" if self.champion is None else f"it is {self.champion.name}"
            raise ConflictError(
                f"The gates compared {self.version.name} with another champion than today's ({now}).",
                hint="Run it again: they compare with today's.",
            )
        return gate_runs.keep(self.connection, gates, by=by), gates.passed

    def _against(self, passed: bool, *, heard: bool) -> str | None:
        """What stands in the way, in a sentence."""
        version = self.version
        if version.state not in (PENDING, "Approved"):
            return f"{version.name} is {version.state}; `bintally models approve` may make it promotable again."
        if version.state == PENDING and self.registry.settings.approval == "manual":
            return f"{version.name} waits for somebody's `bintally models approve`."
        place = self.registry.bundle_of(version.bundle_sha256)
        if not place.is_dir():
            return f"The bundle of {version.name} is not in the registry's folder; is it mounted?"
        if not is_whole(place):
            return f"The files of {version.name} are not those that were registered; registering it again mends them."
        if self.forced is not None:
            return None
        rolled_back = same_as_rolled_back(self.connection, version)
        if rolled_back is not None:
            return rolled_back
        if not heard:
            return f"The gates have said nothing of {version.name} beside today's champion."
        return None if passed else f"The gates did not let {version.name} through."

    def _told(self, promoted: bool, why: str, run_id: int | None, change_id: int | None = None) -> Promotion:
        return Promotion(
            version=by_id(self.connection, self.version.id),
            before=self.champion,
            promoted=promoted,
            why=why,
            gate_run_id=run_id,
            change_id=change_id,
        )


def turn_of(model: str) -> str:
    """The lease's name of whoever promotes a version of `model`."""
    return f"promotion of {model}"
