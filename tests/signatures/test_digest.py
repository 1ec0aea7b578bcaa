"""A folder's digest is the same everywhere, and another one for any other files."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bintally.errors import BundleError
from bintally.signatures.digest import SIGNATURE, digest_of, digest_over, files_of
from tests.signatures.folders import FILES, make_folder

GOLDEN = "034227cb4c809778c4cd851845f01feba577ca6d8c168acf57fb0bb34768f775"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "bundle")


def test_the_digest_is_the_one_it_was_when_the_first_bundle_was_signed(folder: Path) -> None:
    assert digest_of(folder) == GOLDEN


def test_anybody_can_make_the_digest_with_the_tools_of_a_shell(folder: Path) -> None:
    make_folder(folder, {SIGNATURE: b"{}", ".hidden": b"x", ".git/config": b"y"})
    command = (
        "find . -type f -not -path '*/.*' -not -path ./signature.dsse.json | cut -c3- | LC_ALL=C sort | "
        "xargs -d '\\n' sha256sum | sha256sum"
    )
    if shutil.which("sha256sum") is None:
        pytest.skip("needs coreutils")
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == digest_of(folder)


def test_gos_and_in_totos_example_has_their_digest() -> None:
    name = "github.com/marklodato/go-hello-world@v0.0.1"
    files = {
        f"{name}/README.md": "3a137eef6458bfb76bb2c63fc29ffc7166604d2d2e09ed9d8250a534122a8364",
        f"{name}/go.mod": "28e7c942a036902d981759d0bf5704d2bfc7cb500caf68b84711b234af01c6a5",
        f"{name}/main.go": "ddc4da627d9a9f45fb29641a1b185d6f53287ecfd921aacbf4fe54b7a86fe8d1",
    }
    assert digest_over(files) == "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f"


def test_files_are_told_in_the_order_of_their_names(folder: Path) -> None:
    assert list(files_of(folder)) == sorted(FILES)


def test_where_the_folder_is_does_not_matter(folder: Path, tmp_path: Path) -> None:
    assert digest_of(Path(shutil.copytree(folder, tmp_path / "elsewhere"))) == digest_of(folder)


def test_what_hidden_files_and_signatures_say_does_not_matter(folder: Path) -> None:
    before = digest_of(folder)
    make_folder(folder, {SIGNATURE: b"{}", ".card.json.ab12.tmp": b"half", "maps/.DS_Store": b"x"})
    assert digest_of(folder) == before


def test_a_signature_in_a_folder_of_the_bundle_is_a_file_like_others(folder: Path) -> None:
    make_folder(folder, {f"maps/{SIGNATURE}": b"{}"})
    assert f"maps/{SIGNATURE}" in files_of(folder)


@pytest.mark.parametrize("leads_to", ["card.json", "../outside", "/etc/hostname", "nowhere", "maps"])
def test_links_are_refused_wherever_they_lead(folder: Path, leads_to: str) -> None:
    (folder.parent / "outside").write_text("secret")
    (folder / "link").symlink_to(leads_to)
    with pytest.raises(BundleError, match="is a link"):
        files_of(folder)


def test_a_pipe_is_refused_instead_of_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(BundleError, match="is no file"):
        files_of(folder)


@pytest.mark.parametrize(
    "name",
    ["two\nlines", "back\\slash", "e\N{COMBINING ACUTE ACCENT}", os.fsdecode(b"\xff"), "bell\a"],
    ids=["newline", "backslash", "decomposed", "no UTF-8", "control"],
)
def test_names_that_are_others_elsewhere_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    with pytest.raises(BundleError, match="another one elsewhere"):
        files_of(folder)


def test_names_that_differ_in_case_alone_are_refused(folder: Path) -> None:
    make_folder(folder, {"Card.json": b"x"})
    if len(list(folder.glob("[cC]ard.json"))) < 2:
        pytest.skip("this file system has one file of them")
    with pytest.raises(BundleError, match=r"Card\.json and card\.json"):
        files_of(folder)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no folder"):
        files_of(tmp_path / "nothing")


def test_a_file_that_cannot_be_read_is_told(folder: Path) -> None:
    (folder / "card.json").chmod(0)
    if os.access(folder / "card.json", os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(BundleError, match=r"card\.json can't be read"):
        files_of(folder)
