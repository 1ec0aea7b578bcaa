import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bintally.errors import BackboneError, TrainingError
from bintally.training.export import export
from bintally.training.finished import read_run
from bintally.training.network import WEIGHTS, build_network
from bintally.training.plan import Plan, training_state
from bintally.training.recipe import TeacherSettings
from bintally.training.run import CHECKPOINTS, train
from bintally.training.teachers import Teacher, Teachers
from tests.training.conftest import tiny_recipe

KEYS = ("0", "1", "2", "3", "4", "5", "6+")
EVEN = dict.fromkeys(KEYS, 1 / 7)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(recipe=tiny_recipe(loop={"epochs": 1}), data=data, out=folder)
    return folder


def _pixels(photos: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (photos, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _follow(*places: Path, **values: Any) -> TeacherSettings:
    return TeacherSettings.of({"runs": places, **values})


def test_a_run_and_its_bundle_teach_the_same(run: Path, data: Path) -> None:
    bundle = run.parent / "bundle"
    export(run=run, data=data, out=bundle)
    prior = read_run(run)[1].train_prior
    of_run, of_bundle = (Teachers.read(_follow(place), prior).probabilities(_pixels()) for place in (run, bundle))
    assert torch.allclose(of_run.sum(dim=1), torch.ones(4))
    assert torch.allclose(of_run, of_bundle, atol=5e-3)  # a bundle's weights are float16


def _random_teacher(seed: int, px: int = 64) -> Teacher:
    torch.manual_seed(seed)
    network, _ = build_network(tiny_recipe().network, 7)
    return Teacher(network.eval(), px, torch.ones(7))


def test_several_teachers_are_averaged_and_softened() -> None:
    first, second = _random_teacher(1), _random_teacher(2)
    with torch.no_grad():
        wanted_nk = sum((teacher.network(_pixels()) / 3).softmax(dim=1) for teacher in (first, second)) / 2
    assert torch.allclose(Teachers([first, second], temperature=3).probabilities(_pixels()), wanted_nk, atol=1e-6)


def test_a_teacher_sees_photos_at_its_own_size() -> None:
    teacher, sides = _random_teacher(1, px=48), []
    teacher.network.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[2:]))
    Teachers([teacher], 1.0).probabilities(_pixels())
    assert sides == [(48, 48)]


def test_a_teacher_of_another_mix_of_counts_is_corrected(run: Path) -> None:
    own = read_run(run)[1].train_prior
    other = dict(zip(KEYS, [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], strict=True))
    plain_nk, corrected_nk = (Teachers.read(_follow(run), prior).probabilities(_pixels()) for prior in (own, other))
    wanted_nk = plain_nk * torch.tensor([other[key] / own[key] for key in KEYS])
    assert torch.allclose(corrected_nk, wanted_nk / wanted_nk.sum(dim=1, keepdim=True), atol=1e-6)


def test_other_counts_are_refused(run: Path) -> None:
    with pytest.raises(TrainingError, match=r"tells apart 0, 1, .*6\+; the student 1, 2"):
        Teachers.read(_follow(run), {"1": 0.5, "2": 0.5})


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="neither a finished run nor a bundle"):
        Teachers.read(_follow(tmp_path), EVEN)


def test_a_student_follows_its_teacher_rather_than_the_label(data: Path, run: Path, tmp_path: Path) -> None:
    """The teacher is made to say 5 of everything, whatever the labels are."""
    sure = tmp_path / "sure"
    sure.mkdir()
    for name in ("recipe.json", "run.json"):
        (sure / name).write_bytes((run / name).read_bytes())
    state = load_file(run / WEIGHTS)
    state["fc.weight"].zero_()
    state["fc.bias"].copy_(6.0 * (torch.arange(7) == 5))
    from safetensors.torch import save_file

    save_file(state, sure / WEIGHTS)
    recipe = tiny_recipe(
        teacher={"runs": [sure], "weight": 1.0},
        loop={"epochs": 4},
        optimizer={"body_lr": 5e-3, "head_lr": 2e-2},
        augment={"mixup": 0.4},
    )
    train(recipe=recipe, data=data, out=tmp_path / "student")
    network, _ = build_network(recipe.network, 7)
    network.backbone.load_state_dict(load_file(tmp_path / "student" / WEIGHTS))
    with torch.no_grad():
        probabilities_nk = network.eval()(_pixels()).softmax(dim=1)
    assert bool((probabilities_nk.argmax(dim=1) == 5).all())
    checkpoint = torch.load(tmp_path / "student" / CHECKPOINTS / "last.ckpt", weights_only=True)
    assert {name.partition(".")[0] for name in checkpoint["state_dict"]} == {"network", "_head"}, "no teacher"


def test_a_training_is_another_one_when_its_teacher_changed(data: Path, run: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes())
    recipe = tiny_recipe(teacher={"runs": [teacher]})
    before, identity = training_state(recipe), Plan.of(recipe, data).identity()
    (teacher / WEIGHTS).write_bytes(b"other weights")
    assert training_state(recipe) != before
    assert Plan.of(recipe, data).identity() != identity
    assert json.dumps(before)
