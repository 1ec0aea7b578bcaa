import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from bintally.bundle import Bundle
from bintally.counting.counter import Counter
from bintally.errors import BackboneError, CheckpointError, ManifestError, ModelError, TrainingError, UsageError
from bintally.manifest import SPLIT, Manifest
from bintally.training.cache import PhotoCache
from bintally.training.export import ExportReport, export
from bintally.training.finished import read_run
from bintally.training.network import WEIGHTS, build_network, earlier_weights, load_weights
from bintally.training.onnx_file import backbone_weights
from bintally.training.recipe import Recipe
from bintally.training.run import train
from tests.training.conftest import tiny_recipe


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    train(recipe=tiny_recipe(loop={"epochs": 4}, evaluate={"counts": "1-5"}), data=data, out=folder)
    return folder


@pytest.fixture(scope="module")
def exported(run: Path, data: Path) -> ExportReport:
    return export(run=run, data=data, out=run.parent / "bundle", name="tiny-1")


def test_the_bundle_says_what_torch_says(exported: ExportReport) -> None:
    assert exported.checked_photos > 0
    assert exported.max_difference < 0.02


def test_the_card_tells_what_was_fitted_on_val(exported: ExportReport, data: Path) -> None:
    card = Bundle.open(Path(exported.bundle)).card
    val = Manifest.read(data, SPLIT).usable("val", counts=("1", "2", "3", "4", "5"))
    assert card.name == "tiny-1"
    assert card.metrics["val"].photos == val.height
    assert card.metrics["val"].counts == "1-5"
    assert "accuracy" in card.metrics["val"].blind
    assert card.temperature == exported.temperature
    assert sum(card.target_prior.values()) == pytest.approx(1)


def test_a_photo_is_counted(exported: ExportReport, data: Path) -> None:
    manifest = Manifest.read(data, SPLIT)
    estimate = Counter(exported.bundle).count(data / manifest.table["path"][0])
    assert sum(estimate.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_most_bins_of_val_are_taken_for_bins(exported: ExportReport, data: Path) -> None:
    counter = Counter(exported.bundle)
    val = Manifest.read(data, SPLIT).usable("val")
    abstained = [counter.count(data / path).abstain for path in val["path"]]
    assert sum(reason is not None for reason in abstained) <= 1


def test_noise_is_not_taken_for_a_bin(exported: ExportReport) -> None:
    noise_hwc = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert Counter(exported.bundle).count(noise_hwc).abstain


def test_large_weights_are_stored_in_half_precision_and_batch_is_free(exported: ExportReport) -> None:
    model = onnx.load(Path(exported.bundle) / "model.onnx")
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= 4096]
    assert large
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_training_can_go_on_from_a_bundle(exported: ExportReport, run: Path, data: Path, tmp_path: Path) -> None:
    state, wanted = backbone_weights(Path(exported.bundle) / "model.onnx"), load_file(run / WEIGHTS)
    for name, value in wanted.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(state[name], value, atol=2e-3, rtol=2e-3), name
    recipe = tiny_recipe(network={"start": Path(exported.bundle)}, loop={"epochs": 1})
    report = train(recipe=recipe, data=data, out=tmp_path / "next")
    assert report.weights == exported.bundle


