"""Each rule on a training that was made ill; and all of them on healthy ones."""

import math
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

from bintally import watch
from bintally.errors import ConfigError
from bintally.training.diagnose import (
    AllZero,
    Finding,
    Overfit,
    Overtraining,
    Rule,
    SimilarAcrossRuns,
    StalledTrainingRule,
    TensorVariance,
)
from bintally.training.diagnose.rules import DEFAULT, ON_REQUEST, RULES
from tests.training.diagnose.trainings import (
    Training,
    adam,
    network,
    sgd,
    uneven_photos,
    wrong_labels,
)

ALL: list[str | Rule] = [name for name in RULES if name not in ON_REQUEST]


def found(findings: list[Finding], rule: str) -> Finding:
    """The first finding of one rule."""
    own = [finding for finding in findings if finding.rule == rule]
    assert own, f"{rule} found nothing; found were {[f.rule for f in findings]}"
    return own[0]


@pytest.mark.parametrize("seed", range(3))
def test_on_a_healthy_training_every_rule_is_silent(seed: int) -> None:
    model = network(seed)
    watched = Training(steps=150).run(model, adam(model), [*ALL, TensorVariance(max_threshold=1e4)], seed=seed + 1)
    assert watched.findings == []
    assert watched.switched_off == {}


def test_vanishing_gradient_in_a_deep_sigmoid_network() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(768, 32)]
    for _ in range(9):
        layers += [nn.Sigmoid(), nn.Linear(32, 32)]
    model = nn.Sequential(*layers, nn.Sigmoid(), nn.Linear(32, 4))
    watched = Training(steps=30).run(model, sgd(model, 0.1), ["VanishingGradient"])
    finding = found(watched.findings, "VanishingGradient")
    assert (finding.tensor, finding.step) == ("1.weight", 2)
    assert 0 < finding.value < finding.threshold == 1e-7
    assert "vanished" in finding.message


def test_exploding_tensor_at_a_much_too_high_rate() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.Linear(16, 4))
    watched = Training(steps=60).run(model, sgd(model, 1e12), ["ExplodingTensor"])
    finding = found(watched.findings, "ExplodingTensor")
    assert finding.step < 60
    tensors = {finding.tensor for finding in watched.findings}
    assert "train loss" in tensors
    assert any(name.startswith("weights ") for name in tensors)
    assert len(tensors) == len(watched.findings)  # each is said once


def test_only_nan_lets_infinite_values_pass() -> None:
    rules: list[Rule] = [RULES["ExplodingTensor"](only_nan=True), RULES["ExplodingTensor"]()]  # type: ignore[call-arg]
    model = nn.Linear(2, 2)
    for rule, expected in zip(rules, (["train loss"], ["train loss", "train loss"]), strict=True):
        with watch(model, rules=[rule]) as w:
            for loss in (1.0, math.inf, 1.0, math.nan):
                w.step(loss=loss)
        assert [finding.tensor for finding in w.findings] == expected


def test_poor_initialization_all_zero_and_vanishing_where_weights_start_at_zero() -> None:
    model = network(norm=False)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    names: list[str | Rule] = ["PoorWeightInitialization", "AllZero", "VanishingGradient"]
    watched = Training(steps=30).run(model, sgd(model, 0.1), names)
    narrow = found(watched.findings, "PoorWeightInitialization")
    assert narrow.value == 0 < narrow.threshold == 1e-3
    zero = found(watched.findings, "AllZero")
    assert (zero.tensor, zero.value, zero.threshold) == ("gradients 0.weight", 100, 100)
    assert found(watched.findings, "VanishingGradient").tensor == "0.weight"


def test_poor_initialization_where_one_layer_is_much_larger() -> None:
    model = network(norm=False)
    torch.nn.init.normal_(next(model[3].parameters()), std=3.0)
    watched = Training(steps=30).run(model, adam(model, 1e-5), ["PoorWeightInitialization"])
    uneven = next(finding for finding in watched.findings if finding.threshold == 10)
    assert (uneven.tensor, uneven.step) == ("1", 10)
    assert uneven.value > 10


