"""What is known of versions across restarts."""

from pathlib import Path

import pytest

from bintally.errors import StorageError
from bintally.serving.following.memory import MOST_TRIES, Memory
from bintally.serving.following.wanted import Wanted

OF = ("/registry", "bintally", "champion")


def version(change: int) -> Wanted:
    return Wanted(
        change=change, kind="promote", version_id=change, name=f"bintally/{change}", bundle_sha256="0", folder="/b"
    )


def test_what_was_refused_and_what_was_good_outlives_the_process(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m.json", OF, "id")
    memory.serves(version(1))
    memory.refuses(2, "it is broken")
    again = Memory(tmp_path / "m.json", OF, "id")
    assert again.good == version(1)
    assert again.why_not(2) == "it is broken"
    assert again.why_not(1) is None
    again.forgives(2)
    assert Memory(tmp_path / "m.json", OF, "id").why_not(2) is None


def test_what_is_known_of_another_registry_says_nothing(tmp_path: Path) -> None:
    Memory(tmp_path / "m.json", OF, "id").refuses(1, "it is broken")
    assert Memory(tmp_path / "m.json", OF, "other").why_not(1) is None
    assert Memory(tmp_path / "m.json", ("/registry", "bintally", "staging"), "id").why_not(1) is None
    assert Memory(tmp_path / "m.json", OF, None).why_not(1) == "it is broken"  # its folder is away just now


def test_a_version_may_end_the_process_a_few_times_unless_it_answered_before(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m.json", OF, "id")
    memory.serves(version(1))
    for _ in range(MOST_TRIES):
        assert memory.why_not(2) is None
        memory.tries(1)
        memory.tries(2)
    assert memory.why_not(1) is None
    assert memory.why_not(2) == "the service ended 3 times while it tried it"
    memory.serves(version(2))
    assert memory.why_not(2) is None


def test_a_file_that_can_not_be_read_is_begun_anew(tmp_path: Path) -> None:
    for content in ("", "{", '{"of": 3}'):
        (tmp_path / "m.json").write_text(content)
        memory = Memory(tmp_path / "m.json", OF, "id")
        assert memory.good is None
        memory.refuses(1, "it is broken")
        assert Memory(tmp_path / "m.json", OF, "id").why_not(1) == "it is broken"


def test_what_can_not_be_written_is_known_until_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    memory = Memory(tmp_path / "file" / "m.json", OF, "id")
    with pytest.raises(StorageError):
        memory.refuses(1, "it is broken")
    assert memory.why_not(1) == "it is broken"
