"""Which version a service starts with."""

import shutil
from pathlib import Path

import pytest

from bintally.bundle import MODEL
from bintally.errors import BundleError, StorageError, UsageError
from bintally.serving.assembly import build
from bintally.serving.following.memory import FOLDER, MOST_TRIES, Memory
from bintally.serving.following.registry_view import RegistryView
from bintally.serving.following.wanted import Wanted
from bintally.serving.operation.check import check
from bintally.serving.settings import ServeConfig
from tests.serving.following.registries import Shelf, following, until


def damage(shelf: Shelf, version: str) -> None:
    (shelf.folder_of(version) / MODEL).write_bytes(b"no model")


def start(shelf: Shelf, state: Path, **settings: object) -> None:
    """Nothing runs afterwards."""
    build(ServeConfig.of({"registry": shelf.place, "state": state, "threads": 1, **settings}))


def wanted_of(shelf: Shelf) -> Wanted:
    view = RegistryView(shelf.place, "bintally", "champion")
    seen = view.look()
    view.close()
    assert seen.champion is not None
    return seen.champion


def test_a_service_without_a_registry_to_follow_says_what_to_do(shelf: Shelf, state: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no registry") as none:
        build(ServeConfig.of({"registry": tmp_path / "none", "state": state}))
    assert "bintally models init" in none.value.hint
    with pytest.raises(UsageError, match="has no model 'bintally'"):
        start(shelf, state)
    version = shelf.put()
    with pytest.raises(UsageError, match="none of its versions yet") as unpromoted:
        start(shelf, state)
    assert "bintally models promote" in unpromoted.value.hint
    shelf.promote(version)
    with pytest.raises(UsageError, match="has no model 'bintaly'") as wrong:
        start(shelf, state, registry_model="bintaly")
    assert "'bintally'" in wrong.value.hint
    with pytest.raises(UsageError, match="A bundle and a registry"):
        start(shelf, state, bundle="fast")


def test_a_broken_champion_leaves_the_one_before(shelf: Shelf, state: Path) -> None:
    first, second = shelf.champion(), shelf.champion()
    damage(shelf, second)
    for refused in (1, 1):  # a start that knows it refuses it no second time
        with following(shelf, state) as service:
            assert service.version() == first
            assert f"{second} is refused" in service.problem()
            assert until(lambda: bool(shelf.reasons("refused")))
            assert len(shelf.reasons("refused")) == refused
    third = shelf.champion()
    with following(shelf, state) as service:
        assert service.version() == third
        assert service.problem() == ""


def test_the_version_that_answered_last_is_preferred_to_earlier_champions(shelf: Shelf, state: Path) -> None:
    shelf.champion()
    second = shelf.champion()
    with following(shelf, state) as service:
        assert service.version() == second
    shelf.roll_back()
    third, fourth = shelf.champion(), shelf.champion()
    damage(shelf, third)
    damage(shelf, fourth)
    with following(shelf, state) as service:
        assert service.version() == second


def test_no_version_that_can_be_used_is_an_error_that_names_them(shelf: Shelf, state: Path) -> None:
    for _ in range(2):
        damage(shelf, shelf.champion())
    with pytest.raises(BundleError, match=r"No version can be served: .*not those that were registered"):
        start(shelf, state)


def test_a_registry_that_is_away_leaves_the_last_good_version(shelf: Shelf, state: Path) -> None:
    elsewhere = shelf.place.with_name("elsewhere.sqlite")
    (shelf.place / "registry.sqlite").rename(elsewhere)
    (shelf.place / "registry.toml").write_text(f"database = '{elsewhere}'\n")
    first = shelf.champion()
    with following(shelf, state) as service:
        assert service.version() == first
    away = elsewhere.rename(elsewhere.with_name("away.sqlite"))
    with following(shelf, state) as service:
        assert service.version() == first
        assert f"{first} goes on" in service.problem("registry")
        away.rename(elsewhere)
        second = shelf.champion()
        assert until(lambda: service.version() == second)
        assert service.get("/health")["problems"] == {}
    second_folder = shelf.folder_of(second)
    elsewhere.rename(away)
    with pytest.raises(StorageError, match="is gone"):
        start(shelf, state.with_name("new"))
    (second_folder / MODEL).write_bytes(b"no model")
    with pytest.raises(StorageError, match=r"is gone.*not those that were registered"):
        start(shelf, state)


def test_a_version_that_ends_the_process_again_and_again_is_refused(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    with following(shelf, state):
        pass
    second = shelf.champion()
    of = (str(shelf.place), "bintally", "champion")
    memory = Memory(state / FOLDER / "worker-1.json", of, None)
    for _ in range(MOST_TRIES):
        memory.tries(wanted_of(shelf).change)
    with following(shelf, state) as service:
        assert service.version() == first
        assert f"{second} is refused: the service ended 3 times while it tried it" in service.problem()


def test_a_check_tries_the_version_that_would_be_served(shelf: Shelf, state: Path) -> None:
    version = shelf.champion()
    told = {each.name: each for each in check(registry=shelf.place, state=state, threads=1, port=0).checks}
    assert told["registry"].ok
    assert told["registry"].said == f"{version} is the champion, and whole"
    assert told["model"].said.startswith("tiny-1 counted")
    damage(shelf, version)
    told = {each.name: each for each in check(registry=shelf.place, state=state, threads=1, port=0).checks}
    assert not told["registry"].ok
    shutil.rmtree(shelf.place)
    told = {each.name: each for each in check(registry=shelf.place, state=state, threads=1, port=0).checks}
    assert "There is no registry" in told["registry"].said
