"""Which versions stay, and which go; each with its reason.

| a version | |
|---|---|
| that is needed (`needed`) | stays |
| that somebody retired or forgot | goes |
| one of the newest, a young one, one that ever served (`RetentionSettings`) | stays |
| whose bundle is also that of one that stays | stays |
| any other | goes: it is retired, by whoever collects |

What goes is the bundle, and what the version said of photos. The version itself, its card and its history are kept.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

import msgspec
from sqlalchemy import Connection

from bintally.errors import StorageError
from bintally.registry.aliases import CHAMPION, history
from bintally.registry.place import CARDS, Registry
from bintally.registry.retention.needed import needed
from bintally.registry.versions import State, Version, versions

OUT_OF_USE: Final[tuple[State, ...]] = ("Retired", "Forgotten")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a version's bundle stays, and why."""

    version: Version
    stays: bool
    why: str

    @property
    def must_be_retired(self) -> bool:
        """Whether it goes by a setting's word alone, which nobody has said of it yet."""
        return not self.stays and self.version.state not in OUT_OF_USE


def verdicts(registry: Registry, connection: Connection, moment: datetime) -> list[Verdict]:
    """Of each version whose bundle is in the folder; `moment` counts as now.

    Raises:
        StorageError: the database knows less than the folder: what it does not know may be somebody's champion.
    """
    found = versions(connection)
    _must_know_its_cards(registry, found)
    because = needed(registry, connection, found)
    champions = _champions(registry, connection, {version.model for version in found})
    newest = _newest(found, registry.settings.retention.newest)
    kept = [version for version in found if registry.bundle_of(version.bundle_sha256).is_dir()]
    return _together(_verdict(registry, version, because, champions, newest, moment) for version in kept)


def _verdict(
    registry: Registry,
    version: Version,
    because: dict[int, str],
    champions: frozenset[int],
    newest: frozenset[int],
    moment: datetime,
) -> Verdict:
    settings, age = registry.settings.retention, moment - version.registered_at
    stays, why = False, f"it is {version.state}"
    if version.id in because:
        stays, why = True, because[version.id]
    elif version.state not in OUT_OF_USE:
        stays = True
        if version.id in newest:
            why = f"one of the newest {settings.newest}" if settings.newest > 1 else "the newest one"
        elif age < timedelta(days=settings.days):
            why = f"registered less than {settings.days} days ago"
        elif version.id in champions:
            why = "it was the champion"
        else:
            stays, why = False, f"{age.days} days old, not among the newest {settings.newest}, and nobody needs it"
    return Verdict(version=version, stays=stays, why=why)


def _together(judged: Iterable[Verdict]) -> list[Verdict]:
    """Versions of one bundle stay together."""
    judged = list(judged)
    stay = {each.version.bundle_sha256: each.version.name for each in judged if each.stays}
    return [
        each
        if each.stays or each.version.bundle_sha256 not in stay
        else Verdict(version=each.version, stays=True, why=f"{stay[each.version.bundle_sha256]} has the same bundle")
        for each in judged
    ]


def _champions(registry: Registry, connection: Connection, models: set[str]) -> frozenset[int]:
    """Whoever served, where all of those stay."""
    if registry.settings.retention.champions is not None:
        return frozenset()
    changes = (change for model in models for change in history(connection, model, CHAMPION))
    return frozenset(change.version_id for change in changes if change.version_id is not None)


def _newest(found: list[Version], most: int) -> frozenset[int]:
    """The newest of each model, without those that are out of use."""
    newest: dict[str, list[int]] = {}
    for version in found:  # the newest first
        of_model = newest.setdefault(version.model, [])
        if version.state not in OUT_OF_USE and len(of_model) < most:
            of_model.append(version.id)
    return frozenset(chain.from_iterable(newest.values()))


def _must_know_its_cards(registry: Registry, found: list[Version]) -> None:
    """A card is written after its version: one without a version tells that an older database was put back."""
    known = {(version.model, version.number) for version in found}
    for path in sorted((registry.place / CARDS).glob("*/*.json")):
        if path.stem.isdecimal() and (path.parent.name, int(path.stem)) not in known:
            raise StorageError(
                f"{path} is of a version that the database does not know: was an older database put back?",
                hint="Put the newer one back, or register again what is in bundles/; nothing was removed.",
            )