def test_poor_initialization_where_the_loss_does_not_fall_at_first() -> None:
    model = network()
    watched = Training(steps=30).run(model, sgd(model, 0.0), ["PoorWeightInitialization"], seed=3)
    assert "loss" in {finding.tensor for finding in watched.findings}


def test_dead_relus() -> None:
    model = network(norm=False)
    nn.init.constant_(model[3].bias, -30.0)  # type: ignore[arg-type]
    watched = Training(steps=30).run(model, adam(model), ["DeadRelu"])
    finding = found(watched.findings, "DeadRelu")
    assert (finding.tensor, finding.step, finding.value, finding.threshold) == ("4", 2, 100, 50)
    assert len(watched.findings) == 1


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])
def test_saturated_activations(activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), activation(), nn.Linear(16, 4))
    assert Training(steps=30).run(model, adam(model), ["SaturatedActivation"]).findings == []
    nn.init.normal_(model[1].weight, std=1000.0)  # type: ignore[arg-type]
    finding = found(Training(steps=30).run(model, adam(model), ["SaturatedActivation"]).findings, "SaturatedActivation")
    assert finding.tensor == "2"
    assert finding.value > finding.threshold == 50


def test_updates_too_large_and_too_small() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.Linear(16, 4))
    large = found(Training(steps=30).run(model, sgd(model, 1e4), ["WeightUpdateRatio"]).findings, "WeightUpdateRatio")
    assert large.value > large.threshold == 10
    model = network()
    small = found(Training(steps=30).run(model, sgd(model, 1e-13), ["WeightUpdateRatio"]).findings, "WeightUpdateRatio")
    assert small.value < small.threshold == 1e-8


def test_the_update_ratio_is_that_of_the_optimizer() -> None:
    model = nn.Linear(4, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = sgd(model, 0.5)
    rule = RULES["WeightUpdateRatio"](large_threshold=0.1)  # type: ignore[call-arg]
    with watch(model, optimizer, rules=[rule], every=1) as w:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(1, 4)).sum().backward()
            optimizer.step()
            w.step(loss=0.0)
    # weights 2, 1.5, 1; each step takes 0.5
    assert [finding.value for finding in w.findings] == [pytest.approx(0.5)]


def test_a_share_of_zeros_below_all() -> None:
    model = network()
    with torch.no_grad():
        next(model[0].parameters())[:8] = 0
    rule = AllZero(collection_names="weights", tensor_regex=r"^0\.weight", threshold=50)
    finding = found(Training(steps=20).run(model, sgd(model, 0.0), [rule]).findings, "AllZero")
    assert (finding.tensor, finding.value) == ("weights 0.weight", 50)


@pytest.mark.parametrize(
    ("rule", "beyond"),
    [(TensorVariance(max_threshold=1.0), "above 1"), (TensorVariance(min_threshold=1e-3), "below 0.001")],
)
def test_variances_out_of_bounds(rule: TensorVariance, beyond: str) -> None:
    model = network()
    nn.init.normal_(model[0].weight, std=1e-3 if rule.min_threshold else 10.0)  # type: ignore[arg-type]
    names = {finding.tensor: finding for finding in Training(steps=5).run(model, sgd(model, 0.0), [rule]).findings}
    assert beyond in names["weights 0.weight"].message


def test_a_layer_that_the_optimizer_was_not_given_stands_still() -> None:
    model = network()
    optimizer = torch.optim.Adam([*model[0].parameters(), *model[-1].parameters()], lr=3e-3)
    watched = Training().run(model, optimizer, "default")
    stands = found(watched.findings, "UnchangedTensor")
    assert (stands.tensor, stands.value, stands.threshold) == ("4.weight", 3, 3)
    assert stands.step <= 30
    small = {finding.tensor for finding in watched.findings if finding.rule == "WeightUpdateRatio"}
    assert small == {"1.weight", "1.bias", "4.weight", "5.weight", "5.bias"}


