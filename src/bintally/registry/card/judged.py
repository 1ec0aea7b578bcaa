"""The part of a card that an evaluation found: read from its report, or from an earlier card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from bintally.bundle import Card, Figure
from bintally.counting.report import EvaluationReport, summary
from bintally.errors import UsageError
from bintally.registry.card.told import Evaluation, ModelCard, Results, Row

METRICS: Final = "metrics.json"
_HINDSIGHT: Final = "accuracy_in_hindsight"  # how `counting.report.summary` calls it


def read_evaluation(place: Path, card: Card) -> Evaluation:
    """What `bintally evaluate --out PLACE` found of a model; `place` may also be its metrics.json, or a card's JSON.

    Raises:
        UsageError: it is none of these, or of another model.
    """
    path = place / METRICS if place.is_dir() else place
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The report {path} can't be read: {error.strerror}.", hint="`bintally evaluate` makes one."
        ) from error
    found = _of_report(data, card) or _of_card(data)
    if found is None:
        raise UsageError(f"{path} is no report.", hint="Name the folder that `bintally evaluate --out` wrote.")
    if found.model_sha256 != card.model_sha256:
        raise UsageError(f"{path} is the report of another model.", hint=f"Judge {card.name} with `bintally evaluate`.")
    return found


def results_of(card: Card, evaluation: Evaluation | None) -> tuple[Results, ...]:
    """The figures by split, test first: the card's own, and an evaluation's in place of those of its split."""
    found = {
        split: Results(split=split, photos=told.photos, counts=told.counts, rows=_rows(told.figures, told.blind))
        for split, told in card.metrics.items()
    }
    if evaluation is not None:
        found[evaluation.split] = Results(
            split=evaluation.split, photos=evaluation.photos, counts=evaluation.counts, rows=evaluation.rows
        )
    return tuple(sorted(found.values(), key=lambda each: (each.split != "test", each.split)))


def _of_report(data: bytes, card: Card) -> Evaluation | None:
    try:
        report = EvaluationReport.from_json(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    told = summary(report)
    hindsight = report.blind[1].figures
    return Evaluation(
        model_sha256=report.subject.model_sha256,
        split=report.subject.split,
        counts=report.subject.counts,
        photos=report.population.judged,
        bins=report.population.groups,
        abstained=report.population.abstained,
        unreadable=report.population.unreadable,
        is_same_split=report.subject.table_sha256 == card.dataset.get("fingerprint"),
        seed=report.subject.seed,
        resamples=report.subject.resamples,
        rows=_rows(told.figures, told.blind, hindsight),
        calibration=report.calibration,
        sets=report.sets,
        per_count=report.per_count,
        slices=report.slices,
        not_sliced=report.not_sliced,
    )


def _of_card(data: bytes) -> Evaluation | None:
    try:
        return msgspec.json.decode(data, type=ModelCard).evaluation
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _rows(
    figures: Mapping[str, Figure], blind: Mapping[str, float], hindsight: Mapping[str, float] | None = None
) -> tuple[Row, ...]:
    """A bundle's card knows the accuracy in hindsight alone."""
    best = {"accuracy": blind.get(_HINDSIGHT)} if hindsight is None else hindsight
    return tuple(
        Row(name=name, measured=figure, blind=blind.get(name), blind_in_hindsight=best.get(name))
        for name, figure in figures.items()
    )
