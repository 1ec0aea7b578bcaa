"""A run's findings in order of weight, and what to do first in one sentence.

The order is that of causes: while numbers are broken, nothing that comes of them means anything; a network that does
not learn can't be judged by what it learnt; figures from leaked or wrong records mislead whoever reads them; what is
learnt by heart costs accuracy; what is slow costs only time. Within a kind, what fired first comes first: one illness
often brings the next.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from bintally.training.diagnose.finding import Finding

_SHOWN: Final = 8  # findings of one rule that are told; the rest is counted


class Kind(NamedTuple):
    """What a group of rules speaks about, in order of weight."""

    title: str
    why: str
    rules: frozenset[str]


KINDS: Final = (
    Kind("The numbers broke", "nothing that comes after means anything", frozenset({"ExplodingTensor"})),
    Kind(
        "It does not learn",
        "what it answers can't be better than what it learnt",
        frozenset(
            {
                "BlindBaseline",
                "LossNotDecreasing",
                "VanishingGradient",
                "UnchangedTensor",
                "AllZero",
                "DeadRelu",
                "SaturatedActivation",
                "PoorWeightInitialization",
                "WeightUpdateRatio",
                "TensorVariance",
                "LearningRate",
            }
        ),
    ),
    Kind(
        "Its data mislead it",
        "figures on such photos are not to be trusted",
        frozenset({"Leakage", "LabelNoise", "CheckInputImages", "ClassImbalance"}),
    ),
    Kind("It learns by heart", "later epochs cost time and accuracy", frozenset({"Overfit", "Overtraining"})),
    Kind("Its answers", "what it takes for what", frozenset({"Confusion", "SimilarAcrossRuns"})),
    Kind(
        "It wastes time",
        "the same weights could be had sooner",
        frozenset(
            {
                "StalledTrainingRule",
                "BatchSize",
                "CPUBottleneck",
                "Dataloader",
                "GPUMemoryIncrease",
                "IOBottleneck",
                "LoadBalancing",
                "LowGPUUtilization",
                "MaxInitializationTime",
                "StepOutlier",
            }
        ),
    ),
)
_PAST: Final = Kind("It passed", "what was said on the way did not last", frozenset())
_FALLEN: Final = 0.02  # a loss that fell by this share since has begun to fall
_OTHER: Final = Kind("Other rules", "of whoever wrote them", frozenset())


class RuleFindings(msgspec.Struct, frozen=True, kw_only=True):
    """All that one rule found. `rank` is the place of its kind among `KINDS`, from 0."""

    rule: str
    kind: str
    why: str
    """Why its kind stands where it stands."""
    rank: int
    times: int
    first_step: int
    last_step: int
    tensors: int
    """How many different ones."""
    message: str
    advice: str
    findings: tuple[Finding, ...]
    """The first ones."""


class Judgement(msgspec.Struct, frozen=True):
    """The sentence on top, and the reason for it."""

    healthy: bool
    sentence: str
    because: str


def ranked(findings: Iterable[Finding], epochs: Sequence[Mapping[str, float]] = ()) -> tuple[RuleFindings, ...]:
    """Findings by rule, the weightiest first; in any order, and each once. `epochs` tell what passed since."""
    by_rule: dict[str, dict[tuple[int, str], Finding]] = {}
    for finding in findings:  # a run that went on after a kill finds some twice
        by_rule.setdefault(finding.rule, {})[finding.step, finding.tensor] = finding
    groups = [_group(rule, list(found.values()), epochs) for rule, found in by_rule.items()]
    return tuple(sorted(groups, key=lambda group: (group.rank, group.first_step, -group.times, group.rule)))


def _group(rule: str, found: list[Finding], epochs: Sequence[Mapping[str, float]]) -> RuleFindings:
    rank = next((rank for rank, kind in enumerate(KINDS) if rule in kind.rules), len(KINDS))
    kind = KINDS[rank] if rank < len(KINDS) else _OTHER
    if all(_has_passed(finding, epochs) for finding in found):
        rank, kind = len(KINDS) + 1, _PAST
    found.sort(key=lambda finding: (finding.step, finding.tensor))
    return RuleFindings(
        rule=rule,
        kind=kind.title,
        why=kind.why,
        rank=rank,
        times=len(found),
        first_step=found[0].step,
        last_step=found[-1].step,
        tensors=len({finding.tensor for finding in found}),
        message=found[0].message,
        advice=found[0].advice,
        findings=tuple(found[:_SHOWN]),
    )


def _has_passed(finding: Finding, epochs: Sequence[Mapping[str, float]]) -> bool:
    """Whether a loss that stood still has fallen since; of other illnesses, nobody looks whether they are over."""
    stood_still = finding.rule == "LossNotDecreasing" and finding.tensor == "train loss"
    return stood_still and len(epochs) > 0 and epochs[-1]["train_loss"] < (1 - _FALLEN) * finding.value


def blind_baseline(best: Mapping[str, float], blind_accuracy: float, step: int) -> Finding | None:
    """A finding where the kept epoch is right no more often than who never looks at a photo."""
    if not best or best["accuracy"] > blind_accuracy:
        return None
    return Finding(
        "BlindBaseline",
        step,
        "accuracy on val",
        best["accuracy"],
        blind_accuracy,
        f"The kept epoch is right on {best['accuracy']:.1%} of val; always answering the commonest count of train is "
        f"right on {blind_accuracy:.1%}.",
        "Train longer, start from pretrained weights, or look for a rate that learns (bintally diagnose).",
    )


def judgement(
    groups: Sequence[RuleFindings], epochs: Sequence[Mapping[str, float]], *, state: str, watched: bool
) -> Judgement:
    """One sentence: healthy, or what to do first. `state`: finished, under way or stopped; `watched`: by rules."""
    broken = groups[0] if groups and groups[0].rank == 0 else None
    if state == "stopped" and broken is None:
        return Judgement(
            False,
            "First: run the same `bintally train` command again; it goes on where it stopped.",
            f"The training stopped before its end. {_first_words(groups)}".strip(),
        )
    lasting = [group for group in groups if group.kind != _PAST.title]
    if lasting:
        top = lasting[0]
        return Judgement(False, f"First: {_lower(top.advice or top.message)}", _reason(top, len(lasting)))
    so_far = "So far healthy" if state == "under way" else "Healthy"
    if not watched:
        return Judgement(
            True, f"{_learnt(epochs)}.", "No rule watched this training: only its figures say that it went well."
        )
    passed = [f"{group.rule} spoke up at step {group.first_step:,}; it passed." for group in groups]
    nothing = " ".join(passed) or "No rule that watched it found anything."
    return Judgement(True, f"{so_far}: {_lower(_learnt(epochs))}.", nothing)


def _reason(top: RuleFindings, rules: int) -> str:
    times = f", {top.times} times" if top.times > 1 else ""
    more = "" if rules == 1 else f" {rules - 1} more rule{'s' * (rules > 2)} fired, below."
    told = f" {top.message.rstrip('.')}." if top.advice else ""
    return f"{top.rule} at step {top.first_step:,}{times}:{told}{more}" if told else f"{top.rule}{times}.{more}"


def _first_words(groups: Sequence[RuleFindings]) -> str:
    return f"{groups[0].rule} then says: {groups[0].message}" if groups else ""


def _learnt(epochs: Sequence[Mapping[str, float]]) -> str:
    if not epochs:
        return "No epoch has ended yet"
    best = min(epochs, key=lambda row: row["log_loss"])
    if len(epochs) == 1:
        return f"After one epoch log loss on val is {best['log_loss']:.3f}, and {best['accuracy']:.1%} are right"
    if best is epochs[0]:
        return (
            f"Log loss on val was best after the first of {len(epochs)} epochs, {best['log_loss']:.3f}, and "
            f"{best['accuracy']:.1%} are right"
        )
    return (
        f"Log loss on val went from {epochs[0]['log_loss']:.3f} to {best['log_loss']:.3f} by epoch {best['epoch']:.0f} "
        f"of {len(epochs)}, and {best['accuracy']:.1%} are right"
    )


def _lower(sentence: str) -> str:
    """Its first letter small, unless the word is an abbreviation or a name such as LossNotDecreasing."""
    first = sentence.split(" ", 1)[0]
    return sentence if any(letter.isupper() for letter in first[1:]) else sentence[:1].lower() + sentence[1:]
