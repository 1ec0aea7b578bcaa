"""The `diagnose` verb: what ails a training before it starts.

```
OUT/diagnose.json     the report below
OUT/diagnose.html     the same as a page: what to do first, then a section a check
OUT/suspicious.csv    photos whose recorded count is likely wrong, most suspicious first
```

The recipe's network is trained for a few steps and thrown away; no run is touched.
"""

import copy
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor

from bintally.artifacts import write_bytes, write_text
from bintally.config import Config
from bintally.data.leakage import prove
from bintally.errors import ConfigError, did_you_mean
from bintally.manifest import SPLIT, Manifest
from bintally.progress import SILENT, Progress
from bintally.settings import cpu_count
from bintally.training.dataset import labels_of
from bintally.training.diagnose.before.inputs import inputs_of
from bintally.training.diagnose.before.label_noise import FOLDS, PLANTED, LabelNoise, label_noise
from bintally.training.diagnose.before.lr_range import STEPS, lr_range
from bintally.training.diagnose.before.noise_scale import BATCHES, GROUPS, WARMUP, noise_scale
from bintally.training.diagnose.before.out_of_sample import grouped_parts
from bintally.training.diagnose.before.page import draw_page
from bintally.training.diagnose.before.report import DataFacts, DiagnoseReport, first_of, found
from bintally.training.features import FeatureDataset, kept_features
from bintally.training.plan import Plan
from bintally.training.recipe import Recipe
from bintally.training.rehearsal import Rehearsal

Check = Literal["leakage", "labels", "rate", "noise"]
CHECKS: Final[tuple[Check, ...]] = ("leakage", "labels", "rate", "noise")

REPORT: Final = "diagnose.json"
PAGE: Final = "diagnose.html"
SUSPICIOUS: Final = "suspicious.csv"


class DiagnoseSettings(Config):
    """How much is tried out."""

    photos: int | None = Field(
        default=None, ge=1, description="Training photos looked at, at most, whole bins with train's mix; default: all."
    )
    folds: int = Field(default=FOLDS, ge=2, le=20, description="Folds that labels are judged in.")
    planted: float = Field(default=PLANTED, gt=0, lt=0.5, description="Share of labels made wrong to check the check.")
    rate_steps: int = Field(default=STEPS, ge=20, le=10_000, description="Steps of the learning-rate range test.")
    noise_groups: int = Field(default=GROUPS, ge=3, le=1000, description="Big batches that gradients are measured on.")
    noise_batches: int = Field(default=BATCHES, ge=2, le=1000, description="The recipe's batches in a big one.")
    warmup_steps: int = Field(default=WARMUP, ge=0, description="Steps trained before gradients are measured.")


class DiagnoseConfig(DiagnoseSettings):
    """What `diagnose` is asked for."""

    recipe: Recipe
    data: Path = Field(description="A data folder with a split.")
    out: Path = Field(description="Where the report goes.")
    checks: tuple[Check, ...] = Field(default=CHECKS, min_length=1, description="Which of the checks.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default: all there are.")


def diagnose(
    *,
    recipe: Recipe | Path,
    data: Path,
    out: Path,
    checks: Iterable[str] = CHECKS,
    threads: int | None = None,
    settings: DiagnoseSettings | None = None,
    progress: Progress = SILENT,
) -> DiagnoseReport:
    """Looks at data, labels, learning rate and batch size before a training, and says what to do first.

    Raises:
        ConfigError: the recipe is wrong, or there is no such check.
        ManifestError: there is no split yet.
        TrainingError: no photo of a count, or too few bins to judge labels.
        BackboneError: unknown architecture, or its weights can't be had.
    """
    resolved = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    known = (settings or DiagnoseSettings()).model_dump()
    values = {"recipe": resolved, "data": data, "out": out, "checks": named_checks(checks), "threads": threads}
    return _diagnose(DiagnoseConfig.of({**known, **values}), progress)


def named_checks(names: Iterable[str]) -> tuple[Check, ...]:
    """The checks of these names, each once.

    Raises:
        ConfigError: there is none of a name.
    """
    chosen: list[Check] = []
    for name in names:
        known = next((check for check in CHECKS if check == name), None)
        if known is None:
            raise ConfigError(f"There is no check {name!r}.", hint=did_you_mean(name, CHECKS))
        if known not in chosen:
            chosen.append(known)
    return tuple(chosen)


