"""What `diagnose` found, and what to do about it first."""

from collections.abc import Iterator

import msgspec

from bintally.data.leakage import LeakageProof
from bintally.training.diagnose.before.inputs import IMBALANCE, MEAN, Inputs, imbalance
from bintally.training.diagnose.before.label_noise import LabelNoise
from bintally.training.diagnose.before.lr_range import LrRange
from bintally.training.diagnose.before.noise_scale import NoiseScale
from bintally.training.diagnose.finding import Finding

_WORTH_MENDING = 0.05  # share of wrong counts from which looking at them pays


class DataFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Leakage between splits, photos of each count in train, and what the network sees of them."""

    leakage: LeakageProof
    photos: dict[str, int]
    balance: str
    """The recipe's way with counts that have few photos."""
    inputs: Inputs


class DiagnoseReport(msgspec.Struct, frozen=True, kw_only=True):
    """One diagnosis; None: that check was not asked for."""

    recipe: str
    data: str
    dataset: str
    """Fingerprint of the split."""
    weights: str
    """Where the network's came from."""
    photos: int
    """Looked at, of train's `train_photos`."""
    train_photos: int
    first: str
    """What to do first, in a sentence."""
    findings: tuple[Finding, ...]
    """What is to be done, the gravest first."""
    leakage: DataFacts | None = None
    labels: LabelNoise | None = None
    rate: LrRange | None = None
    noise: NoiseScale | None = None
    seconds: float = 0.0
    page: str = ""


def found(
    facts: DataFacts | None, labels: LabelNoise | None, rate: LrRange | None, noise: NoiseScale | None
) -> tuple[Finding, ...]:
    """What is to be done, the gravest first: data that makes figures wrong, then what spoils a training."""
    found = [
        *(_leaks(facts) if facts else ()),
        *(_of_rate(rate) if rate else ()),
        *(_of_labels(labels) if labels else ()),
        *(_of_counts(facts) if facts else ()),
        *(_of_batch(noise) if noise else ()),
    ]
    return tuple(found)


def first_of(findings: tuple[Finding, ...]) -> str:
    """What to do first, in a sentence."""
    return findings[0].advice if findings else "Train: nothing was found that should be mended first."


def _leaks(facts: DataFacts) -> Iterator[Finding]:
    leakage = facts.leakage
    if leakage.leaks:
        crossing = sum(part.crossing for part in (leakage.groups, leakage.neighbours, leakage.exact_duplicates))
        yield Finding(
            rule="Leakage",
            step=0,
            tensor="split",
            value=crossing,
            threshold=0,
            message=f"Photos of one split give away another's: {leakage.sentence()}.",
            advice="Split again with `bintally split --how grouped`: figures on val and test are too good as they are.",
        )


def _of_rate(rate: LrRange) -> Iterator[Finding]:
    if not rate.fits and rate.steepest is not None and rate.tenth_of_minimum is not None:
        nearest = min(rate.steepest, rate.tenth_of_minimum, key=lambda suggested: abs(suggested - rate.own))
        yield Finding(
            rule="LearningRate",
            step=0,
            tensor=f"optimizer.{rate.of}_lr",
            value=rate.own,
            threshold=nearest,
            message=rate.sentence(),
            advice=f"Set optimizer.{rate.of}_lr to about {nearest:.1e}"
            + ("." if rate.of == "head" else f" and head_lr to {nearest * rate.head_ratio:.1e}."),
        )


def _of_labels(labels: LabelNoise) -> Iterator[Finding]:
    if labels.believable and labels.estimate > _WORTH_MENDING:
        yield Finding(
            rule="LabelNoise",
            step=0,
            tensor="recorded_count",
            value=labels.estimate,
            threshold=_WORTH_MENDING,
            message=labels.sentence(),
            advice=f"Look at suspicious.csv from the top ({len(labels.suspects):,} photos) and mend wrong counts.",
        )


def _of_counts(facts: DataFacts) -> Iterator[Finding]:
    ratio = imbalance(facts.photos)
    if ratio > IMBALANCE and facts.balance == "none":
        commonest, rarest = (pick(facts.photos, key=lambda key: facts.photos[key]) for pick in (max, min))
        yield Finding(
            rule="ClassImbalance",
            step=0,
            tensor="recorded_count",
            value=ratio,
            threshold=IMBALANCE,
            message=f"Count {commonest} has {ratio:.0f} times the photos of count {rarest}.",
            advice=f"Fetch more photos of count {rarest}, or set the recipe's balance.method.",
        )
    if abs(facts.inputs.overall_mean) > MEAN:
        yield Finding(
            rule="CheckInputImages",
            step=0,
            tensor="input",
            value=facts.inputs.overall_mean,
            threshold=MEAN,
            message=f"Normalised photos have a mean of {facts.inputs.overall_mean:+.2f}, where the network expects 0.",
            advice="Photos are much darker or brighter than what the weights were trained on: see that they are read "
            "rightly, and that network.normalise is as the weights want it.",
        )


def _of_batch(noise: NoiseScale) -> Iterator[Finding]:
    suggested = noise.suggested
    if suggested is not None and noise.high is not None and noise.batch_size > 2 * noise.high:
        yield Finding(
            rule="BatchSize",
            step=0,
            tensor="loop.batch_size",
            value=noise.batch_size,
            threshold=suggested,
            message=noise.sentence(),
            advice=f"Set loop.batch_size to about {suggested}: larger batches repeat themselves.",
        )
