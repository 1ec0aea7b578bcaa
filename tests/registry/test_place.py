"""A registry is found, made, or refused; what was lost is never taken for empty."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bintally.errors import BintallyError, ConfigError, StorageError, UsageError
from bintally.registry.identity import IDENTITY
from bintally.registry.place import DATABASE, SETTINGS, Registry
from bintally.registry.versions import versions
from tests.databases import new_registry
from tests.registry.conftest import MakeBundle, empty_place
from tests.registry.worlds import registered


def test_where_there_is_none_it_says_how_to_make_one(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=r"There is no registry in .*bintally models init PLACE.*mounted\?"):
            Registry.open(place)
    assert not any(tmp_path.iterdir()), "looking leaves nothing"


def test_messages_speak_of_registries(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    with pytest.raises(UsageError, match=r"is no registry yet.*bintally models init PLACE"):
        Registry.open(tmp_path)


def test_made_twice_it_is_the_same(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"))
    told = (registry.place / IDENTITY).read_text()
    with Registry.open(registry.place, create=True) as again, again.read() as connection:
        assert len(versions(connection)) == 1
    assert (registry.place / IDENTITY).read_text() == told


def test_a_database_that_is_gone_is_not_made_anew(tmp_path: Path, bundle: MakeBundle) -> None:
    with new_registry(tmp_path) as registry:
        registered(registry, bundle("a"))
    for path in tmp_path.glob(f"{DATABASE}*"):
        path.unlink()
    for create in (False, True):
        with pytest.raises(
            StorageError, match=r"don't belong together: .*registry.sqlite is gone.*Is everything mount"
        ):
            Registry.open(tmp_path, create=create)
    assert not (tmp_path / DATABASE).exists()


def test_a_database_that_was_emptied_must_come_from_a_backup(tmp_path: Path) -> None:
    new_registry(tmp_path).close()
    for path in tmp_path.glob(f"{DATABASE}*"):
        path.unlink()
    (tmp_path / DATABASE).touch()
    with pytest.raises(UsageError, match=r"is no registry yet.*put back from a backup"):
        Registry.open(tmp_path)


@pytest.mark.parametrize("create", [False, True])
def test_an_empty_database_in_the_place_of_the_full_one_is_refused(
    bare_place: Callable[[str], str], tmp_path: Path, bundle: MakeBundle, create: bool
) -> None:
    place = empty_place(tmp_path / "registry", "postgresql", bare_place)
    with Registry.open(place, create=True) as registry:
        registered(registry, bundle("a"))
    settings = (place / SETTINGS).read_text()
    other = bare_place("postgresql")
    (place / SETTINGS).write_text(f'database = "{other}"\n')
    with pytest.raises(BintallyError, match="is empty" if create else "is no registry yet"):
        Registry.open(place, create=create)
    (place / SETTINGS).write_text(settings)
    with Registry.open(place) as again, again.read() as connection:
        assert len(versions(connection)) == 1


def test_another_registrys_database_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        new_registry(tmp_path / name).close()
    shutil.copy(tmp_path / "one" / DATABASE, tmp_path / "two" / DATABASE)
    for create in (False, True):
        with pytest.raises(StorageError, match="is another registry's"):
            Registry.open(tmp_path / "two", create=create)


def test_a_folder_that_is_not_mounted_is_not_made_anew(registry: Registry, bundle: MakeBundle, tmp_path: Path) -> None:
    registered(registry, bundle("a"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings = registry.settings.database or registry.place / DATABASE
    (elsewhere / SETTINGS).write_text(f'database = "{settings}"\n')
    for create in (False, True):
        with pytest.raises(StorageError, match="has versions, and the folder is empty"):
            Registry.open(elsewhere, create=create)
    (registry.place / IDENTITY).unlink()
    with pytest.raises(StorageError, match="identity is gone"):
        Registry.open(registry.place, create=True)


def test_an_init_that_was_killed_before_its_last_step_is_finished(registry: Registry) -> None:
    (registry.place / IDENTITY).unlink()
    with pytest.raises(StorageError):
        Registry.open(registry.place)
    Registry.open(registry.place, create=True).close()
    Registry.open(registry.place).close()


def test_a_moved_folder_is_the_same_registry(tmp_path: Path, bundle: MakeBundle) -> None:
    with new_registry(tmp_path / "here") as registry:
        registered(registry, bundle("a"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    with Registry.open(tmp_path / "there") as registry, registry.read() as connection:
        assert len(versions(connection)) == 1


def test_settings_name_the_database(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text('database = "data/own.sqlite"\napproval = "manual"\n')
    with Registry.open(tmp_path, create=True) as made:
        assert made.settings.approval == "manual"
    assert (tmp_path / "data" / "own.sqlite").is_file()
    (tmp_path / SETTINGS).write_text('databse = "own.sqlite"\n')
    with pytest.raises(ConfigError, match="Did you mean 'database'"):
        Registry.open(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush@127.0.0.1:9/none",
        "postgresql://me@127.0.0.1:9/none?password=hush",
        "postgresql://me:hush@127.0.0.1:port/none",
    ],
)
def test_no_message_holds_a_password(tmp_path: Path, url: str) -> None:
    (tmp_path / SETTINGS).write_text(f'database = "{url}"\n')
    (tmp_path / IDENTITY).write_text("somebody\n")
    with pytest.raises(BintallyError) as caught:
        Registry.open(tmp_path)
    assert "hush" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
