"""A service that trusts keys loads what they signed and nothing else; any service refuses a bundle that was damaged."""

import asyncio
import json
import shutil
from pathlib import Path

import httpx2
import pytest

from bintally import signatures
from bintally.counting.counter import Counter
from bintally.errors import BundleError
from bintally.registry.place import Registry
from bintally.registry.signing import sign_version
from bintally.serving.engine.batching import BatchingEngine
from bintally.serving.engine.engine import Engine
from bintally.serving.models import Models
from tests.bundles import bin_photo, make_bundle
from tests.conftest import run_cli
from tests.serving.conftest import running
from tests.serving.following.registries import Shelf, following, until
from tests.signatures.folders import make_key


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_key(tmp_path / "keys")


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    """A bundle that was signed."""
    folder = make_bundle(tmp_path / "model")
    (folder / "acceptance.json").write_text("{}")
    signatures.sign(folder, keys[0])
    return folder


def make(counter: Counter) -> Engine:
    return BatchingEngine(counter, threads=1)


def test_a_service_counts_with_a_model_that_a_trusted_key_signed(signed: Path, keys: tuple[Path, Path]) -> None:
    with running(signed, "--trust", keys[1]) as (url, _):
        answer = httpx2.post(f"{url}/v1/counts", content=bin_photo(3), headers={"Content-Type": "image/png"})
        assert answer.json()["count"] == 3


def test_a_service_does_not_start_with_what_nobody_it_trusts_has_signed(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    _, other = make_key(tmp_path / "keys", "other.key")
    for bundle, key, why in (
        (make_bundle(tmp_path / "plain"), keys[1], "is not signed"),
        (signed, other, "none of the trusted keys"),
    ):
        done = run_cli("serve", bundle, "--port", "0", "--trust", key)
        assert done.returncode == BundleError.exit_code
        assert why in done.stderr


def test_a_check_says_that_the_model_is_not_signed(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    plain = make_bundle(tmp_path / "plain")
    done = run_cli("serve", plain, "--port", "0", "--check", "--json", "--trust", keys[1])
    [model] = [each for each in json.loads(done.stdout)["checks"] if each["name"] == "model"]
    assert not model["ok"]
    assert "is not signed" in model["said"]


@pytest.mark.parametrize("name", ["card.json", "acceptance.json", "model.onnx"])
def test_a_damaged_bundle_with_a_signature_is_refused_even_where_no_key_is_trusted(signed: Path, name: str) -> None:
    with (signed / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(BundleError, match=rf"changed: {name}"):
        Models(signed, make)


def test_a_reload_of_a_changed_bundle_is_refused_and_the_old_model_stays(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    async def reloaded() -> tuple[str | None, str]:
        models = Models(signed, make, trust=[keys[1]])
        try:
            before = models.default
            make_bundle(signed, name="another")
            with pytest.raises(BundleError, match="is not what was signed"):
                await models.reload()
            assert models.default is before
            return models.damaged, models.default.card.name
        finally:
            await models.close()

    damaged, name = asyncio.run(reloaded())
    assert damaged is not None
    assert name == "tiny"


def test_a_model_that_is_loaded_by_name_must_be_signed_too(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    async def loaded() -> list[str]:
        models = Models(signed, make, trust=[keys[1]])
        try:
            with pytest.raises(BundleError, match="is not signed"):
                await models.load("plain", make_bundle(tmp_path / "plain"))
            await models.load("copy", Path(shutil.copytree(signed, tmp_path / "copy")))
            return list(models.named())
        finally:
            await models.close()

    assert asyncio.run(loaded()) == ["copy"]


def test_a_service_that_follows_a_registry_takes_only_versions_that_a_trusted_key_signed(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    shelf = Shelf(tmp_path)
    first, second = shelf.put(), shelf.put()
    sign_in(shelf, first, keys[0])
    shelf.promote(first)
    with following(shelf, tmp_path / "state", trust=(keys[1],)) as service:
        shelf.promote(second)
        assert until(lambda: "is not signed" in service.problem())
        assert service.version() == first
        sign_in(shelf, second, keys[0])
        assert service.client.post("/v1/reload").status_code == 200
        assert service.version() == second
    assert [each for each in shelf.done() if each[0] == second][:2] == [(second, "refused"), (second, "taken")]


def sign_in(shelf: Shelf, version: str, key: Path) -> None:
    """Signs a version in its registry."""
    with Registry.open(shelf.place) as registry:
        sign_version(registry, version, key, by="mara")
