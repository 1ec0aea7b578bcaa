"""A bundle becomes a version: checked, copied, with all that is known of where it comes from."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bintally.database import audit
from bintally.errors import BintallyError, CheckpointError, ModelError, UsageError
from bintally.registry.approval import forget, retire
from bintally.registry.bundles import is_whole
from bintally.registry.place import Registry
from bintally.registry.registration import Registered, register
from bintally.registry.versions import versions
from bintally.signatures.digest import SIGNATURE, digest_of
from bintally.signatures.keys import generate
from bintally.signatures.signing import sign
from tests.bundles import make_bundle, recard
from tests.registry.conftest import MakeBundle
from tests.registry.registration.runs import make_data, make_exported, make_run


def test_a_bundle_is_copied_and_written_down(registry: Registry, bundle: MakeBundle) -> None:
    told = register(registry, bundle("a"), by="rita", reason="first light", run_id="mlflow-7")
    version = told.version
    assert (told.is_new, version.name, version.state) == (True, "bintally/1", "PendingManualApproval")
    assert (version.registered_by, version.run_id, version.card.name) == ("rita", "mlflow-7", "tiny-a")
    place = registry.bundle_of(version.bundle_sha256)
    assert digest_of(place) == digest_of(bundle("a")) == version.bundle_sha256
    assert version.bundle_bytes == sum(path.stat().st_size for path in place.iterdir())
    assert [path.name for path in registry.bundles.iterdir()] == [version.bundle_sha256], "and nothing beside"
    with registry.read() as connection:
        line = list(audit.entries(connection))[-1]
    assert (line.actor, line.action, line.body["reason"]) == ("rita", "model.register", "first light")


def test_the_same_bundle_again_is_the_version_it_was(registry: Registry, bundle: MakeBundle) -> None:
    first = register(registry, bundle("a"), by="rita")
    again = register(registry, bundle("a"), by="rolf")
    assert (again.is_new, again.version) == (False, first.version)
    other = register(registry, bundle("a"), model="pallets", by="rita")
    assert (other.is_new, other.version.name) == (True, "pallets/1")
    assert register(registry, bundle("b"), by="rita").version.name == "bintally/2"


def test_registered_by_two_at_once_it_is_one_version(place: Path, bundle: MakeBundle) -> None:
    Registry.open(place, create=True).close()
    folder, told = bundle("a"), list[Registered]()
    both = threading.Barrier(2)

    def run() -> None:
        with Registry.open(place) as registry:
            both.wait(30)
            told.append(register(registry, folder, by="rita"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.is_new for each in told) == [False, True]
    assert {each.version.name for each in told} == {"bintally/1"}


def test_a_copy_that_was_damaged_is_mended_by_registering_again(local: Registry, bundle: MakeBundle) -> None:
    place = local.bundle_of(register(local, bundle("a"), by="rita").version.bundle_sha256)
    (place / "model.onnx").write_bytes(b"half")
    assert not is_whole(place)
    assert not register(local, bundle("a"), by="rita").is_new
    assert is_whole(place)
    assert len(list(local.bundles.iterdir())) == 1


def test_a_signature_comes_along_and_is_added_later(local: Registry, bundle: MakeBundle, tmp_path: Path) -> None:
    signed = shutil.copytree(bundle("a"), tmp_path / "signed")
    generate(tmp_path / "key")
    sign(signed, tmp_path / "key")
    place = local.bundle_of(register(local, bundle("a"), by="rita").version.bundle_sha256)
    assert not (place / SIGNATURE).exists()
    assert not register(local, signed, by="rita").is_new
    assert (place / SIGNATURE).read_bytes() == (signed / SIGNATURE).read_bytes()


def _nan(folder: Path) -> None:
    path = folder / "model.onnx"
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.name == "darkest":
            tensor.CopyFrom(numpy_helper.from_array(np.array(np.nan, np.float32), tensor.name))
    onnx.save(model, str(path))
    recard(folder)


def _truncated(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-9])


def _another_network(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def _no_card(folder: Path) -> None:
    (folder / "card.json").unlink()


@pytest.mark.parametrize("damage", [_nan, _truncated, _another_network, _no_card])
def test_what_does_not_count_is_not_registered(local: Registry, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = make_bundle(tmp_path / "broken")
    damage(folder)
    with pytest.raises(ModelError, match=str(folder)):
        register(local, folder, by="rita")
    with local.read() as connection:
        assert versions(connection) == []
    assert list(local.bundles.glob("*")) == []


def test_a_forgotten_bundle_is_not_taken_again(local: Registry, bundle: MakeBundle) -> None:
    register(local, bundle("a"), by="rita")
    retire(local, "1", by="rita", reason="old")
    forget(local, "1", by="rita", reason="its photos had to go")
    for model in ("bintally", "pallets"):
        with pytest.raises(UsageError, match="is bintally/1, which was forgotten"):
            register(local, bundle("a"), model=model, by="night")


@pytest.mark.parametrize("name", ["", "a/b", "champion@x", "1", "ü", "x" * 101, "-a"])
def test_a_model_has_a_plain_name(local: Registry, bundle: MakeBundle, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a model"):
        register(local, bundle("a"), model=name, by="rita")


def test_what_a_run_tells_is_kept_and_no_password(registry: Registry, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", {"a": "train", "b": "val", "c": "test"})
    run = make_run(tmp_path / "run", data)
    told = register(registry, make_exported(tmp_path / "bundle", run), by="rita", run=run)
    lineage = told.version.lineage
    assert lineage["recipe"]["name"] == "tiny"
    assert lineage["recipe"]["source"] == "https://photos.example/all"
    assert lineage["code"]["identity"] == "i" * 64
    assert lineage["training"]["epochs"] == 2
    assert lineage["training"]["seconds"] == 61.5
    assert lineage["environment"]["python"] == "3.12.1"
    assert [(each["rule"], each["first_step"], each["step"], each["times"]) for each in lineage["findings"]] == [
        ("Overfit", 10, 20, 2), ("Leakage", 0, 0, 1),
    ]  # fmt: skip
    with registry.read() as connection:
        assert "hush" not in str([line.body for line in audit.entries(connection)])
    assert "hush" not in json.dumps(lineage)


def test_no_findings_and_nobody_who_looked_for_any_are_told_apart(local: Registry, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", {"a": "train"})
    run = make_run(tmp_path / "run", data)
    (run / "log" / "findings.jsonl").write_bytes(b"")  # as a training leaves it that rules watched
    quiet = register(local, make_exported(tmp_path / "a", run), by="rita", run=run).version
    assert quiet.lineage["findings"] == []
    (run / "log" / "findings.jsonl").unlink()
    unwatched = register(local, make_exported(tmp_path / "b", run, sharpness=3.0), by="rita", run=run).version
    assert unwatched.lineage["findings"] is None


def test_a_run_that_is_not_the_bundles_is_refused(local: Registry, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", {"a": "train"})
    run, other = make_run(tmp_path / "run", data), make_run(tmp_path / "other", data, name="other")
    folder = make_exported(tmp_path / "bundle", run)
    with pytest.raises(UsageError, match="not of the run"):
        register(local, folder, by="rita", run=other)
    (other / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="no finished run"):
        register(local, folder, by="rita", run=other)
    with pytest.raises(BintallyError, match="another split"):
        register(local, folder, by="rita", run=run, data=make_data(tmp_path / "else", {"b": "train"}))


def test_the_card_tells_no_login(local: Registry, tmp_path: Path) -> None:
    source = "https://mara:hush@photos.example/bins?key=hush"
    made = make_bundle(tmp_path / "bundle", dataset={"source": source}, licence=f"as in {source}")
    card = register(local, made, by="rita").version.card
    assert card.dataset["source"] == "https://photos.example/bins"
    assert card.licence == "as in https://photos.example/bins"
