"""Judges a bundle on recorded photos, through the very path that serves: figures, intervals, a page and predictions.

Shapes: N photos judged, K counts asked about (`metrics` has the rest).

```
OUT/metrics.json          everything found, as `EvaluationReport`; written last
OUT/report.html           the same to look at, self-contained
OUT/predictions.parquet   one row a photo, for paired comparison with another model
```
"""

import io
import time
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from bintally.artifacts import code_fingerprint, write_bytes, write_text
from bintally.bundle import Card
from bintally.config import Config
from bintally.counting import metrics
from bintally.counting.batch import estimates
from bintally.counting.counter import Counter
from bintally.counting.evaluation_page import evaluation_page
from bintally.counting.judged import Judged, calibration, gallery, per_count, selective, sets
from bintally.counting.predictions import answers_table
from bintally.counting.report import (
    FORMAT,
    Blind,
    EvaluationReport,
    Population,
    Subject,
    Unreadable,
)
from bintally.counting.slices import cut, slices
from bintally.errors import DataError
from bintally.manifest import SPLIT, Manifest
from bintally.progress import SILENT, Progress
from bintally.records import CountEstimate, key_of, parse_counts

METRICS: Final = "metrics.json"
REPORT: Final = "report.html"
PREDICTIONS: Final = "predictions.parquet"


class EvaluateSettings(Config):
    """How to judge."""

    split: Literal["train", "val", "test", "all"] = Field(
        default="test", description="which photos; `all`: whatever their split"
    )
    counts: str | None = Field(
        default=None, description='counts asked about, such as "1-5"; others are left out; default: all'
    )
    seed: int = Field(default=0, ge=0, description="of resampling and of the gallery's ties")
    resamples: int = Field(default=2000, ge=100, le=100_000, description="of each interval's bootstrap")
    gallery: int = Field(default=24, ge=0, le=100, description="worst mistakes shown")

    @field_validator("counts")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            parse_counts(value)
        return value


class EvaluateConfig(EvaluateSettings):
    """`EvaluateSettings` with the folders."""

    bundle: Path = Field(description="the bundle to judge")
    data: Path = Field(description="the data folder")
    out: Path = Field(description="where page, figures and predictions go")


def evaluate(
    *,
    bundle: Path | str,
    data: Path | str,
    out: Path | str,
    split: str = "test",
    counts: str | None = None,
    seed: int = 0,
    resamples: int = 2000,
    gallery: int = 24,
    progress: Progress = SILENT,
) -> EvaluationReport:
    """Judges `bundle` on the photos of `data`'s `split` and writes page, figures and predictions to `out`.

    Raises:
        BundleError: no usable bundle.
        ManifestError: no usable data folder.
        DataError: no photo to judge.
        ConfigError, UsageError: a setting out of range, counts the model does not know.
    """
    values = {"split": split, "counts": counts, "seed": seed, "resamples": resamples, "gallery": gallery}
    return _evaluate(EvaluateConfig.of(values | {"bundle": bundle, "data": data, "out": out}), progress)


@dataclass(frozen=True)
class _Chosen:
    """The photos of a split: `table` has those to judge, with a column `key`; the rest is counted."""

    table: pl.DataFrame
    set_aside: int
    without_count: int
    other_counts: int


def _evaluate(config: EvaluateConfig, progress: Progress) -> EvaluationReport:
    counter = Counter(config.bundle, counts=config.counts)
    manifest = Manifest.read(config.data)
    chosen = _choose(manifest, config, counter)
    started = time.perf_counter()
    answers = _answers(counter, config.data, chosen.table, progress)
    seconds = time.perf_counter() - started
    judged = _judge(chosen.table, answers, counter)
    report = _found(config, counter, manifest, chosen, judged, answers)
    report = msgspec.structs.replace(report, photos_per_second=round(len(answers) / seconds, 1))
    return _written(config.out, report, config.data, answers_table(chosen.table, answers, keys=counter.keys))


def _choose(manifest: Manifest, config: EvaluateConfig, counter: Counter) -> _Chosen:
    table = manifest.table
    if config.split != "all":
        table = table.filter(pl.col("split") == config.split)
    of_split = table.height
    good = table.filter(pl.col("quarantine").list.len().fill_null(0) == 0)
    counted = good.filter(pl.col("recorded_count").is_not_null())
    known = counter.card.count_keys
    keyed = counted.with_columns(key=pl.Series([key_of(n, known) for n in counted["recorded_count"]], dtype=pl.String))
    asked = keyed.filter(pl.col("key").is_in(list(counter.keys)))
    if not asked.height:
        raise DataError(
            f"No photo to judge: {manifest.path} has {of_split} of split {config.split!r}, "
            f"{counted.height} of them usable with a recorded count, none with a count of {', '.join(counter.keys)}.",
            hint="Choose another --split or --counts." if of_split else _no_split_hint(manifest),
        )
    return _Chosen(
        asked, of_split - good.height, good.height - counted.height, other_counts=counted.height - asked.height
    )


def _no_split_hint(manifest: Manifest) -> str:
    return (
        "Choose another --split." if manifest.name == SPLIT else "Divide the photos with `bintally split FOLDER` first."
    )


def _answers(counter: Counter, data: Path, table: pl.DataFrame, progress: Progress) -> list[CountEstimate]:
    """What the serving path says of each row's photo, in the rows' order."""
    paths = [str(data / path) for path in table["path"]]
    answers: list[CountEstimate] = []
    with progress.task("evaluate", total=len(paths), unit="photos") as task:
        for answer in estimates(counter, paths):
            answers.append(answer)
            task.advance()
    return answers


