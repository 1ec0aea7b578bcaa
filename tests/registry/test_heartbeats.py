"""Services say what they count with."""

import os
import time
from pathlib import Path

import pytest

from bintally.errors import StorageError
from bintally.registry import heartbeats
from tests.databases import new_registry


def test_what_runs_is_told_until_it_ends_or_says_nothing_for_long(tmp_path: Path) -> None:
    place = tmp_path / "registry"
    with new_registry(place) as registry:
        assert heartbeats.running(registry) == []
        heartbeats.beat(place, "shop:8080/worker-1", {"bintally/2": "b", "bintally/1": "a"})
        heartbeats.beat(place, "shop:8080/worker-2", {"bintally/2": "b"})
        heartbeats.beat(place, "shop:8080/worker-2", {"bintally/3": "c"})
        assert [each.service for each in heartbeats.running(registry)] == ["shop:8080/worker-1", "shop:8080/worker-2"]
        assert heartbeats.bundles_in_use(registry) == {"a", "b", "c"}
        heartbeats.ended(place, "shop:8080/worker-1")
        heartbeats.ended(place, "shop:8080/worker-1")
        assert heartbeats.bundles_in_use(registry) == {"c"}
        [path] = (place / heartbeats.RUNNING).glob("*.json")
        before = time.time() - heartbeats.GONE_S - 60
        os.utime(path, (before, before))
        assert heartbeats.bundles_in_use(registry) == frozenset()
        assert [each.versions for each in heartbeats.running(registry, within_s=1e9)] == [{"bintally/3": "c"}]


def test_names_that_look_alike_in_a_file_name_are_two_services(tmp_path: Path) -> None:
    with new_registry(tmp_path) as registry:
        heartbeats.beat(tmp_path, "a/b", {"v": "1"})
        heartbeats.beat(tmp_path, "a:b", {"v": "2"})
        (tmp_path / heartbeats.RUNNING / "torn.json").write_text('{"serv')
        assert heartbeats.bundles_in_use(registry) == {"1", "2"}


def test_a_folder_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / heartbeats.RUNNING).write_text("no folder")
    with pytest.raises(StorageError):
        heartbeats.beat(tmp_path, "a", {})


def test_what_cant_be_read_is_not_taken_for_nobody(tmp_path: Path) -> None:
    with new_registry(tmp_path) as registry:
        folder = tmp_path / heartbeats.RUNNING
        folder.write_text("no folder")
        with pytest.raises(StorageError, match=r"running can't be read: Not a directory"):
            heartbeats.running(registry)
        folder.unlink()
        (folder / "odd.json").mkdir(parents=True)
        with pytest.raises(StorageError, match=r"odd.json can't be read"):
            heartbeats.running(registry)
