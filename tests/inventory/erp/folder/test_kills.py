"""kill -9, or an error of the disk, between any two changes of the folder: each file is dropped once, and whole."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bintally.errors import ErpUnavailableError
from bintally.inventory.erp.folder import FolderConnector, FolderSettings
from tests.crashing import Child
from tests.inventory.erp.folder.crash_child import BATCHES, KEYS, deliver, posting_of
from tests.inventory.erp.folder.reader import dropped, new_folder, rows_of

PROGRAM = Path(__file__).parent / "crash_child.py"


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    made = Child(PROGRAM, tmp_path_factory.mktemp("crash"))
    yield made
    made.close()


def take(root: Path) -> list[str]:
    """Reads all that lies there, and deletes it; the keys."""
    keys = []
    for path in dropped(root):
        [row] = rows_of(path)
        assert (row["bin"], row["change"]) == (f"bin {row['key']}", -1)
        keys.append(row["key"])
        path.unlink()
    return keys


def test_a_kill_at_each_boundary(child: Child, tmp_path: Path) -> None:
    whole = new_folder(tmp_path / "undisturbed")
    confirmed, last = child.ask({"root": str(whole), "start": 0, "die": None})
    assert (confirmed, take(whole)) == (len(BATCHES), list(KEYS))
    boundaries = int(last.split()[-1])
    assert boundaries > 20
    for number in range(boundaries):
        root = new_folder(tmp_path / str(number))
        confirmed, _ = child.ask({"root": str(root), "start": 0, "die": number})
        taken = take(root)
        assert child.ask({"root": str(root), "start": confirmed, "die": None})[0] == len(BATCHES)
        assert taken + take(root) == list(KEYS), f"killed at boundary {number}"


def test_an_error_of_the_disk_at_each_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = True
    number = 0
    while failed:
        root = new_folder(tmp_path / str(number))
        connector = FolderConnector(FolderSettings(path=root))
        with monkeypatch.context() as patched:
            fail_at(patched, number)
            failed = not delivered(connector)
        taken = take(root)
        assert delivered(connector)
        assert sorted(taken + take(root)) == list(KEYS), f"failed at boundary {number}"
        number += 1
    assert number > 20


def delivered(connector: FolderConnector) -> bool:
    try:
        deliver(connector, [posting_of(key) for key in KEYS])
    except ErpUnavailableError:
        return False
    return True


def fail_at(patched: pytest.MonkeyPatch, number: int) -> None:
    """The so-manieth change of the file system fails, once."""
    passed = 0

    def failing(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == number + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **named)

        return call

    patched.setattr("os.fsync", failing(lambda descriptor: None))
    for name in ("rename", "replace", "unlink", "mkdir"):
        patched.setattr(Path, name, failing(getattr(Path, name)))
