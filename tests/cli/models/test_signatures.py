"""Keys, signatures and cards on the command line: what is said, and with which exit code."""

import json
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from bintally.cli import app
from bintally.errors import BintallyError
from bintally.registry.registration import register
from tests.bundles import make_bundle
from tests.databases import new_registry
from tests.signatures.folders import make_key


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_key(tmp_path_factory.mktemp("keys"), "release")


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def models(*arguments: str | Path, registry: Path | None = None) -> Done:
    """`bintally models ARGUMENTS`, in this process: each of its own would take a second."""
    env = {"COLUMNS": "200", "BINTALLY_REGISTRY": None if registry is None else str(registry)}
    result = CliRunner().invoke(app, ["models", *map(str, arguments)], env=env)
    error = result.exception
    if isinstance(error, BintallyError):
        return Done(error.exit_code, result.stdout, str(error))
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Done(result.exit_code, result.stdout, result.stderr)


def test_a_pair_of_keys_is_made_and_says_where_it_goes(tmp_path: Path) -> None:
    done = models("keygen", tmp_path / "release", "--json")
    told = json.loads(done.stdout)
    assert (told["private"], told["public"]) == (str(tmp_path / "release"), str(tmp_path / "release.pub"))
    assert stat.S_IMODE((tmp_path / "release").stat().st_mode) == 0o600
    again = models("keygen", tmp_path / "release")
    assert again.returncode == 2
    assert "never overwritten" in again.stderr


def test_a_signed_folder_is_verified_and_one_other_byte_is_named(
    bundle: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    assert models("sign", folder, "--key", keys[0]).returncode == 0
    right = models("verify", folder, "--trust", keys[1])
    assert (right.returncode, "2 files, signed" in right.stderr) == (0, True), right.stderr
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"x")
    wrong = models("verify", folder, "--trust", keys[1], "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["changed"] == ["model.onnx"]
    shown = models("verify", folder)
    assert (shown.returncode, "changed" in shown.stderr) == (1, True)


def test_a_folder_that_nobody_signed_is_not_right(bundle: Path, keys: tuple[Path, Path]) -> None:
    for trust in ((), ("--trust", keys[1])):
        done = models("verify", bundle, *trust)
        assert (done.returncode, "is not signed" in done.stderr) == (1, True), done.stderr


def test_a_version_is_signed_and_verified_by_its_name(bundle: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    with new_registry(tmp_path / "registry") as registry:
        register(registry, bundle, by="rita")
    unsigned = models("verify", "1", registry=tmp_path / "registry")
    assert (unsigned.returncode, "as they were registered" in unsigned.stderr) == (0, True), unsigned.stderr
    signed = models("sign", "bintally/1", "--key", keys[0], "--as", "mara", registry=tmp_path / "registry")
    assert signed.returncode == 0, signed.stderr
    done = models("verify", "1", "--trust", keys[1], "--json", registry=tmp_path / "registry")
    assert [each["trusted_as"] for each in json.loads(done.stdout)["signers"]] == ["release.pub"]


def test_a_card_is_printed_or_written_as_the_files_name_says(bundle: Path, tmp_path: Path) -> None:
    printed = models("card", bundle)
    assert "# tiny" in printed.stdout
    assert json.loads(models("card", bundle, "--json").stdout)["name"] == "tiny"
    assert models("card", bundle, "--out", tmp_path / "card.html").returncode == 0
    assert (tmp_path / "card.html").read_text().startswith("<!doctype html>")
    assert models("card", bundle, "--out", tmp_path / "card.pdf").returncode == 2


def test_a_versions_card_tells_the_version_and_what_is_assumed_now(bundle: Path, tmp_path: Path) -> None:
    with new_registry(tmp_path / "registry") as registry:
        register(registry, bundle, by="rita")
    told = json.loads(models("card", "1", "--power-w", "120", "--json", registry=tmp_path / "registry").stdout)
    assert (told["name"], told["energy"]["power_w"]) == ("bintally/1", 120.0)


def test_a_version_without_a_registry_is_asked_back(keys: tuple[Path, Path]) -> None:
    for verb in (("card", "champion"), ("verify", "3"), ("sign", "3", "--key", keys[0], "--as", "mara")):
        done = models(*verb, registry=None)
        assert (done.returncode, "Which registry?" in done.stderr) == (2, True), done.stderr


def test_a_bundled_model_is_named_with_the_flag() -> None:
    assert json.loads(models("card", "fast", "--bundle", "--json").stdout)["name"].startswith("fast")
