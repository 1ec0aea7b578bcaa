"""kill -9 at any moment of a collection leaves nothing that the next one does not mend, and never too little."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bintally.database import audit
from bintally.registry import shadow
from bintally.registry.approval import forget, retire
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.retention.collect import gc
from bintally.registry.retention.verdicts import OUT_OF_USE
from bintally.registry.versions import versions
from tests.crashing import Child
from tests.registry.conftest import MakeBundle
from tests.registry.retention.shelf import DAY_S, aged, boxed, force, kept, named, states, stocked

PROGRAM = Path(__file__).parent / "crash_child.py"
STAY = named([1, 2, 4, 8])


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    made = Child(PROGRAM, tmp_path_factory.mktemp("said"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def full(bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with something of all that goes."""
    place = tmp_path_factory.mktemp("full") / "registry"
    place.mkdir()
    (place / SETTINGS).write_text("[retention]\nnewest = 1\ndays = 0\n")
    with Registry.open(place, create=True) as registry:
        made = stocked(registry, bundle, 8)
        force(registry, "1", "2")
        shadow.start(registry, "4", by="rita")
        for number in ("3", "5"):
            retire(registry, number, by="rita", reason="old")
        forget(registry, "5", by="rita", reason="its photos had to go")
        aged(registry.bundle_of(boxed(registry, "killed")), DAY_S)
        pairs = place / "shadow" / f"{made[2].id}-{made[0].id}"
        pairs.mkdir(parents=True)
        (pairs / "a.jsonl").write_text("")
        aged(pairs, 91 * DAY_S)
        (place / "predictions").mkdir()
        (place / "predictions" / f"{made[2].bundle_sha256}-photos.parquet").write_text("")
    return place


def test_kills_are_mended_by_the_next_run(child: Child, full: Path, tmp_path: Path) -> None:
    _killed(child, full, tmp_path, some=12)


@pytest.mark.soak
def test_a_kill_at_each_moment_is_mended_by_the_next_run(child: Child, full: Path, tmp_path: Path) -> None:
    _killed(child, full, tmp_path, some=None)


def _killed(child: Child, full: Path, folder: Path, *, some: int | None) -> None:
    """Kills before each step, or before `some` of them."""
    whole = Path(shutil.copytree(full, folder / "whole"))
    _, said = child.ask({"place": str(whole), "start": 0, "die": None})
    steps, end = range(int(said.split()[-1])), _held(whole)
    assert len(steps) > 20
    assert end["files"] == []
    for die in steps if some is None else random.Random(8).sample(steps, some):
        place = Path(shutil.copytree(full, folder / f"killed {die}"))
        confirmed, _ = child.ask({"place": str(place), "start": 0, "die": die})
        assert confirmed == 0, "it was killed"
        _looked_at(place)
        with Registry.open(place) as registry:
            gc(registry, by="night")
        assert _held(place) == end, f"killed before step {die}"
        shutil.rmtree(place)


def _looked_at(place: Path) -> None:
    """What a kill left: whoever is in use has a bundle."""
    with Registry.open(place) as registry:
        with registry.read() as connection:
            assert audit.verify(connection).is_whole
            found = versions(connection)
        in_use = {version.name for version in found if version.state not in OUT_OF_USE}
        assert in_use >= STAY
        assert in_use <= kept(registry)


def _held(place: Path) -> dict[str, Any]:
    """What is there in the end; a bundle may have been said to go twice."""
    with Registry.open(place) as registry:
        assert kept(registry) == STAY
        with registry.read() as connection:
            told = {(line.action, line.subject) for line in audit.entries(connection)}
        bundles = sorted(path.name for path in registry.bundles.iterdir())
        files = sorted(path.name for name in ("predictions", "shadow") for path in (place / name).iterdir())
        return {"states": states(registry), "audit": told, "bundles": bundles, "files": files}
