"""Registries with many versions that cost nothing to register, and files of any age."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bintally.bundle import read_card
from bintally.registry import heartbeats
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from bintally.registry.retention.collect import Collected, gc
from bintally.registry.versions import Version, add_version, versions
from bintally.signatures.digest import digest_of
from tests.registry.conftest import MakeBundle

HOUR_S, DAY_S = 3600.0, 86_400.0


def retaining(registry: Registry, **settings: Any) -> None:
    """As if registry.toml said so."""
    told = registry.settings.model_dump() | {"retention": settings}
    registry.settings = type(registry.settings).of(told)


def stocked(registry: Registry, bundle: MakeBundle, number: int, *, model: str = "bintally") -> list[Version]:
    """So many versions, each of a bundle that is a file."""
    card = read_card(bundle("a") / "card.json")
    with registry.read() as connection:
        first = len(versions(connection, model)) + 1
    with registry.write() as connection:
        return [
            add_version(
                connection, model=model, bundle_sha256=boxed(registry, f"{model} {first + n}"), bundle_bytes=10,
                card=card, lineage={}, by="rita",
            )[0]
            for n in range(number)
        ]  # fmt: skip


def boxed(registry: Registry, text: str) -> str:
    """The digest of a folder in bundles/ with that text in a file."""
    part = registry.bundles / "new"
    part.mkdir(parents=True)
    (part / "model.onnx").write_text(text)
    sha256 = digest_of(part)
    part.rename(registry.bundle_of(sha256))
    return sha256


def force(registry: Registry, *called: str) -> None:
    """One after the other becomes the champion."""
    for version in called:
        assert promote(registry, version, force_reason="a test's", by="rita").promoted


def runs(registry: Registry, service: str, *loaded: Version) -> None:
    """A service says what it has loaded."""
    heartbeats.beat(registry.place, service, {version.name: version.bundle_sha256 for version in loaded})


def aged(path: Path, seconds: float) -> Path:
    """A file or a folder that nobody has touched for so long."""
    before = time.time() - seconds
    for each in (*path.rglob("*"), path):
        os.utime(each, (before, before))
    return path


def kept(registry: Registry) -> set[str]:
    """The versions whose bundles are there."""
    with registry.read() as connection:
        found = versions(connection)
    return {version.name for version in found if registry.bundle_of(version.bundle_sha256).is_dir()}


def states(registry: Registry) -> dict[str, str]:
    """What is said of versions."""
    with registry.read() as connection:
        return {version.name: version.state for version in versions(connection)}


def gone(registry: Registry, **how: Any) -> Collected:
    """What went; nothing is left over."""
    found = gc(registry, by="rita", **how)
    assert gc(registry, by="rita", dry_run=True, at=how.get("at")).goes == ()
    return found


def whys(found: Collected) -> dict[str, str]:
    """Of each version that stays, why."""
    return {each.version: each.why for each in found.stays}


def named(numbers: Iterable[int], model: str = "bintally") -> set[str]:
    return {f"{model}/{number}" for number in numbers}
