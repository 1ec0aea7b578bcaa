"""Whatever happened to a registry, a collection never removes what somebody needs. Its oracle keeps its own books."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import BintallyError
from bintally.registry import heartbeats, shadow
from bintally.registry.approval import approve, forget, reject, retire
from bintally.registry.deployments import record
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from bintally.registry.retention.collect import gc
from bintally.registry.retention.verdicts import OUT_OF_USE
from bintally.registry.rollback import rollback, targets
from bintally.registry.versions import Version, versions
from tests.databases import new_registry
from tests.registry.conftest import MakeBundle
from tests.registry.retention.shelf import kept, retaining, runs, stocked
from tests.registry.worlds import champion

MODELS = ("bintally", "pallets")


class World:
    """A registry, whatever somebody did last, and what must be there for all that."""

    def __init__(self, registry: Registry, bundle: MakeBundle, seed: int) -> None:
        self.registry, self.chance, self._bundle = registry, random.Random(seed), bundle
        self.at: datetime = now()
        self.challengers: dict[str, str] = {}
        self.services: dict[str, list[Version]] = {}
        self.newest, self.days, self.champions = (self.chance.choice(of) for of in ((1, 3), (0, 2), (None, 1, 2, 3)))
        retaining(registry, newest=self.newest, days=self.days, champions=self.champions)
        for model in MODELS:
            stocked(registry, bundle, 2, model=model)

    def step(self) -> None:
        """Something happens, as far as it may."""
        verbs = (*3 * (self._more, self._crown), self._crown, self._back, *2 * (self._says,), self._shadow, self._serve)
        with suppress(BintallyError):  # the registry's word: that may not be
            self.chance.choice((*verbs, self._time, self._refuse))()

    def all(self) -> list[Version]:
        with self.registry.read() as connection:
            return versions(connection)

    def needed(self) -> set[str]:
        """Names, by what this test knows without asking whoever collects."""
        names = {name for model in MODELS if (name := champion(self.registry, model)) is not None}
        names |= set(self.challengers.values())
        names |= {version.name for loaded in self.services.values() for version in loaded}
        for model in MODELS:
            in_use = [each for each in self.all() if each.model == model and each.state not in OUT_OF_USE]
            names |= {each.name for each in sorted(in_use, key=lambda each: -each.number)[: self.newest]}
            names |= set(self.behind(model))
        return names

    def behind(self, model: str) -> list[str]:
        """Where rollbacks go to, as far as they are kept for that."""
        with self.registry.read() as connection:
            return [version.name for version in targets(self.registry, connection, model)[: self.champions]]

    def _any(self) -> Version:
        return self.chance.choice(self.all())

    def _more(self) -> None:
        stocked(self.registry, self._bundle, self.chance.randint(1, 3), model=self.chance.choice(MODELS))

    def _crown(self) -> None:
        version = self._any()
        is_champion = promote(self.registry, version.name, force_reason="a test's", by="rita").promoted
        if is_champion and self.challengers.get(version.model) == version.name:
            del self.challengers[version.model]

    def _back(self) -> None:
        model = self.chance.choice(MODELS)
        back = rollback(self.registry, model=model, by="rita").version.name
        if self.challengers.get(model) == back:
            del self.challengers[model]

    def _says(self) -> None:
        verb: Callable[..., Version] = self.chance.choice((approve, reject, retire, retire, forget))
        verb(self.registry, self._any().name, by="rita", reason="a test's")

    def _shadow(self) -> None:
        model = self.chance.choice(MODELS)
        if model in self.challengers:
            shadow.stop(self.registry, model=model, by="rita")
            del self.challengers[model]
        else:
            version = self._any()
            shadow.start(self.registry, version.name, by="rita")
            self.challengers[version.model] = version.name

    def _serve(self) -> None:
        service = self.chance.choice("abc")
        if service in self.services and self.chance.random() < 0.5:
            heartbeats.ended(self.registry.place, service)
            del self.services[service]
        else:
            there = [version for version in self.all() if version.name in kept(self.registry)]
            self.services[service] = self.chance.sample(there, min(2, len(there)))
            runs(self.registry, service, *self.services[service])

    def _refuse(self) -> None:
        with self.registry.write() as connection:
            record(connection, self._any().id, "a", self.chance.choice(("taken", "refused")))

    def _time(self) -> None:
        self.at += timedelta(days=1)


def _live(registry: Registry, bundle: MakeBundle, seed: int) -> int:
    """A history with collections in between; returns how many bundles went."""
    world, gone = World(registry, bundle, seed), 0
    for _ in range(40):
        world.step()
        if world.chance.random() < 0.25:
            needed = world.needed() & kept(registry)
            behind = {model: world.behind(model) for model in MODELS}
            found = gc(registry, by="night", at=world.at)
            gone += sum(each.kind == "bundle" for each in found.goes)
            there = kept(registry)
            assert needed <= there, f"history {seed}: {needed - there} went"
            assert {each.name for each in world.all() if each.state not in OUT_OF_USE} <= there
            assert {model: world.behind(model) for model in MODELS} == behind
            assert gc(registry, by="night", at=world.at).goes == (), "once is enough"
    for model in MODELS:
        for expected in world.behind(model):
            assert rollback(registry, model=model, by="rita").version.name == expected
    with registry.read() as connection:
        assert audit.verify(connection).is_whole
    return gone


def _histories(folder: Path, bundle: MakeBundle, seeds: range) -> int:
    with new_registry(folder / "empty"):
        pass
    gone = 0
    for seed in seeds:
        place = Path(shutil.copytree(folder / "empty", folder / "registry"))
        with Registry.open(place) as registry:
            gone += _live(registry, bundle, seed)
        shutil.rmtree(place)
    return gone


def test_histories_never_lose_what_somebody_needs(tmp_path: Path, bundle: MakeBundle) -> None:
    assert _histories(tmp_path, bundle, range(1, 5)) > 10, "or nothing was tested"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_histories_never_lose_what_somebody_needs(tmp_path: Path, bundle: MakeBundle) -> None:
    assert _histories(tmp_path, bundle, range(100, 500)) > 1000
