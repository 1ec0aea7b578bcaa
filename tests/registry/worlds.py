"""Registries with a history, in few words."""

from pathlib import Path

import msgspec

from bintally.registry.aliases import CHAMPION, alias_target, history
from bintally.registry.place import Registry
from bintally.registry.promotion import Promotion, promote
from bintally.registry.registration import register
from bintally.registry.versions import Version, by_id, version_of


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What gates said."""

    version_id: int
    against_id: int | None
    passed: bool
    told: str = ""


def said(registry: Registry, version: str, *, passed: bool = True, against: str | None = None) -> Said:
    """What gates say of a version beside today's champion (or beside `against`)."""
    with registry.read() as connection:
        found = version_of(connection, version)
        champion_id = alias_target(connection, found.model, CHAMPION)
        against_id = champion_id if against is None else version_of(connection, against).id
        return Said(version_id=found.id, against_id=against_id, passed=passed)


def registered(registry: Registry, *bundles: Path, model: str = "bintally") -> list[Version]:
    """Bundles as versions."""
    return [register(registry, bundle, model=model, by="rita").version for bundle in bundles]


def promoted(registry: Registry, version: str, *, by: str = "rita") -> Promotion:
    """A version that the gates let through."""
    promotion = promote(registry, version, gates=said(registry, version), by=by)
    assert promotion.promoted, promotion.why
    return promotion


def champion(registry: Registry, model: str = "bintally") -> str | None:
    """The name of the champion."""
    with registry.read() as connection:
        target = alias_target(connection, model, CHAMPION)
        return None if target is None else by_id(connection, target).name


def champions(registry: Registry, model: str = "bintally") -> list[tuple[str, str | None]]:
    """The champion's history: kinds of changes and names."""
    with registry.read() as connection:
        return [(change.kind, change.version) for change in history(connection, model)]
