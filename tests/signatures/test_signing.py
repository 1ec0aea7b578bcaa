"""Several may sign one folder; what changed since must be signed anew, knowingly."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bintally.errors import BundleError, ConflictError
from bintally.signatures import check, inspect, sign
from bintally.signatures.digest import SIGNATURE, digest_of
from bintally.signatures.signing import carry
from tests.signatures.folders import make_folder, make_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "bundle")


def keys(tmp_path: Path, *names: str) -> list[tuple[Path, Path]]:
    return [make_key(tmp_path / "keys", name) for name in names]


def test_signing_changes_no_file_and_no_digest(folder: Path, tmp_path: Path) -> None:
    [(key, _)], before = keys(tmp_path, "a"), digest_of(folder)
    assert sign(folder, key).sha256 == before
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "maps", "model.onnx", SIGNATURE]


def test_several_sign_one_folder_and_each_is_enough(folder: Path, tmp_path: Path) -> None:
    pairs = keys(tmp_path, "a", "b", "c")
    for key, _ in pairs:
        sign(folder, key)
    for _, public in pairs:
        assert check(folder, [public]) is not None
    assert len(inspect(folder).signers) == 3


def test_signing_twice_with_a_key_leaves_one_signature(folder: Path, tmp_path: Path) -> None:
    [(key, _)] = keys(tmp_path, "a")
    first = sign(folder, key)
    before = (folder / SIGNATURE).read_bytes()
    assert sign(folder, key) == first
    assert (folder / SIGNATURE).read_bytes() == before


def test_what_changed_since_is_signed_only_when_that_is_said(folder: Path, tmp_path: Path) -> None:
    (key, public), (other, others) = keys(tmp_path, "a", "b")
    sign(folder, key)
    make_folder(folder, {"card.json": b"{}"})
    with pytest.raises(ConflictError, match="has changed since it was signed"):
        sign(folder, other)
    sign(folder, other, renew=True)
    assert check(folder, [others]) is not None
    with pytest.raises(BundleError):  # whoever signed the files before has not signed these
        check(folder, [public])


def test_a_second_signer_signs_the_very_bytes_of_the_first(folder: Path, tmp_path: Path) -> None:
    (key, _), (other, public) = keys(tmp_path, "a", "b")
    sign(folder, key)
    before = json.loads((folder / SIGNATURE).read_text())["payload"]
    sign(folder, other)
    assert json.loads((folder / SIGNATURE).read_text())["payload"] == before
    assert check(folder, [public]) is not None


def test_two_who_sign_at_once_both_have_signed(folder: Path, tmp_path: Path) -> None:
    pairs = keys(tmp_path, "a", "b", "c", "d")
    code = "import sys\nfrom pathlib import Path\nfrom bintally.signatures import sign\n"
    code += "sys.stdin.read()\nsign(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(key)], stdin=subprocess.PIPE) for key, _ in pairs
    ]
    for each in started:
        each.communicate(b"", timeout=60)
    assert [each.returncode for each in started] == [0, 0, 0, 0]
    assert len(inspect(folder, [public for _, public in pairs]).trusted) == 4


def test_signatures_come_along_to_a_copy(folder: Path, tmp_path: Path) -> None:
    (key, public), (other, others) = keys(tmp_path, "a", "b")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    sign(folder, key)
    carry(folder, copy)
    assert check(copy, [public]) is not None
    sign(copy, other)
    carry(folder, copy)  # it takes none away
    assert check(copy, [others]) is not None


def test_signatures_of_other_files_are_left_behind(folder: Path, tmp_path: Path) -> None:
    [(key, _)] = keys(tmp_path, "a")
    sign(folder, key)
    copy = make_folder(tmp_path / "copy", {"card.json": b"{}"})
    carry(folder, copy)
    carry(copy, folder)
    assert not (copy / SIGNATURE).exists()


def test_a_stop_while_signing_leaves_the_signatures_that_were_there(folder: Path, tmp_path: Path) -> None:
    (key, public), (other, _) = keys(tmp_path, "a", "b")
    sign(folder, key)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom bintally.signatures import sign\n"
        "Path.replace = lambda *_: os._exit(9)\nsign(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(other)], check=False, env=dict(os.environ))
    assert done.returncode == 9
    assert check(folder, [public]) is not None
    assert len(sign(folder, other).signers) == 2
