"""A tracking server on (as it might be) another machine: it has the bundle, and shows the curves."""

import json
import urllib.request
from pathlib import Path

import pytest

from bintally.registry.place import SETTINGS, Registry
from bintally.registry.registration import register
from bintally.registry.tracking import log, mirror
from bintally.signatures.digest import digest_of
from tests.registry.registration.runs import make_exported
from tests.registry.tracking.tracked import World, asked
from tests.registry.worlds import promoted, registered


def _got(url: str) -> dict[str, list[dict[str, object]]]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        told: dict[str, list[dict[str, object]]] = json.load(answer)
        return told


@pytest.fixture
def registry(server: str, tmp_path: Path) -> Registry:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / SETTINGS).write_text(f'tracking = "{server}"\n')
    return Registry.open(tmp_path / "registry", create=True)


def test_a_server_has_runs_curves_bundles_versions_and_aliases(
    registry: Registry, server: str, world: World, tmp_path: Path
) -> None:
    with registry:
        told = log(registry, world.run, bundle=world.bundle, report=world.report, by="rita")
        assert not log(registry, world.run, bundle=world.bundle, report=world.report, by="rita").is_new
        register(registry, world.bundle, run=world.run, run_id=told.run_id, by="rita")
        registered(registry, make_exported(tmp_path / "another", world.run, sharpness=5.0))
        promoted(registry, "2")
        assert mirror(registry).changes == ("bintally/1 added", "bintally/2 added", "champion: bintally/2")
        assert mirror(registry).changes == ()
        assert not (registry.place / "tracking").exists()
        api = f"{server}/api/2.0/mlflow"
        points = _got(f"{api}/metrics/get-history?run_id={told.run_id}&metric_key=epoch/log_loss")["metrics"]
        assert [(point["step"], point["value"]) for point in points] == [(1, 2.0), (2, 1.0), (3, 2.0 / 3), (4, 0.5)]
        system = _got(f"{api}/metrics/get-history?run_id={told.run_id}&metric_key=system/cpu_utilization_percentage")
        assert len(system["metrics"]) == 4
        with asked(registry) as client:
            place = f"bundles/{digest_of(world.bundle)}"
            kept = {entry.path for entry in client.list_artifacts(told.run_id, place)}
            assert kept == {f"{place}/model.onnx", f"{place}/card.json"}
            where = Path(client.download_artifacts(told.run_id, f"{place}/model.onnx"))
            assert where.read_bytes() == (world.bundle / "model.onnx").read_bytes()
            first, second = (client.get_model_version("bintally", number) for number in ("1", "2"))
            assert (first.run_id, first.source) == (told.run_id, f"runs:/{told.run_id}/{place}")
            assert (second.run_id or None, str(second.source)[:18]) == (None, "bintally:/bundles/")
            assert client.get_model_version_by_alias("bintally", "champion").version == second.version
