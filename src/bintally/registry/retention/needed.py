"""Versions whose bundles must stay, whatever a setting says: somebody serves, tries, or may have to go back to them."""

from collections.abc import Iterator

from sqlalchemy import Connection, select

from bintally.database import leases
from bintally.registry import heartbeats, rollback, schema, shadow
from bintally.registry.aliases import alias_target
from bintally.registry.place import Registry
from bintally.registry.promotion import turn_of
from bintally.registry.versions import Version


def needed(registry: Registry, connection: Connection, found: list[Version]) -> dict[int, str]:
    """Why each of the versions `found` that is needed is so, in words, by its number in the database."""
    asked, told = {version.id for version in found}, dict[int, str]()
    for version_id, why in _needs(registry, connection, found):
        if version_id in asked:
            told.setdefault(version_id, why)
    return told


def _needs(registry: Registry, connection: Connection, found: list[Version]) -> Iterator[tuple[int, str]]:
    yield from _named(connection)
    for version_id in shadow.unfinished(connection):
        yield version_id, "a shadow is under way with it"
    yield from _running(registry, found)
    for model in sorted({version.model for version in found}):
        for version in rollback.targets(registry, connection, model)[: registry.settings.retention.champions]:
            yield version.id, "a rollback may go to it"
        if leases.is_held(connection, turn_of(model)):
            for version in found:
                if version.model == model and version.state not in ("Retired", "Forgotten"):
                    yield version.id, f"a version of {model} is being promoted just now"


def _named(connection: Connection) -> Iterator[tuple[int, str]]:
    """What aliases point to."""
    change = schema.AliasChange
    query = select(schema.Model.name, change.alias).join(schema.Model, schema.Model.id == change.model_id).distinct()
    for model, alias in connection.execute(query.order_by(schema.Model.name, change.alias)):
        target = alias_target(connection, model, alias)
        if target is not None:
            yield target, f"it is the {alias}"


def _running(registry: Registry, found: list[Version]) -> Iterator[tuple[int, str]]:
    for service in heartbeats.running(registry):
        loaded = set(service.versions.values())
        for version in found:
            if version.bundle_sha256 in loaded:
                yield version.id, f"{service.service} has it loaded"