def _diagnose(config: DiagnoseConfig, progress: Progress) -> DiagnoseReport:
    started = time.monotonic()
    torch.set_num_threads(config.threads or cpu_count())
    whole = Plan.of(config.recipe, config.data)
    plan = _drawn(whole, config.photos)
    rehearsal = Rehearsal.of(plan, progress)
    progress.say(f"{config.recipe.network.backbone} ({rehearsal.origin}), {plan.train.height:,} photos of train")
    leakage = _facts(whole, rehearsal) if "leakage" in config.checks else None
    labels = _labels(rehearsal, config, progress) if "labels" in config.checks else None
    rate = lr_range(rehearsal, steps=config.rate_steps, progress=progress) if "rate" in config.checks else None
    noise = None
    if "noise" in config.checks:
        noise = noise_scale(
            rehearsal,
            groups=config.noise_groups,
            batches=config.noise_batches,
            warmup_steps=config.warmup_steps,
            progress=progress,
        )
    findings = found(leakage, labels, rate, noise)
    report = DiagnoseReport(
        recipe=config.recipe.name,
        data=str(config.data),
        dataset=plan.dataset,
        weights=rehearsal.origin,
        photos=plan.train.height,
        train_photos=whole.train.height,
        first=first_of(findings),
        findings=findings,
        leakage=leakage,
        labels=labels,
        rate=rate,
        noise=noise,
        seconds=round(time.monotonic() - started, 1),
        page=str(config.out / PAGE),
    )
    _write(report, plan, config.out)
    return report


def _drawn(plan: Plan, photos: int | None) -> Plan:
    """The plan with at most about so many training photos, whole bins with train's mix of counts."""
    if photos is None or photos >= plan.train.height:
        return plan
    share = photos / plan.train.height
    labels_n = labels_of(plan.train, plan.keys)
    part_n = grouped_parts(labels_n, groups_of(plan.train), np.array([share, 1 - share]), seed=plan.recipe.seed)
    # No check looks at val, and a frozen backbone would see all of it for nothing.
    val = plan.val.head(1) if plan.recipe.network.tune == "head" else plan.val
    return replace(plan, train=plan.train.filter(pl.Series(part_n == 0)), val=val)


def groups_of(table: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """The bin [N] of each photo; a photo without one is a bin of its own."""
    return table["group"].fill_null("photo " + table["bin_image_id"]).to_numpy().astype(np.str_)


def _facts(plan: Plan, rehearsal: Rehearsal) -> DataFacts:
    photos_k = np.bincount(labels_of(plan.train, plan.keys), minlength=len(plan.keys))
    recipe = plan.recipe
    return DataFacts(
        leakage=prove(Manifest.read(plan.data, SPLIT).table),
        photos=dict(zip(plan.keys, photos_k.tolist(), strict=True)),
        balance=recipe.balance.method,
        inputs=inputs_of(rehearsal.network, plan.data, plan.train, px=recipe.input.px, seed=recipe.seed),
    )


def _labels(rehearsal: Rehearsal, config: DiagnoseConfig, progress: Progress) -> LabelNoise:
    plan = rehearsal.plan
    return label_noise(
        _features(rehearsal, progress),
        labels_of(plan.train, plan.keys),
        groups_of(plan.train),
        plan.keys,
        folds=config.folds,
        planted_share=config.planted,
        seed=plan.recipe.seed,
        progress=progress,
    )


def _features(rehearsal: Rehearsal, progress: Progress) -> Tensor:
    """What the recipe's network sees in each training photo before it learns, [N, F]; computed already for a head."""
    if isinstance(rehearsal.feed.train, FeatureDataset):
        return rehearsal.feed.train.features_nvf[:, 0]
    plan = rehearsal.plan
    features_nvf = kept_features(
        copy.deepcopy(rehearsal.network),  # which is put into another mode, and maybe elsewhere
        plan.data,
        plan.train,
        px=plan.recipe.input.px,
        mirrored=False,
        bf16=rehearsal.bf16,
        progress=progress,
    )
    return features_nvf[:, 0]


def _write(report: DiagnoseReport, plan: Plan, out: Path) -> None:
    if report.labels is None:
        (out / SUSPICIOUS).unlink(missing_ok=True)  # an earlier one, of other photos maybe
    else:
        write_text(out / SUSPICIOUS, suspicious(plan, report.labels).write_csv())
    write_bytes(out / REPORT, msgspec.json.format(msgspec.json.encode(report), indent=2))
    write_text(out / PAGE, draw_page(report, plan))


def suspicious(plan: Plan, labels: LabelNoise) -> pl.DataFrame:
    """The suspicious photos, most suspicious first."""
    suspects = labels.suspects
    rows = plan.train.select("bin_image_id", "path", "recorded_count")[[suspect.row for suspect in suspects]]
    return rows.with_columns(
        pl.Series("likely_count", [plan.keys[suspect.likely] for suspect in suspects], pl.String),
        pl.Series("probability", [round(suspect.probability, 4) for suspect in suspects], pl.Float64),
        pl.Series("recorded_probability", [round(suspect.recorded_probability, 4) for suspect in suspects], pl.Float64),
    )
