"""What is said of a version: approved, rejected, retired, forgotten. Which may follow which, and never of the champion.

| from | may become |
|---|---|
| PendingManualApproval | Approved, Rejected, Retired |
| Approved | Rejected, Retired |
| Rejected | Approved, Retired |
| Retired | Approved (while its bundle is kept), Forgotten |
| Forgotten | nothing: it may not be registered again either |
"""

from typing import Final

from sqlalchemy import Connection

from bintally.errors import ConflictError, UsageError
from bintally.registry.acting import actor, because
from bintally.registry.aliases import pointing_to
from bintally.registry.bundles import no_changes
from bintally.registry.place import Registry
from bintally.registry.versions import PENDING, State, Version, by_id, locked, set_state, version_of

FOLLOWING: Final[dict[State, frozenset[State]]] = {
    PENDING: frozenset({"Approved", "Rejected", "Retired"}),
    "Approved": frozenset({"Rejected", "Retired"}),
    "Rejected": frozenset({"Approved", "Retired"}),
    "Retired": frozenset({"Approved", "Forgotten"}),
    "Forgotten": frozenset(),
}
"""Which states may follow which."""

_VERBS: Final[dict[State, str]] = {
    "Approved": "approved",
    "Rejected": "rejected",
    "Retired": "retired",
    "Forgotten": "forgotten",
}


def approve(registry: Registry, version: str, *, by: str, reason: str = "") -> Version:
    """Lets a version be promoted.

    Raises:
        UsageError: there is no such version, or it can't be approved any more.
    """
    return change_state(registry, version, "Approved", by=by, reason=reason or "approved")


def reject(registry: Registry, version: str, *, by: str, reason: str) -> Version:
    """Lets a version never be promoted, unless somebody approves it later.

    Raises:
        UsageError: no such version, no reason.
        ConflictError: an alias points to it.
    """
    return change_state(registry, version, "Rejected", by=by, reason=because(reason, what="Rejecting a version"))


def retire(registry: Registry, version: str, *, by: str, reason: str) -> Version:
    """Takes a version out of use; its bundle may be removed from now on.

    Raises:
        UsageError: no such version, no reason.
        ConflictError: an alias points to it.
    """
    return change_state(registry, version, "Retired", by=by, reason=because(reason, what="Retiring a version"))


def forget(registry: Registry, version: str, *, by: str, reason: str) -> Version:
    """Lets go of a retired version for good: its bundle may be removed, and is not taken again.

    Raises:
        UsageError: no such version, no reason, or it is not retired.
    """
    return change_state(registry, version, "Forgotten", by=by, reason=because(reason, what="Forgetting a version"))


def change_state(registry: Registry, version: str, state: State, *, by: str, reason: str) -> Version:
    """Says what a version is from now on, in one transaction; one that is so already stays as it is.

    Raises:
        UsageError: there is no such version, or that can't follow.
        ConflictError: it would go out of use while an alias points to it.
    """
    by = actor(by)
    with registry.write() as connection:
        no_changes(connection)
        locked(connection, version_of(connection, version).model)
        held = version_of(connection, version)
        if held.state == state:
            return held
        _check(connection, registry, held, state)
        set_state(connection, held.id, state, by=by, reason=reason)
        return by_id(connection, held.id)


def _check(connection: Connection, registry: Registry, held: Version, state: State) -> None:
    may = FOLLOWING[held.state]
    if state not in may:
        what = f"{held.name} is {held.state} and can't be {_VERBS.get(state, state)}."
        raise UsageError(what, hint=_hint(may))
    aliases = pointing_to(connection, held) if state != "Approved" else []
    if aliases:
        raise ConflictError(
            f"{held.name} is the {' and the '.join(aliases)}, and can't be {_VERBS[state]}.",
            hint="Promote another one first, or roll back; `bintally models shadow stop` ends a challenger.",
        )
    if held.state == "Retired" and state == "Approved" and not registry.bundle_of(held.bundle_sha256).is_dir():
        raise UsageError(f"The bundle of {held.name} was removed.", hint="Register it again, then approve it.")


def _hint(may: frozenset[State]) -> str:
    if not may:
        return "Its bundle is gone; train another one."
    return f"It can be {' or '.join(sorted(_VERBS[state] for state in may))}."