def _judge(table: pl.DataFrame, answers: Sequence[CountEstimate], counter: Counter) -> Judged:
    read = [index for index, answer in enumerate(answers) if answer.error is None]
    if not read:
        raise DataError(
            f"None of the {len(answers)} photos could be read; the first: {answers[0].error}",
            hint="Look at the folder with `bintally check`.",
        )
    kept = [answers[index] for index in read]
    table = table[read]
    return Judged(
        table=table,
        keys=counter.keys,
        answers=kept,
        probabilities_nk=np.array([[answer.probabilities[key] for key in counter.keys] for answer in kept]),
        labels_n=np.array([counter.keys.index(key) for key in table["key"]], np.intp),
        values_k=np.array([counter.card.count_values[key] for key in counter.keys]),
        groups_n=table.select(pl.coalesce("group", pl.lit("photo ") + pl.col("bin_image_id"))).to_series().to_numpy(),
    )


def _found(
    config: EvaluateConfig,
    counter: Counter,
    manifest: Manifest,
    chosen: _Chosen,
    judged: Judged,
    answers: Sequence[CountEstimate],
) -> EvaluationReport:
    probabilities_nk, labels_n, values_k = judged.probabilities_nk, judged.labels_n, judged.values_k
    matrix_kk = metrics.confusion(probabilities_nk, labels_n)
    words, not_sliced = cut(judged.table)
    resampling: dict[str, Any] = {"seed": config.seed, "resamples": config.resamples}
    abstained = Tally(answer.abstain.partition(" (")[0] for answer in judged.answers if answer.abstain)
    paths = zip(chosen.table["bin_image_id"], chosen.table["path"], answers, strict=True)
    unreadable = tuple(Unreadable(name, path, answer.error) for name, path, answer in paths if answer.error is not None)
    worst, surest = gallery(judged, worst=config.gallery, seed=config.seed)
    return EvaluationReport(
        format=FORMAT,
        subject=_subject(config, counter, manifest),
        population=Population(
            judged=len(judged.answers),
            groups=len(np.unique(judged.groups_n)),
            abstained=abstained.total(),
            unreadable=len(unreadable),
            other_counts=chosen.other_counts,
            set_aside=chosen.set_aside,
            without_count=chosen.without_count,
        ),
        abstained=dict(abstained.most_common()),
        figures=metrics.headline(probabilities_nk, labels_n, values_k, groups_n=judged.groups_n, **resampling),
        blind=_blind(manifest, counter, judged),
        per_count=per_count(judged, matrix_kk),
        confusion=tuple(tuple(row) for row in matrix_kk.tolist()),
        calibration=calibration(judged, config.seed),
        selective=selective(judged, **resampling),
        sets=sets(judged, promised=counter.card.set_coverage, **resampling),
        slices=tuple(slices(words, probabilities_nk, labels_n, values_k, groups_n=judged.groups_n, **resampling)),
        not_sliced=not_sliced,
        worst=worst,
        surest=surest,
        unreadable=unreadable,
        photos_per_second=0.0,
    )


def _subject(config: EvaluateConfig, counter: Counter, manifest: Manifest) -> Subject:
    card = counter.card
    return Subject(
        model=card.name,
        bundle=str(config.bundle),
        model_sha256=card.model_sha256,
        licence=card.licence,
        data=str(config.data),
        table=manifest.name,
        table_sha256=manifest.fingerprint(),
        split=config.split,
        counts=config.counts or f"{counter.keys[0]}-{counter.keys[-1]}",
        keys=counter.keys,
        seed=config.seed,
        resamples=config.resamples,
        code_version=code_fingerprint(["counting", "photos.py"]),
    )


def _blind(manifest: Manifest, counter: Counter, judged: Judged) -> tuple[Blind, Blind]:
    """Fitted on train's counts (the card's, where the table has no train photos), and in hindsight on those judged."""
    train = manifest.usable("train")["recorded_count"].to_list()
    found = Tally(key_of(count, counter.card.count_keys) for count in train)
    prior_k = np.array([found[key] for key in counter.keys], np.float64)
    source = f"train's {int(prior_k.sum()):,} photos"
    if not prior_k.sum():
        prior_k, source = _card_prior(counter.card, counter.keys), "the photos the model was trained on"
    hindsight_k = metrics.prior(judged.labels_n, len(counter.keys))
    return _blind_answer(source, prior_k, judged), _blind_answer("the judged photos themselves", hindsight_k, judged)


def _blind_answer(source: str, prior_k: NDArray[np.float64], judged: Judged) -> Blind:
    figures = metrics.blind_baselines(prior_k, judged.labels_n, judged.values_k)
    return Blind(source, judged.keys[int(np.argmax(prior_k))], figures)


def _card_prior(card: Card, keys: Sequence[str]) -> NDArray[np.float64]:
    prior_k = np.array([card.train_prior.get(key, 0.0) for key in keys])
    return prior_k / prior_k.sum() if prior_k.sum() else np.full(len(keys), 1 / len(keys))


def _written(out: Path, report: EvaluationReport, data: Path, predictions: pl.DataFrame) -> EvaluationReport:
    report = msgspec.structs.replace(report, report=str(out / REPORT), predictions=str(out / PREDICTIONS))
    page = evaluation_page(report, data)
    buffer = io.BytesIO()  # polars would turn a full disk into an error of its own
    predictions.write_parquet(buffer)
    write_bytes(out / PREDICTIONS, buffer.getvalue())
    write_text(out / REPORT, page)
    write_bytes(out / METRICS, report.to_json())
    return report
