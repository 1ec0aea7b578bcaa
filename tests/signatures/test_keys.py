"""Keys are Ed25519 in PEM files, readable by their owner, never overwritten."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bintally.errors import BintallyError, ConflictError, UsageError
from bintally.signatures.keys import KeyFile, generate, read_public
from tests.signatures.folders import make_key


def test_the_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in private.read_bytes()
    assert b"PRIVATE" not in public.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [private.name, public.name]


def test_a_signature_is_checked_with_the_public_key_and_with_no_other(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    other = generate(tmp_path / "other")
    signature = KeyFile(private).sign(b"text")
    assert read_public(public).made(signature, b"text")
    assert not read_public(public).made(signature, b"Text")
    assert not read_public(public).made(b"", b"text")
    assert not other.made(signature, b"text")


def test_both_files_speak_of_one_key(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    assert KeyFile(private).public.id == read_public(public).id


@pytest.mark.parametrize("there", ["mara.key", "mara.key.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(ConflictError, match="There is a file"):
        generate(tmp_path / "mara.key")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_keys_of_openssl_are_taken_and_its_signatures_hold(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    private, public, text = tmp_path / "k", tmp_path / "k.pub", tmp_path / "text"
    text.write_bytes(b"text")
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
        ["pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", text, "-out", tmp_path / "sig"],
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    assert (tmp_path / "sig").read_bytes() == KeyFile(private).sign(b"text")
    assert read_public(public).made((tmp_path / "sig").read_bytes(), b"text")


def test_other_keys_and_other_files_are_refused(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    (tmp_path / "text").write_text("no key")
    for path in (private, tmp_path / "text", tmp_path / "nothing"):
        with pytest.raises(UsageError):
            read_public(path)
    for path in (public, tmp_path / "text", tmp_path / "nothing"):
        with pytest.raises(UsageError):
            KeyFile(path)


def test_a_key_of_another_kind_or_with_a_password_is_refused(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    kinds = {"ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "locked": ["-algorithm", "ed25519"]}
    locked = ["-aes256", "-pass", "pass:secret"]
    for name, kind in kinds.items():
        command = ["openssl", "genpkey", *kind, *(locked if name == "locked" else []), "-out", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UsageError, match="Ed25519"):
        KeyFile(tmp_path / "ec")
    with pytest.raises(UsageError) as refused:
        KeyFile(tmp_path / "locked")
    assert "password" in refused.value.hint


def test_without_the_library_digests_are_checked_all_the_same_and_keys_say_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path\n"
        "from bintally import signatures\n"
        "from bintally.errors import MissingExtraError\n"
        "folder = Path(sys.argv[1]); (folder / 'a').write_text('x')\n"
        "assert signatures.check(folder) is None\n"
        "assert signatures.inspect(folder).problem is None\n"
        "try:\n    signatures.check(folder, [folder / 'key.pub'])\n"
        "except MissingExtraError as error:\n    sys.exit(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "pip install 'bintally[signatures]'" in done.stderr
    assert issubclass(UsageError, BintallyError)
