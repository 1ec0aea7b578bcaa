"""kill -9 while MLflow is told: told again, it has one run, whole, each point once, and each version once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from bintally.database import leases
from bintally.registry.place import Registry
from bintally.registry.registration import register
from bintally.registry.tracking import log, mirror
from tests.crashing import Child
from tests.registry.tracking.tracked import EPOCHS, World, asked, curve, place_with, runs
from tests.registry.worlds import promoted

PROGRAM = Path(__file__).parent / "crash_child.py"
EVERY = 25  # of the moments; the soak takes all


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    made = Child(PROGRAM, tmp_path_factory.mktemp("said"))
    yield made
    made.close()


def test_a_kill_at_some_moments_of_telling(tmp_path: Path, child: Child, world: World, fresh_store: Path) -> None:
    _killed_at(tmp_path, child, world, fresh_store, every=EVERY)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_at_each_moment_of_telling(tmp_path: Path, child: Child, world: World, fresh_store: Path) -> None:
    _killed_at(tmp_path, child, world, fresh_store, every=1)


def _killed_at(folder: Path, child: Child, world: World, fresh_store: Path, *, every: int) -> None:
    moments = int(_tell(_place(folder / "whole", world, fresh_store), child, world).split()[-1])
    assert moments > 20
    for die in range(0, moments, every):
        place = _place(folder / str(die), world, fresh_store)
        assert _tell(place, child, world, die=die) == ""
        with Registry.open(place) as registry:
            _a_minute_later(registry)
            assert _tell(place, child, world).startswith("done")
            _looked_at(registry, world)


def _place(place: Path, world: World, fresh_store: Path) -> Path:
    """A registry with a champion of which MLflow knows nothing."""
    with place_with(place, fresh_store) as registry:
        register(registry, world.bundle, run=world.run, by="rita")
        promoted(registry, "1")
    return place


def _tell(place: Path, child: Child, world: World, *, die: int | None = None) -> str:
    folders = {"run": str(world.run), "bundle": str(world.bundle), "report": str(world.report)}
    return child.ask({"start": 0, "place": str(place), "die": die, **folders})[1]


def _a_minute_later(registry: Registry) -> None:
    """A killed one's turn is over then."""
    with registry.write() as connection:
        connection.execute(update(leases.LeaseRow).values(until=datetime(2026, 1, 1, tzinfo=UTC)))


def _looked_at(registry: Registry, world: World) -> None:
    assert not log(registry, world.run, bundle=world.bundle, report=world.report, by="rita").is_new
    assert mirror(registry).changes == ()
    with asked(registry) as client:
        [run] = runs(client)
        assert run.info.status == "FINISHED"
        for key, points in (("epoch/accuracy", EPOCHS), ("step/loss", 200), ("test/accuracy", 1)):
            assert len(curve(client, run.info.run_id, key)) == points
        assert len(client.list_artifacts(run.info.run_id)) == 5
        [version] = client.search_model_versions("name = 'bintally'")
        assert version.run_id == run.info.run_id
        assert client.get_registered_model("bintally").aliases == {"champion": version.version}
