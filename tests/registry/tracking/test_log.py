"""Runs in MLflow's own SQLite store: once each, whole, whoever tells them and whatever interrupts."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bintally
from bintally.errors import BintallyError, MissingExtraError, StorageError, UsageError
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.registration import register
from bintally.registry.tracking import log, mirror
from bintally.registry.tracking.facts import RUN_TAG
from bintally.registry.tracking.reached import why_not
from tests.conftest import run_cli, run_here
from tests.registry.tracking.tracked import EPOCHS, World, asked, curve, runs


def test_a_run_is_told_whole(registry: Registry, world: World) -> None:
    told = log(registry, world.run, bundle=world.bundle, report=world.report, by="rita")
    assert (told.is_new, told.experiment) == (True, "bintally")
    assert told.where == f"sqlite:///{registry.place}/tracking/mlflow.sqlite"
    with asked(registry) as client:
        [run] = runs(client)
        assert (run.info.run_id, run.info.status) == (told.run_id, "FINISHED")
        assert run.info.end_time - run.info.start_time == 61_500
        assert run.data.params["loop.batch_size"] == "64"
        assert (run.data.tags["mlflow.user"], run.data.metrics["test/accuracy"]) == ("rita", 0.8)
        assert [step for step, _ in curve(client, told.run_id, "epoch/accuracy")] == [1, 2, 3, 4]
        assert len(curve(client, told.run_id, "step/loss")) == 200
        assert {entry.path for entry in client.list_artifacts(told.run_id)} == {
            "environment.json", "findings.json", "recipe.toml", "report", "run.json",
        }, "the bundle is the registry's own, not copied"  # fmt: skip
        assert run.inputs is not None
        [data] = run.inputs.dataset_inputs
        assert (data.dataset.name, data.tags[0].value) == ("https://photos.example/all", "training")


def test_a_run_is_told_once(registry: Registry, world: World) -> None:
    first = log(registry, world.run, by="rita")
    assert not log(registry, world.run, by="mia").is_new
    more = log(registry, world.run, bundle=world.bundle, report=world.report, by="mia")
    assert (more.is_new, more.run_id) == (True, first.run_id), "it learns what was found later"
    for bundle, report in ((world.bundle, world.report), (None, None)):
        assert not log(registry, world.run, bundle=bundle, report=report, by="mia").is_new
    with asked(registry) as client:
        [run] = runs(client)
        assert run.data.tags["mlflow.user"] == "rita"
        assert len(curve(client, first.run_id, "epoch/accuracy")) == EPOCHS
        assert run.inputs is not None
        assert len(run.inputs.dataset_inputs) == 1


def test_a_run_that_somebody_deleted_there_is_told_again_when_asked(registry: Registry, world: World) -> None:
    first = log(registry, world.run, by="rita")
    with asked(registry) as client:
        client.delete_run(first.run_id)
    assert log(registry, world.run, by="rita").run_id != first.run_id


def test_several_at_once_tell_one_run(registry: Registry, world: World) -> None:
    command = ("models", "log", world.run, "--bundle", world.bundle, "--registry", registry.place, "--as", "rita")
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: run_cli(*command), range(2)))
    assert [done.returncode for done in ended] == [0, 0], [done.stderr for done in ended]
    with asked(registry) as client:
        [run] = runs(client)
        assert run.info.status == "FINISHED"
        for key, points in (("epoch/accuracy", EPOCHS), ("step/loss", 200), ("test/accuracy", 1)):
            assert len(curve(client, run.info.run_id, key)) == points, "each point once"


def test_the_verb_opens_the_registry(registry: Registry, world: World) -> None:
    told = bintally.log_run(run=world.run, registry=registry.place, model="bins", by="rita")
    with asked(registry) as client:
        [run] = runs(client, "bins")
    assert run.info.run_id == told.run_id


@pytest.mark.parametrize("tracking", [None, "off"])
def test_who_registers_a_bundle_with_its_run_has_told_of_it(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch, tracking: str | None
) -> None:
    if tracking:
        (registry.place / SETTINGS).write_text(f'tracking = "{tracking}"\n')
    command = ("models", "register", world.bundle, "--run", world.run, "--registry", registry.place, "--as", "rita")
    done = run_here(*command, "--json")
    told = json.loads(done.stdout)
    if tracking:
        assert (told["run_id"], told["not_logged"]) == (None, "tracking is switched off")
        return
    with asked(registry) as client:
        [run] = runs(client)
    assert (told["run_id"], told["not_logged"]) == (run.info.run_id, None)


def test_where_mlflow_is_not_installed_it_is_said(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert why_not(registry) is None
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert "not installed" in str(why_not(registry))
    with pytest.raises(MissingExtraError, match=r"bintally\[registry\]"):
        log(registry, world.run, by="rita")
    assert register(registry, world.bundle, run=world.run, by="rita").version.run_id is None


def test_tracking_can_be_switched_off(registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "off")
    assert why_not(registry) == "tracking is switched off"
    with pytest.raises(UsageError, match="switched off"):
        log(registry, world.run, by="rita")


def test_the_registrys_setting_counts_more_than_the_environment(
    tmp_path: Path, world: World, fresh_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/environment.sqlite")
    monkeypatch.chdir(tmp_path)  # where MLflow's artifacts go by default
    for name in ("setting", "environment"):
        shutil.copyfile(fresh_store, tmp_path / f"{name}.sqlite")
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / SETTINGS).write_text(f'tracking = "sqlite:///{tmp_path}/setting.sqlite"\n')
    with Registry.open(tmp_path / "registry", create=True) as registry:
        assert log(registry, world.run, by="rita").where.endswith("/setting.sqlite")
    with Registry.open(tmp_path / "other", create=True) as registry:
        assert log(registry, world.run, by="rita").where.endswith("/environment.sqlite")
        assert not (registry.place / "tracking").exists()


def test_a_server_that_is_away_is_an_error_without_a_password(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://rita:hush@127.0.0.1:9/")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StorageError, match=r"MLflow \(http://127.0.0.1:9/\) can't be told") as said:
        log(registry, world.run, by="rita")
    assert "hush" not in str(said.value)
    version = register(registry, world.bundle, run=world.run, by="rita").version
    with pytest.raises(StorageError, match="can't be told"):
        mirror(registry, by="rita")
    assert version.run_id is None


@pytest.mark.parametrize(
    ("uri", "kind", "why"),
    [
        ("sqlite+pysqlcipher:///x", StorageError, "can't be told: No module named"),
        ("postgresql://rita:hush@127.0.0.1:9/x", UsageError, "straight into postgresql.*mlflow server"),
        ("mysql+pymysql://rita:hush@127.0.0.1:9/x", UsageError, "straight into mysql"),
    ],
)
def test_what_mlflow_cant_reach_is_told_at_once(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch, uri: str, kind: type[BintallyError], why: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(kind, match=why) as said:
        log(registry, world.run, by="rita")
    assert "hush" not in str(said.value)


def test_a_store_that_was_lost_is_not_made_anew(registry: Registry, world: World) -> None:
    run_id = log(registry, world.run, by="rita").run_id
    register(registry, world.bundle, run=world.run, run_id=run_id, by="rita")
    store = registry.place / "tracking" / "mlflow.sqlite"
    kept = store.read_bytes()
    store.unlink()
    for tell in (lambda: log(registry, world.run, by="rita"), lambda: mirror(registry, by="rita")):
        with pytest.raises(StorageError, match=r"mlflow.sqlite is gone"):
            tell()
    assert not store.exists()
    store.write_bytes(kept)
    assert log(registry, world.run, by="rita").run_id == run_id
    store.write_bytes(b"")
    anew = run_cli("models", "log", world.run, "--registry", registry.place, "--json")
    assert json.loads(anew.stdout)["run"]["is_new"], "as it was asked for"


def test_no_rollback_waits_for_mlflow() -> None:
    modules = "cli.models", "pipeline", "registry.promotion", "registry.rollback", "serving.assembly"
    program = f"import sys\nimport {', '.join(f'bintally.{each}' for each in modules)}\nprint('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_a_run_is_known_by_what_it_wrote_at_its_end(registry: Registry, world: World) -> None:
    run_id = log(registry, world.run, by="rita").run_id
    with asked(registry) as client:
        assert len(client.get_run(run_id).data.tags[RUN_TAG]) == 64