def test_a_layer_that_is_frozen_on_purpose_is_no_illness() -> None:
    model = network()
    model[4].requires_grad_(False)
    assert Training().run(model, adam(model), "default").findings == []


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_other_photos_are_never_learnt(seed: int) -> None:
    model = network(seed)
    watched = Training(draw=wrong_labels).run(model, adam(model), "default", seed=seed + 1)
    finding = found(watched.findings, "LossNotDecreasing")
    assert finding.tensor == "train loss"
    assert 79 <= finding.step < 100
    assert finding.value > finding.threshold


def test_a_rate_too_high_makes_the_loss_rise() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.Linear(16, 4))
    optimizer = sgd(model, 1e-2)

    def raise_rate(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        optimizer.param_groups[0]["lr"] *= 1.1

    optimizer.register_step_post_hook(raise_rate)
    watched = Training(draw=wrong_labels, steps=80).run(model, optimizer, ["LossNotDecreasing"])
    rises = found(watched.findings, "LossNotDecreasing")
    assert rises.step < 79
    assert "rises" in rises.message or "shot up" in rises.message


def test_the_validation_loss_on_request() -> None:
    rule = RULES["LossNotDecreasing"](mode="EVAL")  # type: ignore[call-arg]
    model = network()
    watched = Training(draw=wrong_labels).run(model, sgd(model, 0.0), [rule])
    assert found(watched.findings, "LossNotDecreasing").tensor == "eval loss"


@pytest.mark.parametrize("hand_in_answers", [True, False])
def test_a_few_photos_learnt_by_heart(hand_in_answers: bool) -> None:
    model = network()
    training = Training(draw=wrong_labels, set_size=24, validate_every=20, hand_in_answers=hand_in_answers)
    finding = found(training.run(model, adam(model), [Overfit()]).findings, "Overfit")
    assert finding.tensor == "eval loss"
    assert finding.value > finding.threshold == 0.1
    never = training.run(network(), adam(model), [Overfit(start_step=1000)])
    assert never.findings == []


def test_training_that_goes_on_and_on() -> None:
    model = network()
    watched = Training(steps=120, validate_every=5).run(model, sgd(model, 0.0), [Overtraining(delta=0.2)])
    validation, train = (
        next(finding for finding in watched.findings if finding.tensor == name) for name in ("eval loss", "train loss")
    )
    assert train.step == 5 * (1 + 5) - 1  # a first best, then five without a better one
    assert validation.step == 5 * (1 + 10) - 1


def test_a_class_with_few_photos() -> None:
    model = network()
    watched = Training(draw=uneven_photos).run(model, adam(model), ["ClassImbalance"])
    finding = found(watched.findings, "ClassImbalance")
    assert finding.tensor == "class 3"
    assert finding.value > finding.threshold == 10
    assert finding.step <= 99


def test_a_class_that_is_mistaken_because_it_is_rare() -> None:
    rule = RULES["ClassImbalance"](threshold_imbalance=1e9)  # type: ignore[call-arg]
    model = network()
    watched = Training(draw=uneven_photos).run(model, adam(model, 3e-4), [rule], every=1)
    finding = found(watched.findings, "ClassImbalance")
    assert finding.tensor == "answers for class 3"
    assert finding.value > finding.threshold == 0.7


def test_confused_answers_are_judged_on_the_last_validation() -> None:
    model = network()
    watched = Training(draw=wrong_labels).run(model, adam(model), ["Confusion"])
    right, wrong = found(watched.findings, "Confusion"), next(f for f in watched.findings if " for " in f.tensor)
    assert right.value < right.threshold == 0.9
    assert wrong.value > wrong.threshold == 0.1


def test_pixels_nobody_normalised() -> None:
    model = network()
    generator = torch.Generator().manual_seed(0)
    pixels_nchw = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8, generator=generator)
    with watch(model, rules=["CheckInputImages"]) as w:
        for _ in range(20):
            w.step(loss=1.0, inputs=pixels_nchw)
    finding = found(w.findings, "CheckInputImages")
    assert finding.step == 19  # 320 photos at 10 looks, judged at the end
    assert finding.value == pytest.approx(float(pixels_nchw.float().mean((0, 2, 3)).max()), rel=1e-4)