@pytest.fixture(scope="module")
def otherwise(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """A bundle by another recipe than the run's, of a run whose weights were in a folder of that machine."""
    recipe, folder = read_run(run)[0], tmp_path_factory.mktemp("otherwise")
    network = recipe.network.model_copy(update={"weights": ("/somewhere/else/backbone.safetensors", "none")})
    trained_so = shutil.copytree(run, folder / "run")
    dumped = recipe.model_copy(update={"network": network}).model_dump(mode="json")
    (trained_so / "recipe.json").write_text(json.dumps(dumped))
    other = tiny_recipe(export={"licence": "mine", "prior": "uniform", "flip_averaging": False, "px": 80})
    return export(run=trained_so, data=data, out=folder / "bundle", recipe=other)


def test_what_export_decides_may_come_from_another_recipe(otherwise: ExportReport) -> None:
    """A changed licence or prior once went unheard: everything was taken from the recipe of the day of training."""
    card = Bundle.open(Path(otherwise.bundle)).card
    assert (card.licence, card.flip_averaging) == ("mine", False)
    assert list(card.target_prior.values()) == pytest.approx([1 / 7] * 7)


def test_a_bundle_may_see_larger_photos_than_training_did(otherwise: ExportReport) -> None:
    counter = Counter(otherwise.bundle)
    assert (counter.card.height_px, counter.card.width_px) == (80, 80)
    assert otherwise.max_difference < 0.02


def test_the_card_names_weights_without_this_machines_folders(otherwise: ExportReport) -> None:
    card = Bundle.open(Path(otherwise.bundle)).card
    assert card.recipe["network"]["weights"] == ["backbone.safetensors", "none"]


@pytest.fixture(scope="module")
def other_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "run"
    train(recipe=tiny_recipe(loop={"epochs": 1}, input={"px": 48}), data=data, out=folder, seed=7)
    return folder


@pytest.fixture(scope="module", params=[pytest.param("float16", marks=pytest.mark.soak), "int8"])
def ensemble(
    request: pytest.FixtureRequest, run: Path, other_run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> ExportReport:
    recipe = tiny_recipe(export={"ensemble": (other_run,), "store": request.param})
    return export(run=run, data=data, out=tmp_path_factory.mktemp("ensemble") / "bundle", recipe=recipe)


def test_an_ensemble_is_one_graph_of_all_its_runs(
    ensemble: ExportReport, other_run: Path, exported: ExportReport
) -> None:
    report = ensemble
    model, first = Path(report.bundle) / "model.onnx", Path(exported.bundle) / "model.onnx"
    assert report.max_difference < report.accepted_difference  # against torch, with both networks
    assert Bundle.open(Path(report.bundle)).card.recipe["export"]["ensemble"] == [f"{other_run.parent.name}/run"]
    names = {tensor.name for tensor in onnx.load(model).graph.initializer}
    plain = {name.removesuffix("/half") for name in names}  # a norm's vector that float16 would change stays exact
    of_first = {name.removeprefix("network.") for name in plain if name.startswith("network.backbone.")}
    of_other = {name.removeprefix("others.0.") for name in plain if name.startswith("others.0.backbone.")}
    assert of_first == of_other
    assert backbone_weights(model).keys() == backbone_weights(first).keys()  # what training goes on from


def test_a_bundle_of_several_networks_teaches_nobody(ensemble: ExportReport, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="averages several networks"):
        train(recipe=tiny_recipe(teacher={"runs": (ensemble.bundle,)}), data=data, out=tmp_path / "student")


def test_runs_of_other_counts_make_no_ensemble(run: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    train(recipe=_of_counts("1-5"), data=data, out=other)
    with pytest.raises(ModelError, match="other photos or counts"):
        export(run=run, data=data, out=tmp_path / "b", recipe=tiny_recipe(export={"ensemble": (other,)}))


def _of_counts(counts: str) -> Recipe:
    return tiny_recipe(loop={"epochs": 1}).model_copy(update={"counts": counts})


def test_only_a_bundle_is_replaced(run: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="holds something else than a bundle"):
        export(run=run, data=data, out=data)
    assert (data / "bin-images").is_dir()


def test_another_split_is_refused(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    manifest = Manifest.read(data, SPLIT)
    Manifest(folder, manifest.table.reverse(), name=SPLIT).write(SPLIT)
    with pytest.raises(ManifestError, match="another split"):
        export(run=run, data=folder, out=tmp_path / "bundle")


def test_half_a_run_is_not_exported(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match=r"no finished run.*bintally train"):
        export(run=tmp_path / "run", data=data, out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("ensemble", ["int8"], indirect=True)
def test_int8_storage_is_a_start_for_training_and_keeps_float_arithmetic(ensemble: ExportReport, run: Path) -> None:
    assert ensemble.mean_difference <= ensemble.max_difference <= ensemble.accepted_difference == 0.1
    state, wanted = earlier_weights(Path(ensemble.bundle)), load_file(run / WEIGHTS)
    for name in wanted.keys() - {name for name in wanted if name.endswith("num_batches_tracked")}:
        assert (state[name] - wanted[name]).abs().max() <= wanted[name].abs().max() / 250, name


def test_int8_arithmetic_is_judged_as_it_serves(exported: ExportReport, run: Path, data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(export={"compute": "int8", "store": "int8"}, evaluate={"counts": "1-5"})
    found = export(run=run, data=data, out=tmp_path / "b", recipe=recipe)
    card = Bundle.open(tmp_path / "b").card
    assert 0 < found.max_difference <= found.accepted_difference
    assert card.metrics["val"].photos == found.val.photos == exported.val.photos
    assert (card.set_threshold, card.novelty_threshold) == (found.set_threshold, found.novelty_threshold)
    val = Manifest.read(data, SPLIT).usable("val")
    answers = [Counter(tmp_path / "b").count(data / path) for path in val["path"][:8]]
    assert sum(answer.abstain is not None for answer in answers) <= 1
    with pytest.raises(BackboneError, match="computes in INT8"):
        earlier_weights(tmp_path / "b")


@pytest.fixture(scope="module")
def telling_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that compares photos and judges records."""
    folder = tmp_path_factory.mktemp("telling") / "run"
    train(recipe=tiny_recipe(network={"tells": ("change", "record")}), data=data, out=folder)
    return folder


@pytest.fixture(scope="module", params=[pytest.param("itself", marks=pytest.mark.soak), "beside another, compressed"])
def telling(
    request: pytest.FixtureRequest, run: Path, telling_run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle that compares photos and judges records: by the network that counts, or by another."""
    counts, settings = run, {"beside": telling_run, "compress": True}
    if request.param == "itself":
        counts, settings = telling_run, {"store": "int8"}
    out = tmp_path_factory.mktemp("telling") / "bundle"
    return Path(export(run=counts, data=data, out=out, recipe=tiny_recipe(export=settings)).bundle)


def test_what_is_told_beside_the_count_is_in_the_bundle(telling: Path, data: Path) -> None:
    card = Bundle.open(telling).card
    assert card.change is not None
    assert card.verification is not None
    kept = ".gz" if card.recipe["export"]["compress"] else ""
    graphs = {f"{name}.onnx{kept}" for name in ("model", "beside", "change")}
    assert {path.name for path in telling.iterdir()} == {*graphs, "card.json"}
    np.testing.assert_allclose(np.sum(card.change.prior, axis=1), 1, atol=1e-3)
    table = Manifest.read(data, SPLIT).table
    photo, earlier = (data / path for path in table["path"][:2])
    counter = Counter(telling)
    alone, beside = counter.count(photo), counter.count(photo, previous=earlier, previous_count=3)
    assert sum(beside.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert beside.unchanged is not None
    assert alone.unchanged is None
    verdict = counter.verify(photo, data / table["metadata_path"][0])
    assert verdict.record_is_right is not None
    assert 0 < verdict.record_is_right < 1
    assert verdict.reasons


def test_the_comparison_says_what_torch_says(telling: Path, telling_run: Path, data: Path) -> None:
    """Both orders, and a batch of any size."""
    counter = Counter(telling)
    cache = PhotoCache.build(data, Manifest.read(data, SPLIT).usable("val"), px=counter.card.width_px)
    seen = counter.network.see(cache.read(np.arange(5)), beside=True)
    there = counter.network.evidence(seen.only([0, 1, 2]), seen.only([3, 4, 0]))
    back = counter.network.evidence(seen.only([3, 4, 0]), seen.only([0, 1, 2]))
    np.testing.assert_allclose(there, back[:, ::-1], atol=1e-3)
    recipe, report = read_run(telling_run)
    network, _ = build_network(recipe.network, len(report.keys), pretrained=False)
    load_weights(network, load_file(telling_run / WEIGHTS), "run", strict=True)
    assert network.change is not None
    with torch.inference_mode():
        views = torch.from_numpy(cache.read(np.arange(5))).permute(0, 3, 1, 2)
        maps = network.eval().maps(network.see(views))
        mirrored = network.maps(network.see(views.flip(3)))
        wanted = sum(network.change(each[[0, 1, 2]], each[[3, 4, 0]]) for each in (maps, mirrored)) / 2
    np.testing.assert_allclose(there, np.asarray(wanted), atol=0.15)  # weights rounded to int8


def test_training_goes_on_from_a_bundle_that_tells_more(telling: Path, data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(teacher={"runs": (telling,), "weight": 0.5}, loop={"epochs": 1}, network={"start": telling})
    train(recipe=recipe, data=data, out=tmp_path / "next")


@pytest.mark.parametrize("telling", ["beside another, compressed"], indirect=True)
def test_what_another_network_tells_changes_no_count(
    exported: ExportReport, telling: Path, telling_run: Path, data: Path
) -> None:
    photo = data / Manifest.read(data, SPLIT).table["path"][0]
    both, counting = Counter(telling), Counter(exported.bundle)
    assert both.count(photo).probabilities == counting.count(photo).probabilities
    assert both.card.recipe["export"]["beside"] == f"{telling_run.parent.name}/run"
