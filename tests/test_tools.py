"""The maintainers' tools in tools/, on one small finished workspace."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bintally.bundle import Bundle
from bintally.data.rendered import render_source
from bintally.inventory.policy.acceptance import Acceptance
from bintally.inventory.policy.fit import fit_policy
from bintally.pipeline import run_pipeline
from tests.conftest import ROOT
from tests.training.conftest import tiny_recipe


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _table(runs: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "results.py"), str(runs), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    source = render_source(folder / "source", photos=120, seed=5)
    recipe = tiny_recipe(
        split={"fractions": "60/20/20", "seed": 1}, loop={"epochs": 1}, evaluate={"resamples": 100, "gallery": 0}
    )
    run_pipeline(recipe=recipe, source=str(source), workspace=folder / "tiny")
    return folder


def test_shipping_brings_what_test_said_into_the_card(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bintally policy fit"):
        _tool("ship_bundle").ship(runs / "tiny", tmp_path / "champion")
    fit_policy(bundle=runs / "tiny" / "bundle", data=runs / "tiny" / "data")
    shipped = Bundle.open(_tool("ship_bundle").ship(runs / "tiny", tmp_path / "champion"))
    own = Bundle.open(runs / "tiny" / "bundle")
    assert Acceptance.of_bundle(shipped.folder, shipped.card) == Acceptance.of_bundle(own.folder, own.card) is not None
    assert shipped.card.metrics.keys() == {"val", "test"}
    assert shipped.card.metrics["val"] == own.card.metrics["val"]
    assert shipped.model_path.read_bytes() == own.model_path.read_bytes()


def test_a_report_on_another_model_is_not_shipped(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other"
    shutil.copytree(runs / "tiny", copy)
    metrics = copy / "report" / "metrics.json"
    sha256 = Bundle.open(copy / "bundle").card.model_sha256
    metrics.write_text(metrics.read_text().replace(sha256, "0" * 64))
    with pytest.raises(ValueError, match="another model"):
        _tool("ship_bundle").ship(copy, tmp_path / "champion")
    assert not (tmp_path / "champion").exists()


def test_the_table_has_blind_answers_and_every_run(runs: Path) -> None:
    done = _table(runs, "tiny")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows[-1].startswith("| `tiny` | 0.")
    assert sum("blind" in row for row in rows) == 2
    assert len({row.count("|") for row in rows}) == 1


def test_runs_judged_on_different_photos_share_no_table(runs: Path) -> None:
    other = runs / "other"
    shutil.copytree(runs / "tiny", other, dirs_exist_ok=True)
    metrics = other / "report" / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"split": "test"', '"split": "val"', 1))
    done = _table(runs, "tiny", "other")
    assert done.returncode != 0
    assert "different photos" in done.stderr
