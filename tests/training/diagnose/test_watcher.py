"""The watcher itself: when it looks, what it leaves alone, what it says how often."""

import copy
import gc
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bintally import watch
from bintally.errors import ConfigError, TrainingError
from bintally.training.diagnose import Finding, Overfit, Rule
from bintally.training.diagnose.ledger import PER_LOOK, PER_RULE, Ledger
from bintally.training.diagnose.rule import Figures, Source
from bintally.training.diagnose.rules import DEFAULT, RULES, build, select
from bintally.training.diagnose.seen import Mode, Sight, by_unit, plain_loss, pure_labels
from tests.training.diagnose.trainings import Training, adam, network, sgd

looked: list[int] = []
heard: list[tuple[int, str, float, float | None]] = []


@dataclass(kw_only=True)
class Spy(Rule):
    """Writes down what it is shown; ill is every tensor at the steps named."""

    ill_at: tuple[int, ...] = ()
    looks_at: ClassVar[frozenset[Source]] = frozenset({"gradients", "weights", "losses", "logits", "labels"})

    def __post_init__(self) -> None:
        looked.clear()
        heard.clear()

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        return {"loss": torch.zeros(())} if sight.mode == "train" else {}

    def judge(self, step: int, figures: Figures) -> list[Finding]:
        looked.append(step)
        return [self.found(step, "loss", 1.0, 0.0, "ill")] if step in self.ill_at else []

    def hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> None:
        heard.append((step, mode, loss, plain))


class Broken(Rule):
    looks_at: ClassVar[frozenset[Source]] = frozenset({"gradients"})

    def measure(self, sight: Sight) -> dict[str, Tensor]:
        raise ZeroDivisionError("of its own")


def _hooks(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    of_model = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return of_model + len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


def test_it_looks_at_some_of_the_first_steps_and_then_at_every_20th() -> None:
    with watch(nn.Linear(1, 1), rules=[Spy()]) as w:
        for _ in range(61):
            w.step(loss=0.0)
    assert looked == [0, 1, 2, 5, 10, 20, 40, 60]


def test_it_looks_as_often_as_it_is_told() -> None:
    with watch(nn.Linear(1, 1), rules=[Spy()], every=7) as w:
        for _ in range(30):
            w.step(loss=0.0)
    assert looked == [0, 7, 14, 21, 28]
    with pytest.raises(ConfigError, match="every = 0 is no interval"):
        watch(nn.Linear(1, 1), every=0)


def test_from_step_50_on_it_looks_less_often_where_steps_cost_next_to_nothing() -> None:
    with watch(network(), rules="all") as w:
        w._rules.append(Spy())
        for _ in range(2000):
            w.step(loss=1.0)
    looks = [step for step in looked if step >= 50]
    assert len(looks) < 40
    assert looked[:8] == [0, 1, 2, 5, 10, 20, 40, 60]
    with watch(network(), rules="all", action="stop") as w:  # may not depend on the clock
        w._rules.append(Spy())
        for _ in range(300):
            w.step(loss=1.0)
    assert looked == [0, 1, 2, 5, 10, *range(20, 300, 20)]


@pytest.mark.parametrize("raised", [None, ValueError])
def test_nothing_is_left_behind(raised: type[Exception] | None) -> None:
    model = network()
    optimizer = adam(model)
    before = _hooks(model, optimizer)
    try:
        with watch(model, optimizer, rules="all") as w:
            assert _hooks(model, optimizer) > before
            model(torch.zeros(2, 3, 16, 16)).sum().backward()
            optimizer.step()
            w.step(loss=1.0)
            if raised is not None:
                raise raised
    except ValueError:
        pass
    assert _hooks(model, optimizer) == before
    w.step(loss=float("nan"))  # after its end it takes no notice
    assert w.findings == []
    gone = weakref.ref(model[0])
    del model, optimizer, w
    gc.collect()
    assert gone() is None


def test_watching_changes_no_weight() -> None:
    ends = []
    for rules in ("none", "all"):
        model = network()
        Training(steps=30).run(model, adam(model), rules)
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("hooked", [True, False])
def test_gradients_are_seen_whether_or_not_the_optimizer_tells_its_steps(hooked: bool) -> None:
    model = network(norm=False)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    optimizer = sgd(model, 0.1)
    with watch(model, optimizer if hooked else None, rules=["VanishingGradient", "WeightUpdateRatio"]) as w:
        for images_nchw, labels_n in Training(steps=8).batches(0):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images_nchw), labels_n).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if hooked:
                optimizer.zero_grad()
            w.step(loss=1.0)
    told = {(finding.rule, finding.tensor) for finding in w.findings}
    assert {("VanishingGradient", "0.weight"), ("WeightUpdateRatio", "0.weight")} <= told


