"""kill -9 at any moment leaves the old champion or the new one, whole; and the same command again ends right."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bintally.database import audit
from bintally.registry.bundles import is_whole
from bintally.registry.identity import IDENTITY
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.versions import versions
from tests.crashing import Child
from tests.inventory.conftest import DATABASES
from tests.registry.conftest import MakeBundle, empty_place
from tests.registry.crash_child import STEPS
from tests.registry.worlds import champion, champions

PROGRAM = Path(__file__).parent / "crash_child.py"
SOME = 6  # steps: two versions registered and promoted, a rollback, one retired
CHAMPIONS = (None, *(champion for _, _, champion in STEPS))

Place = Callable[[], Path]


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    made = Child(PROGRAM, tmp_path_factory.mktemp("said"))
    yield made
    made.close()


@pytest.fixture(params=DATABASES)
def fresh(request: pytest.FixtureRequest, tmp_path: Path, bare_place: Callable[[str], str]) -> Place:
    """Folders where a registry can be made, one after the other."""
    return lambda: empty_place(tmp_path / uuid4().hex, request.param, bare_place)


@pytest.fixture(scope="module")
def undisturbed(child: Child, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What the registry holds in the end, and how many steps it took."""
    place = tmp_path_factory.mktemp("undisturbed")
    confirmed, last = _run(child, place, bundles)
    assert confirmed == len(STEPS)
    return held(place), int(last.split()[-1])


@pytest.fixture(scope="module")
def bundles(bundle: MakeBundle) -> Path:
    return {bundle(letter).parent for letter in "abc"}.pop()


def test_a_kill_at_some_moments_of_each_step_leaves_old_or_new(
    fresh: Place, child: Child, bundles: Path, undisturbed: tuple[dict[str, Any], int]
) -> None:
    place, confirmed, die = fresh(), 0, 0
    every = 8 if (place / SETTINGS).exists() else 4  # fewer on PostgreSQL, where all takes long
    while confirmed < SOME:
        reached, _ = _run(child, place, bundles, start=confirmed, die=die, stop=SOME)
        looked_at(place, reached)
        confirmed, die = reached, 0 if reached > confirmed else die + every
        assert die < undisturbed[1] + every, "a step that never ends"
    assert _run(child, place, bundles, start=confirmed)[0] == len(STEPS)
    assert held(place) == undisturbed[0]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_before_any_step(
    fresh: Place, child: Child, bundles: Path, undisturbed: tuple[dict[str, Any], int]
) -> None:
    for point in range(undisturbed[1]):
        place = fresh()
        confirmed, _ = _run(child, place, bundles, die=point)
        looked_at(place, confirmed)
        assert _run(child, place, bundles, start=confirmed)[0] == len(STEPS), f"killed before step {point}"
        assert held(place) == undisturbed[0], f"killed before step {point}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_kills_whenever(
    fresh: Place, child: Child, bundles: Path, undisturbed: tuple[dict[str, Any], int]
) -> None:
    chance, kills = random.Random(8), 0
    while kills < 200:
        place, confirmed = fresh(), 0
        for _ in range(10):
            confirmed, _ = _run(child, place, bundles, start=confirmed, after_s=chance.uniform(0.0, 0.4))
            looked_at(place, confirmed)
            kills += 1
            if confirmed == len(STEPS):
                break
        assert _run(child, place, bundles, start=confirmed)[0] == len(STEPS)
        assert held(place) == undisturbed[0]


def _run(
    child: Child,
    place: Path,
    bundles: Path,
    *,
    start: int = 0,
    stop: int = len(STEPS),
    die: int | None = None,
    after_s: float | None = None,
) -> tuple[int, str]:
    task = {"place": str(place), "bundles": str(bundles), "start": start, "stop": stop, "die": die}
    return child.ask(task, after_s=after_s)


def looked_at(place: Path, confirmed: int) -> None:
    """The registry as a kill left it: the champion from before the step that was under way, or from after it."""
    if not (place / IDENTITY).is_file():  # not even made
        assert confirmed == 0
        return
    with Registry.open(place) as registry, registry.read() as connection:
        assert audit.verify(connection).is_whole
        found = versions(connection)
        for version in found:
            assert is_whole(registry.bundle_of(version.bundle_sha256))
        assert champion(registry) in CHAMPIONS[confirmed : confirmed + 2]
        assert champion(registry) is None or champion(registry) in {version.name for version in found}


def held(place: Path) -> dict[str, Any]:
    """What a registry says in the end."""
    looked_at(place, len(STEPS))
    with Registry.open(place) as registry, registry.read() as connection:
        told = [
            (line.action, line.subject) for line in audit.entries(connection) if line.action != "model.gates"
        ]  # the gates may be heard twice
        return {
            "versions": [(version.name, version.bundle_sha256, version.state) for version in versions(connection)],
            "champions": champions(registry),
            "audit": told,
        }
