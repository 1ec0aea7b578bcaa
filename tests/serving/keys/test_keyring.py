from pathlib import Path

import pytest

from bintally.errors import StorageError
from bintally.serving.keys.file import KeyFile
from bintally.serving.keys.keyring import LOOKED_AT_EVERY_S, Keyring


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def later(self) -> None:
        self.now += LOOKED_AT_EVERY_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def name_of(keyring: Keyring, presented: str) -> str | None:
    key = keyring.find(presented)
    return None if key is None else key.name


def test_a_key_is_found_by_its_whole_text_only(path: Path) -> None:
    _, text = KeyFile(path).create("robot-7", scopes=["count"])
    other, _ = KeyFile(path).create("robot-8", scopes=["count"])
    keyring = Keyring(path)
    assert name_of(keyring, text) == "robot-7"
    secret = text[17:]
    wrong = [text[:-1], f"{text}x", text[:-1] + ("a" if text[-1] != "a" else "b"), f"btk_{other.id}_{secret}"]
    wrong += ["", "btk_", f"btk_{'0' * 12}_{secret}", text.upper(), f" {text}", f"{text}\n", "btk_ä", secret]
    assert [name_of(keyring, each) for each in wrong] == [None] * len(wrong)


def test_an_expired_key_is_taken_no_more(path: Path) -> None:
    _, text = KeyFile(path).create("robot-7", scopes=["count"], expires_days=1e-9)
    keyring = Keyring(path)
    assert keyring.find(text) is None
    assert keyring.is_empty


def test_a_changed_file_is_taken_up_within_a_second(path: Path) -> None:
    file, clock = KeyFile(path), Clock()
    _, first = file.create("robot-7", scopes=["count"])
    keyring = Keyring(path, clock=clock)
    _, second = file.create("robot-8", scopes=["count"])
    assert keyring.find(second) is None
    clock.later()
    assert name_of(keyring, second) == "robot-8"
    file.revoke("robot-7")
    clock.later()
    assert keyring.find(first) is None


def test_the_secret_before_a_rotation_still_opens(path: Path) -> None:
    file, clock = KeyFile(path), Clock()
    _, old = file.create("robot-7", scopes=["count"])
    keyring = Keyring(path, clock=clock)
    _, new = file.rotate("robot-7")
    clock.later()
    assert (name_of(keyring, old), name_of(keyring, new)) == ("robot-7", "robot-7")


def test_a_file_that_is_damaged_or_gone_leaves_the_last_good_keys(path: Path) -> None:
    file, clock = KeyFile(path), Clock()
    _, text = file.create("robot-7", scopes=["count"])
    good = path.read_bytes()
    keyring = Keyring(path, clock=clock)
    path.write_text("{")
    clock.later()
    assert name_of(keyring, text) == "robot-7"
    assert "still taken" in (keyring.failure or "")
    path.unlink()
    clock.later()
    assert name_of(keyring, text) == "robot-7"
    assert "gone" in (keyring.failure or "")
    path.write_bytes(good)
    clock.later()
    assert name_of(keyring, text) == "robot-7"
    assert keyring.failure is None


def test_a_file_that_was_away_and_is_put_back_as_it_was_is_no_failure_any_more(path: Path) -> None:
    file, clock = KeyFile(path), Clock()
    file.create("robot-7", scopes=["count"])
    keyring = Keyring(path, clock=clock)
    path.rename(path.with_suffix(".away"))
    clock.later()
    keyring.refresh()
    assert "gone" in (keyring.failure or "")
    path.with_suffix(".away").rename(path)
    clock.later()
    keyring.refresh()
    assert keyring.failure is None


def test_a_damaged_file_at_the_start_is_an_error_and_none_is_empty(path: Path) -> None:
    assert Keyring(path).is_empty
    path.write_text("{")
    with pytest.raises(StorageError):
        Keyring(path)