def test_gradients_are_seen_as_a_closure_made_them() -> None:
    model = nn.Linear(2, 2)
    optimizer = sgd(model, 0.0)

    def closure() -> float:
        optimizer.zero_grad()
        (0.0 * model(torch.ones(1, 2)).sum()).backward()
        return 0.0

    with watch(model, optimizer, rules=["AllZero"]) as w:
        for _ in range(3):
            optimizer.step(closure)
            w.step(loss=1.0)
    assert {finding.tensor for finding in w.findings} == {"gradients weight", "gradients bias"}


def test_an_illness_is_said_once_and_again_when_it_comes_back() -> None:
    with watch(nn.Linear(1, 1), rules=[Spy(ill_at=(2, 3, 4, 8, 9))], every=1) as w:
        for _ in range(12):
            w.step(loss=0.0)
    assert [finding.step for finding in w.findings] == [2, 8]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), max_size=30), st.integers(1, 4))
def test_what_is_said_began_so_many_looks_ago(looks: list[list[bool]], in_a_row: int) -> None:
    ledger = Ledger(in_a_row)
    for at, ill in enumerate(looks):
        said = ledger.news([Finding("R", at, str(i), 1, 0, "") for i in range(3) if ill[i]])
        for i in range(3):
            streak = [row[i] for row in looks[: at + 1]][-in_a_row:]
            began = at < in_a_row or not looks[at - in_a_row][i]
            assert (str(i) in {finding.tensor for finding in said}) == (
                len(streak) == in_a_row and all(streak) and began
            )


def test_many_findings_are_cut_short() -> None:
    ledger = Ledger(1)
    said = ledger.news([Finding("R", 0, str(i), 1, 0, "Ill.") for i in range(25)])
    assert [finding.tensor for finding in said] == [str(i) for i in range(PER_LOOK)]
    assert said[-1].message == "Ill. (And of 15 more.)"
    total = len(said)
    for look in range(500):
        total += len(ledger.news([Finding("R", look, str(i), 1, 0, "Ill.") for i in range(25)] if look % 2 else []))
    assert total == PER_RULE


def test_a_validation_is_averaged_by_photos_and_over_when_training_goes_on() -> None:
    logits_nk, labels_n = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    with watch(nn.Linear(1, 1), rules=[Spy()]) as w:
        w.step(loss=3.0)
        w.step(loss=1.0, mode="eval", logits=logits_nk, labels=labels_n)
        w.step(loss=4.0, mode="eval", logits=logits_nk[:2], labels=labels_n[:2])
        w.step(loss=2.0)
        w.step(loss=5.0, mode="eval")
    plain = pytest.approx(0.6931, abs=1e-4)
    assert heard == [(0, "train", 3, None), (0, "eval", 2, plain), (1, "train", 2, None), (1, "eval", 5, None)]


def test_a_rule_that_fails_is_switched_off_and_the_rest_goes_on() -> None:
    model = nn.Linear(2, 2)
    optimizer = sgd(model, 0.1)
    with watch(model, optimizer, rules=[Broken(), "ExplodingTensor"]) as w:
        model(torch.ones(1, 2)).sum().backward()
        with pytest.warns(RuntimeWarning, match=r"Broken failed and is switched off: ZeroDivisionError: of its own\."):
            optimizer.step()
        w.step(loss=1.0)
        w.step(loss=float("nan"))
    assert w.switched_off == {"Broken": "ZeroDivisionError: of its own"}
    assert [finding.rule for finding in w.findings] == ["ExplodingTensor"]


