"""A registry with versions, good and broken ones, and services that follow it."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from fastapi.testclient import TestClient

from bintally.bundle import read_card
from bintally.registry import aliases, deployments
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from bintally.registry.registration.register import register
from bintally.registry.rollback import rollback
from bintally.registry.versions import add_version
from bintally.serving.assembly import build, running
from bintally.serving.following.follower import RegistryFollower
from bintally.serving.http.app import create_app
from bintally.serving.settings import ServeConfig
from bintally.signatures.digest import digest_of
from tests.bundles import bin_photo, make_bundle
from tests.databases import new_registry
from tests.serving.services import URL


class Shelf:
    """A registry in `folder`, whose bundles are made when they are put in."""

    def __init__(self, folder: Path) -> None:
        self.place, self._bundles, self._made = folder / "registry", folder / "bundles", 0
        with new_registry(self.place):
            pass

    def put(self, **card: Any) -> str:
        """Registers a bundle that no other is like; its version's name."""
        with Registry.open(self.place) as registry:
            return register(registry, self.bundle(**card), by="tests").version.name

    def slip_in(self, bundle: Path) -> str:
        """A version that no registration would take."""
        sha256 = digest_of(bundle)
        with Registry.open(self.place) as registry:
            shutil.copytree(bundle, registry.bundle_of(sha256))
            with registry.write() as connection:
                version, _ = add_version(
                    connection, model="bintally", bundle_sha256=sha256, bundle_bytes=1,
                    card=read_card(bundle / "card.json"), lineage={}, by="tests",
                )  # fmt: skip
        return version.name

    def bundle(self, **card: Any) -> Path:
        """A bundle; `card` as in `make_bundle`."""
        self._made += 1
        return make_bundle(self._bundles / str(self._made), **{"name": f"tiny-{self._made}", **card})

    def promote(self, version: str) -> str:
        with Registry.open(self.place) as registry:
            assert promote(registry, version, force_reason="a test wants it", by="tests").promoted
        return version

    def champion(self, **card: Any) -> str:
        """A new version, which is the champion now."""
        return self.promote(self.put(**card))

    def roll_back(self, to: str | None = None) -> str:
        with Registry.open(self.place) as registry:
            return rollback(registry, to=to, by="tests").version.name

    def challenge(self, version: str | None) -> None:
        with Registry.open(self.place) as registry, registry.write() as connection:
            held = aliases.alias_target(connection, "bintally", aliases.CHALLENGER)
            number = None if version is None else int(version.rpartition("/")[2])
            aliases.point(
                connection, "bintally", aliases.CHALLENGER, number, kind="set", by="tests", reason="", expect=held
            )

    def folder_of(self, version: str) -> Path:
        with Registry.open(self.place) as registry, registry.read() as connection:
            [found] = [each for each in _versions(connection) if each.name == version]
            return registry.bundle_of(found.bundle_sha256)

    def done(self) -> list[tuple[str, str]]:
        """What services did: (version, outcome), in order."""
        with Registry.open(self.place) as registry, registry.read() as connection:
            names = {each.id: each.name for each in _versions(connection)}
            return [(names[each.version_id], each.outcome) for each in deployments.deployments(connection)]

    def reasons(self, outcome: str) -> list[str]:
        with Registry.open(self.place) as registry, registry.read() as connection:
            return [each.reason for each in deployments.deployments(connection) if each.outcome == outcome]


def _versions(connection: Any) -> Any:
    from bintally.registry.versions import versions

    return versions(connection)


class Following:
    """A service that follows a registry, in this process."""

    def __init__(self, client: TestClient, follower: RegistryFollower) -> None:
        self.client, self.follower = client, follower

    def version(self) -> str | None:
        """Which one answers."""
        return cast(str | None, self.count()["model_version"])

    def count(self, count: int = 2, **query: Any) -> dict[str, Any]:
        response = self.client.post(
            "/v1/counts", content=bin_photo(count), headers={"Content-Type": "image/png"}, params=query
        )
        assert response.status_code == 200, response.text
        return dict(response.json())

    def get(self, path: str) -> dict[str, Any]:
        return dict(self.client.get(path).json())

    def problem(self, part: str = "model") -> str:
        return str(self.get("/health")["problems"].get(part, ""))


@contextmanager
def following(shelf: Shelf, state: Path, **settings: Any) -> Iterator[Following]:
    """A service that looks at the registry every 20 ms. Tiny models differ by chance: any may be 1,000 times slower."""
    told = {"registry": shelf.place, "state": state, "threads": 1, "follow_s": 0.02, "max_slower": 1000.0}
    config = ServeConfig.of(told | settings)
    service = build(config)
    assert isinstance(service.parts.follower, RegistryFollower)
    with TestClient(create_app(service, config, lifespan=lambda _: running(service)), base_url=URL) as client:
        yield Following(client, service.parts.follower)


def until(holds: Callable[[], bool], *, tries: int = 1000) -> bool:
    """Whether it holds in the end."""
    for _ in range(tries):
        if holds():
            return True
        time.sleep(0.02)
    return False
