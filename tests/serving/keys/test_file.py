import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bintally.errors import ConflictError, StorageError, UsageError
from bintally.serving.keys.file import KeyFile
from bintally.serving.keys.key import PRESENTED


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "state" / "keys.json")


def test_a_key_is_shown_once_and_only_its_hash_is_kept(file: KeyFile) -> None:
    key, text = file.create("robot-7", scopes=["count"])
    shape = PRESENTED.fullmatch(text)
    assert shape is not None
    assert shape[1] == key.id
    assert shape[2] not in file.path.read_text()
    assert file.read() == (key,)
    assert key.opens_with(key.sha256, datetime.now(UTC))


def test_only_the_owner_reads_the_file(file: KeyFile) -> None:
    before = os.umask(0)
    try:
        file.create("robot-7", scopes=["count"])
        file.rotate("robot-7")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_scopes_stand_in_one_order_and_only_once(file: KeyFile) -> None:
    key, _ = file.create("robot-7", scopes=["read", "count", "read"])
    assert key.scopes == ("count", "read")


def test_two_keys_of_one_name_are_refused(file: KeyFile) -> None:
    file.create("robot-7", scopes=["count"])
    with pytest.raises(ConflictError, match="robot-7") as error:
        file.create("robot-7", scopes=["count"])
    assert "rotate" in error.value.hint


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a\n", "<b>"])
def test_a_name_is_a_plain_word(file: KeyFile, name: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        file.create(name, scopes=["count"])


def test_wrong_scopes_rates_and_times_are_refused(file: KeyFile) -> None:
    with pytest.raises(UsageError, match="no scope") as error:
        file.create("a", scopes=["cuont"])
    assert "count" in error.value.hint
    with pytest.raises(UsageError, match="needs a scope"):
        file.create("a", scopes=[])
    for rate in (-1.0, 1e7, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="no rate"):
            file.create("a", scopes=["count"], rate=rate)
    for days in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(UsageError, match="can't expire"):
            file.create("a", scopes=["count"], expires_days=days)
    assert file.read() == ()


def test_the_secret_before_a_rotation_is_taken_for_its_grace_only(file: KeyFile) -> None:
    old, _ = file.create("robot-7", scopes=["count"])
    new, text = file.rotate("robot-7", grace_hours=2)
    now = datetime.now(UTC)
    assert new.id == old.id
    assert text.startswith(f"btk_{old.id}_")
    assert new.opens_with(new.sha256, now)
    assert new.opens_with(old.sha256, now)
    assert not new.opens_with(old.sha256, now + timedelta(hours=3))
    at_once, _ = file.rotate("robot-7", grace_hours=0)
    assert not at_once.opens_with(new.sha256, now + timedelta(seconds=1))
    assert not at_once.opens_with(old.sha256, now)


def test_a_key_that_is_revoked_is_gone_and_the_others_stay(file: KeyFile) -> None:
    kept, _ = file.create("robot-7", scopes=["count"])
    file.create("robot-8", scopes=["count"])
    file.revoke("robot-8")
    assert file.read() == (kept,)
    with pytest.raises(UsageError, match="no key 'robot-8'") as error:
        file.revoke("robot-8")
    assert "robot-7" in error.value.hint
    with pytest.raises(UsageError, match="no key"):
        file.rotate("robot-8")


def test_commands_at_the_same_time_lose_no_key(file: KeyFile) -> None:
    names = [f"robot-{number}" for number in range(12)]
    threads = [threading.Thread(target=file.create, args=(name,), kwargs={"scopes": ["count"]}) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in file.read()) == sorted(names)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": [{"id": 1}]}', '{"keys": [], "more": 1}', "\xff"])
def test_a_damaged_file_is_told_without_quoting_it(file: KeyFile, content: str) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content.encode("latin-1"))
    with pytest.raises(StorageError, match="no file of keys") as error:
        file.read()
    assert not content or content not in str(error.value)
    with pytest.raises(StorageError):
        file.create("robot-7", scopes=["count"])
    assert file.path.read_bytes() == content.encode("latin-1"), "what is there may still be mended"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expires", "2030-01-01T00:00:00"),
        ("sha256", "é" * 64),
        ("previous_sha256", "0" * 63),
        ("rate", -1),
        ("rate", 1e308),
    ],
)
def test_what_was_changed_by_hand_is_looked_at_when_the_file_is_read(file: KeyFile, field: str, value: object) -> None:
    """A time without an offset was once read, and then each request with that key was a 500."""
    file.create("robot-7", scopes=["count"])
    told = json.loads(file.path.read_bytes())
    told["keys"][0][field] = value
    file.path.write_text(json.dumps(told))
    with pytest.raises(StorageError, match="no file of keys"):
        file.read()


def test_a_file_of_a_later_format_is_left_alone(file: KeyFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text(json.dumps({"keys": [], "format": 2}))
    with pytest.raises(StorageError, match="newer"):
        file.create("robot-7", scopes=["count"])