def test_a_stalled_loader_is_told_of_while_it_stalls() -> None:
    heard: list[float] = []
    rule = StalledTrainingRule(threshold=0.15)
    model = network()
    with watch(model, rules=[rule], on_finding=lambda _: heard.append(time.monotonic())) as w:
        for seconds in (0.0, 0.0, 0.5, 0.0):
            time.sleep(seconds)
            ended = time.monotonic()
            w.step(loss=1.0)
            if seconds:
                assert heard, "nothing was said while it stalled"
                assert heard[0] < ended
    assert [finding.step for finding in w.findings] == [2] or [finding.step for finding in w.findings] == [1]
    assert w.findings[0].value >= 0.15


def test_a_stall_ends_the_training_where_that_is_asked_for() -> None:
    rule = StalledTrainingRule(threshold=0.1, stop_training_on_fire=True)
    with pytest.raises(KeyboardInterrupt), watch(network(), rules=[rule]) as w:
        w.step(loss=1.0)
        time.sleep(30)
    assert [finding.rule for finding in w.findings] == ["StalledTrainingRule"]


def test_a_run_is_compared_with_the_losses_and_the_weights_of_another(tmp_path: Path) -> None:
    losses: list[float] = []
    model = network()
    for images_nchw, labels_n in Training(steps=20).batches(1):
        loss = cross_entropy(model(images_nchw), labels_n)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(torch.as_tensor(parameter.grad), alpha=0.1)
                parameter.grad = None
        losses.append(float(loss.detach()))
    save_file(model.state_dict(), tmp_path / "other.safetensors")
    same: list[str | Rule] = [
        SimilarAcrossRuns(other_trial=losses),
        SimilarAcrossRuns(other_trial=tmp_path / "other.safetensors", tensor_regex="weight"),
    ]
    again, other = network(), network()
    assert Training(steps=20, validate_every=1000).run(again, sgd(again, 0.1), same).findings == []
    findings = Training(steps=20).run(other, sgd(other, 0.11), same).findings
    assert (findings[0].step, findings[0].tensor) == (1, "train loss")
    assert findings[0].threshold == losses[1] != findings[0].value
    assert {finding.tensor for finding in findings[1:]} == {"0.weight", "1.weight", "4.weight", "5.weight", "10.weight"}
    assert all(finding.step == 19 for finding in findings[1:])


def test_a_run_without_a_log_can_not_be_compared_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run with a log"):
        SimilarAcrossRuns(other_trial=tmp_path)
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="no whole safetensors file"):
        SimilarAcrossRuns(other_trial=tmp_path / "torn.safetensors")


def test_the_default_rules_are_the_ones_documented() -> None:
    assert set(DEFAULT) == {
        "VanishingGradient",
        "ExplodingTensor",
        "DeadRelu",
        "SaturatedActivation",
        "WeightUpdateRatio",
        "AllZero",
        "UnchangedTensor",
        "LossNotDecreasing",
        "Overtraining",
        "ClassImbalance",
        "StalledTrainingRule",
    }


def test_a_rate_that_kills_a_network() -> None:
    """Its loss falls from its worst to that of a network that answers the same to all: no lower than it began."""
    with watch(nn.Linear(1, 1), rules=["LossNotDecreasing"]) as w:
        for loss in [1.6, 2.4, 24.0, 5e3, 3e8, 5e12, 1e18, *[2.2, 1.9, 1.8, 2.1] * 9]:
            w.step(loss=loss)
    finding = found(w.findings, "LossNotDecreasing")
    assert finding.step <= 29
    assert "shot up from 1.6 to 1e+18" in finding.message
    with watch(nn.Linear(1, 1), rules=["LossNotDecreasing"]) as w:
        for loss in [1.6, 2.4, 9.0, *[1.6 - 0.02 * step for step in range(40)]]:
            w.step(loss=loss)
    assert w.findings == []