def test_what_cannot_be_watched_is_no_reason_to_fail() -> None:
    with watch(nn.Linear(2, 2), rules="default") as w, pytest.warns(RuntimeWarning, match="Watching failed"):
        w.step(loss=torch.ones(3))
        w.step(loss=float("nan"))
    assert w.findings == []


def test_stop_is_asked_for_at_the_first_finding() -> None:
    with watch(nn.Linear(1, 1), rules=["ExplodingTensor"], action="stop") as w:
        w.step(loss=1.0)
        assert not w.should_stop
        w.step(loss=float("inf"))
        assert w.should_stop


def test_what_on_finding_raises_ends_the_training() -> None:
    def end(finding: Finding) -> None:
        raise TrainingError(finding.message, hint=finding.advice)

    with pytest.raises(TrainingError, match="train loss has become NaN"), watch(nn.Linear(1, 1), on_finding=end) as w:
        w.step(loss=float("nan"))


def test_rules_are_chosen_by_name_or_as_objects() -> None:
    assert [rule.name for rule in select()] == list(DEFAULT)
    assert {rule.name for rule in select("all")} == RULES.keys() - {"TensorVariance", "SimilarAcrossRuns"}
    assert "TensorVariance" in {rule.name for rule in select("all", {"TensorVariance": {"max_threshold": 1}})}
    assert select("none") == []
    own = Overfit(ratio_threshold=0.2)
    first, second = select([own, "Overfit"], {"Overfit": {"patience": 3}})
    assert first == own
    assert first is not own  # watching twice with one object watches two trainings
    assert second == Overfit(patience=3)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("VanishingGradients", {}, "There is no rule 'VanishingGradients'. Did you mean 'VanishingGradient'?"),
        ("Overfit", {"ratio_treshold": 1}, "no parameter 'ratio_treshold'. Did you mean 'ratio_threshold'?"),
        ("Overfit", {"patience": "long"}, "Overfit can't be built: 'patience'"),
        ("AllZero", {"collection_names": "gradient"}, "no collection 'gradient'. Did you mean 'gradients'?"),
        ("TensorVariance", {}, "TensorVariance has no thresholds of its own. Give it"),
    ],
)
def test_a_wrong_rule_says_what_is_wrong(name: str, parameters: Mapping[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        build(name, parameters)
    assert message in str(raised.value)


def test_published_defaults() -> None:
    own = {name: vars(copy.copy(build(name, {}))) for name in DEFAULT}
    assert own["VanishingGradient"]["threshold"] == 1e-7
    assert (own["DeadRelu"]["threshold_inactivity"], own["DeadRelu"]["threshold_layer"]) == (1, 50)
    assert own["UnchangedTensor"]["num_steps"] == 3


def test_units_of_activations() -> None:
    assert by_unit(torch.arange(6.0).view(2, 3)).tolist() == [[0, 3], [1, 4], [2, 5]]
    maps_nchw = torch.arange(2 * 3 * 32 * 32.0).view(2, 3, 32, 32)
    assert by_unit(maps_nchw).shape == (3, 2 * 64)
    assert by_unit(maps_nchw)[1, 0] == maps_nchw[0, 1, 0, 0]


def test_mixed_photos_have_no_label_to_compare_by() -> None:
    shares_nk = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert pure_labels(shares_nk).tolist() == [1, -1]
    logits_nk = torch.tensor([[0.0, 9.0], [5.0, 0.0]])
    assert plain_loss(logits_nk, shares_nk) == pytest.approx(torch.tensor(9.0).neg().exp().log1p().item(), abs=1e-6)
    assert plain_loss(logits_nk[1:], shares_nk[1:]).isnan()
