"""Findings stand in the order of causes, each once, and the sentence on top names the first."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.rules import RULES
from bintally.training.profile.rules import RULES as PROFILER_RULES
from bintally.training.run_findings import KINDS, blind_baseline, judgement, ranked

EPOCHS = [
    {"epoch": 1.0, "log_loss": 1.5, "accuracy": 0.3},
    {"epoch": 2.0, "log_loss": 1.2, "accuracy": 0.45},
    {"epoch": 3.0, "log_loss": 1.3, "accuracy": 0.44},
]
NAMES = [rule for kind in KINDS for rule in sorted(kind.rules)]


def finding(rule: str, step: int = 0, tensor: str = "fc.weight", **more: Any) -> Finding:
    return Finding(rule, step, tensor, 1.0, 0.5, f"{rule} says what it means.", more.get("advice", "Do this."))


def test_every_rule_has_its_place() -> None:
    """A rule that is added without one would stand last, whatever it says."""
    rules = {*RULES, *(rule.__name__ for rule in PROFILER_RULES)}
    assert rules - set(NAMES) == set()
    assert len(NAMES) == len(set(NAMES))


def test_causes_come_before_what_follows_from_them() -> None:
    order = ["ExplodingTensor", "VanishingGradient", "Leakage", "Overfit", "Confusion", "StepOutlier", "MyOwnRule"]
    found = ranked([finding(rule, step=100 - place) for place, rule in enumerate(reversed(order))])
    assert [group.rule for group in found] == order
    assert [group.rank for group in found] == sorted(group.rank for group in found)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 50), st.sampled_from("abc"))), st.randoms())
def test_order_and_repetition_of_the_lines_do_not_matter(rows: list[tuple[str, int, str]], random: Any) -> None:
    findings = [finding(*row) for row in rows]
    shuffled = random.sample(findings + findings, 2 * len(findings))
    found = ranked(findings)
    assert found == ranked(shuffled)
    assert sum(group.times for group in found) == len(set(rows))
    for group in found:
        mine = [row for row in rows if row[0] == group.rule]
        assert (group.first_step, group.last_step) == (min(s for _, s, _ in mine), max(s for _, s, _ in mine))
        assert group.tensors == len({tensor for _, _, tensor in mine})


def test_of_one_kind_what_fired_first_comes_first() -> None:
    found = ranked([finding("LossNotDecreasing", 50), finding("VanishingGradient", 10), finding("DeadRelu", 90)])
    assert [group.rule for group in found] == ["VanishingGradient", "LossNotDecreasing", "DeadRelu"]


def test_the_sentence_is_the_first_ones_advice() -> None:
    groups = ranked([finding("Overfit", 5), finding("ExplodingTensor", 90, advice="Lower the rate.")])
    said = judgement(groups, EPOCHS, state="finished", watched=True)
    assert (said.healthy, said.sentence) == (False, "First: lower the rate.")
    assert said.because == "ExplodingTensor at step 90: ExplodingTensor says what it means. 1 more rule fired, below."
    without = judgement(ranked([finding("Overfit", advice="")]), EPOCHS, state="finished", watched=True)
    assert without.sentence == "First: overfit says what it means."


@pytest.mark.parametrize(
    ("state", "watched", "start"),
    [
        ("finished", True, "Healthy: log loss on val went from 1.500 to 1.200 by epoch 2 of 3, and 45.0% are right."),
        ("under way", True, "So far healthy: "),
        ("finished", False, "Log loss on val went from"),
    ],
)
def test_silence_is_healthy_only_where_somebody_watched(state: str, watched: bool, start: str) -> None:
    said = judgement((), EPOCHS, state=state, watched=watched)
    assert said.healthy
    assert said.sentence.startswith(start)
    assert ("No rule watched" in said.because) == (not watched)


def test_a_stopped_training_is_to_go_on_first_unless_its_numbers_broke() -> None:
    said = judgement(ranked([finding("Overfit")]), EPOCHS, state="stopped", watched=True)
    assert said.sentence.startswith("First: run the same `bintally train` command again")
    assert "Overfit" in said.because
    broken = judgement(ranked([finding("ExplodingTensor")]), EPOCHS, state="stopped", watched=True)
    assert broken.sentence == "First: do this."


def test_few_epochs_are_told_as_few() -> None:
    assert "No epoch has ended" in judgement((), [], state="under way", watched=False).sentence
    assert "After one epoch" in judgement((), EPOCHS[:1], state="finished", watched=False).sentence
    assert "best after the first of 2" in judgement((), EPOCHS[1:], state="finished", watched=False).sentence


def test_no_better_than_blind_is_a_finding_of_its_own() -> None:
    assert blind_baseline({"accuracy": 0.4}, 0.3, 9) is None
    found = blind_baseline({"accuracy": 0.29}, 0.3, 9)
    assert found is not None
    assert ranked([found])[0].kind == "It does not learn"


def test_a_loss_that_fell_after_all_is_no_illness() -> None:
    stood = Finding("LossNotDecreasing", 109, "train loss", 1.5, 1.49, "The loss does not fall.", "Try other rates.")
    epochs = [{**row, "train_loss": loss} for row, loss in zip(EPOCHS, (1.52, 1.4, 1.3), strict=True)]
    groups = ranked([stood, finding("StepOutlier", step=5)], epochs)
    assert [group.rule for group in groups] == ["StepOutlier", "LossNotDecreasing"]
    said = judgement(ranked([stood], epochs), epochs, state="finished", watched=True)
    assert said.healthy
    assert "LossNotDecreasing spoke up at step 109; it passed." in said.because
    still = [{**row, "train_loss": 1.5} for row in EPOCHS]
    assert not judgement(ranked([stood], still), still, state="finished", watched=True).healthy
