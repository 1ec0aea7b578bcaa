"""Files appear whole or not at all: through errors, kills, full disks and missing permissions."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bintally.artifacts import (
    atomic_folder,
    atomic_write,
    code_fingerprint,
    fingerprint,
    is_current,
    provenance_path,
    sha256_of,
    storage_errors,
    write_bytes,
    write_json,
    write_provenance,
    write_text,
)
from bintally.errors import StorageError


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with atomic_write(target) as file:
        file.write(b"first half, ")
        assert not target.exists()
        file.write(b"second half")
    assert target.read_bytes() == b"first half, second half"
    assert _names(target.parent) == ["file.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(error), atomic_write(target) as file:
        file.write(b"half of the new")
        raise error
    assert target.read_bytes() == b"old"
    assert _names(tmp_path) == ["file.bin"]


def test_a_folder_replaces_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    for name in ("old", "new"):
        with atomic_folder(target) as folder:
            (folder / name).write_text(name)
    assert _names(target) == ["new"]
    with pytest.raises(ValueError, match="stop"), atomic_folder(target) as folder:
        (folder / "half").write_text("half")
        raise ValueError("stop")
    assert _names(target) == ["new"]
    assert _names(tmp_path) == ["bundle"]


def test_text_and_json_are_written_as_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe\n".encode()
    write_json(tmp_path / "a.json", {"path": tmp_path, "é": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"path": str(tmp_path), "é": [1, None]}


WRITE_FOREVER = """
import sys
from pathlib import Path
from bintally.artifacts import atomic_write
target, number = Path(sys.argv[1]), 0
while True:
    number += 1
    with atomic_write(target, durable=False) as file:
        for _ in range(64):
            file.write(bytes([number % 256]) * 16384)
            file.flush()
"""


@pytest.mark.parametrize("attempt", range(3))
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path, attempt: int) -> None:
    target = tmp_path / "file.bin"
    with subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(target)]) as process:
        deadline = time.monotonic() + 60
        while not target.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.013 * attempt)
        process.send_signal(signal.SIGKILL)
    data = target.read_bytes()
    assert len(data) == 64 * 16384
    assert len(set(data)) == 1
    assert all(name == "file.bin" or name.endswith(".tmp") for name in _names(tmp_path))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from bintally.artifacts import atomic_folder, write_bytes
from bintally.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
folder = Path(sys.argv[1])
try:
    write_bytes(folder / "file.bin", bytes(200_000))
except StorageError as error:
    print(error)
try:
    with atomic_folder(folder / "bundle") as part:
        (part / "small").write_bytes(b"fits")
        (part / "large").write_bytes(bytes(200_000))
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_a_storage_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file.bin", b"old")
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    first, second = ended.stdout.splitlines()
    assert first.startswith(f"No space left to write {tmp_path / 'file.bin'}. Free some space")
    assert second.startswith(f"No space left to write {tmp_path / 'bundle'}.")
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert _names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_has_several_names(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageError, match="No space left"), storage_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_full_disk_is_known_from_its_words_alone(tmp_path: Path) -> None:
    # What polars raises has no number: a full disk once ended an export in a traceback.
    with pytest.raises(StorageError, match="No space left"), storage_errors(tmp_path):
        raise OSError("No space left on device (os error 28)")


def test_other_errors_of_the_system_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), storage_errors(tmp_path):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_one_may_not_write_to_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied"):
        write_bytes(tmp_path / "file.bin", b"data")
    tmp_path.chmod(0o700)


def test_missing_permission_is_a_storage_error_whoever_asks(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="permission denied"), storage_errors(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_equal_values_have_equal_fingerprints_whatever_their_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": Path("x")}) == fingerprint({"a": "x"})


def test_the_code_fingerprint_is_of_the_named_places_only() -> None:
    whole = code_fingerprint(["records.py", "errors.py"])
    assert whole == code_fingerprint(["records.py", "errors.py"])
    assert whole != code_fingerprint(["records.py"])
    assert len(code_fingerprint(["counting"])) == 64


class TestProvenance:
    """A stage is skipped when its inputs, settings, code and outputs are as they were."""

    INPUTS = {"manifest": "a" * 64}  # noqa: RUF012 - read only
    SETTINGS = {"seed": 0, "ratio": 0.7, "out": Path("x")}  # noqa: RUF012

    def _made(self, folder: Path) -> Path:
        output = folder / "tables" / "split.parquet"
        write_bytes(output, b"rows")
        write_provenance(folder, "split", inputs=self.INPUTS, settings=self.SETTINGS, code="c" * 64, outputs=[output])
        return output

    def _current(self, folder: Path, **changes: object) -> bool:
        asked = {"inputs": self.INPUTS, "settings": self.SETTINGS, "code": "c" * 64} | changes
        return is_current(folder, "split", **asked)  # type: ignore[arg-type]  # a test's shorthand

    def test_the_same_again_is_current(self, tmp_path: Path) -> None:
        assert not self._current(tmp_path)
        self._made(tmp_path)
        assert self._current(tmp_path)

    @pytest.mark.parametrize(
        "change", [{"inputs": {"manifest": "b" * 64}}, {"settings": {"seed": 1}}, {"code": "d" * 64}]
    )
    def test_any_difference_makes_it_stale(self, tmp_path: Path, change: dict[str, object]) -> None:
        self._made(tmp_path)
        assert not self._current(tmp_path, **change)

    def test_an_edited_or_missing_output_makes_it_stale(self, tmp_path: Path) -> None:
        output = self._made(tmp_path)
        output.write_bytes(b"rowz")
        assert not self._current(tmp_path)
        output.unlink()
        assert not self._current(tmp_path)

    @pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null"])
    def test_a_damaged_provenance_makes_it_stale(self, tmp_path: Path, text: str) -> None:
        self._made(tmp_path)
        provenance_path(tmp_path, "split").write_text(text)
        assert not self._current(tmp_path)


def test_two_writers_never_share_a_part(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with atomic_write(target) as first, atomic_write(target) as second:
        first.write(b"first")
        second.write(b"second")
    assert target.read_bytes() == b"first"  # the one that ended last
    assert _names(tmp_path) == ["file"]


def test_of_several_processes_one_makes_it_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "count"
    target.write_text("0")
    code = (
        "import sys; from pathlib import Path; from bintally.artifacts import one_at_a_time\n"
        "target = Path(sys.argv[1])\n"
        "for _ in range(50):\n"
        "    with one_at_a_time(target): target.write_text(str(int(target.read_text() or 0) + 1))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(target)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert target.read_text() == "150"
    assert list(tmp_path.iterdir()) == [target], "the lock is tidied away"
