"""Checks a policy on photos that nothing was fitted to: is the promise kept, and what does it cost.

```
OUT/policy.json    everything found, as `PolicyReport`; written last
OUT/policy.html    the same to look at, self-contained
```

Of each photo the right record and every wrong one that the mix of errors may make of it are judged, each as often as it
would occur: so shares are exact for these photos, and only the photos are a sample. Intervals are of whole bins.

Two simulations ask how often the promise is broken. "Sites": records drawn from the photos, wrong ones made at random,
judged by the acceptance file as it is; beyond chance are sites with more wrong records among the accepted than a site
that keeps the promise exactly has in 95% of cases. "Halves": the bins are divided at random, thresholds fitted to one
half, and the escape of the other half held against the promise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import bdtrc

from bintally.artifacts import write_text
from bintally.bundle import Figure, find_bundle, read_card
from bintally.config import Config
from bintally.counting.intervals import bootstrap_means
from bintally.inventory.policy import scores
from bintally.inventory.policy.acceptance import FILE, Acceptance, Table, Thresholds
from bintally.inventory.policy.evidence import Kind
from bintally.inventory.policy.fit import KINDS, acceptance_scores, counted, known, wrong_shares
from bintally.inventory.policy.report import FORMAT, AtPromise, Broken, Fixed, KindReport, PolicyReport
from bintally.inventory.policy.settings import PolicySettings
from bintally.progress import SILENT, Progress

FIGURES: Final = "policy.json"
PAGE: Final = "policy.html"
PROMISES: Final = (0.01, 0.02, 0.05, 0.10)
PREVALENCES: Final = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20)
FIXED: Final = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Thresholds on the probability of the recorded count, as who promises nothing would choose them."""

_CHANCE: Final = 0.05  # a site that keeps the promise exactly is called broken so often


class CheckPolicyConfig(Config):
    """How to check."""

    bundle: Path | str | None = Field(default=None, description="the bundle; None: the champion")
    data: Path = Field(description="the data folder")
    split: str = Field(default="test", description="photos that nothing was fitted to")
    settings: Path | None = Field(default=None, description="the policy's settings: tolerance aside, all hold")
    acceptance: Path | None = Field(default=None, description="the acceptance file; None: the bundle's own")
    evidence: Path | None = Field(default=None, description="a table of evidence; made where it does not exist")
    out: Path = Field(description="where page and figures go")
    sites: int = Field(default=2000, ge=10, description="simulated sites, each promise and rate")
    records: int = Field(default=2000, ge=10, description="records of a simulated site")
    halves: int = Field(default=200, ge=10, description="times the bins are divided")
    resamples: int = Field(default=2000, ge=10, description="bootstrap resamples of an interval")
    seed: int = Field(default=0, ge=0, description="of all of it")


def check_policy(
    *,
    data: Path | str,
    out: Path | str,
    bundle: Path | str | None = None,
    split: str = "test",
    settings: Path | str | None = None,
    acceptance: Path | str | None = None,
    evidence: Path | str | None = None,
    sites: int = 2000,
    records: int = 2000,
    halves: int = 200,
    resamples: int = 2000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> PolicyReport:
    """Coverage and escape at each promise and rate of wrong records, and how often the promise is broken.

    Raises:
        BundleError: no usable bundle or acceptance file.
        ManifestError, DataError: no usable photos, or a table of evidence of another model or split.
        ConfigError: a setting out of range.
    """
    values: dict[str, Any] = {
        "bundle": bundle,
        "data": data,
        "split": split,
        "settings": settings,
        "acceptance": acceptance,
    }
    values |= {"evidence": evidence, "out": out, "sites": sites, "records": records, "halves": halves}
    return _check(CheckPolicyConfig.of(values | {"resamples": resamples, "seed": seed}), progress)


def _check(config: CheckPolicyConfig, progress: Progress) -> PolicyReport:
    from bintally.inventory.policy.check_page import policy_page

    folder = find_bundle(config.bundle)
    found = Acceptance.read(config.acceptance or folder / FILE, read_card(folder / "card.json"))
    settings = PolicySettings.from_toml(config.settings) if config.settings else PolicySettings()
    evidence = known(folder, config.data, config.split, config.evidence, progress)
    kinds = []
    with progress.task("check", total=2 * len(KINDS), unit="kinds") as task:
        for name, derived in product(KINDS, (False, True)):
            cases, table = evidence.of(name), found.table(name, derived=derived)
            if cases is not None and table is not None:
                kinds.append(_of_kind(_Judged.of(name, cases, found, table, settings.confidence), config))
            task.advance()
    report = PolicyReport(
        format=FORMAT,
        model=evidence.model,
        model_sha256=evidence.model_sha256,
        data=str(config.data),
        split=evidence.split,
        fitted_on=found.split,
        photos=evidence.photos,
        groups=evidence.cases["group"].n_unique(),
        errors=found.errors,
        confidence=settings.confidence,
        seed=config.seed,
        kinds=tuple(kinds),
        report=str(config.out / PAGE),
    )
    write_text(config.out / PAGE, policy_page(report))
    write_text(config.out / FIGURES, msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n")
    return report


@dataclass(frozen=True)
class _Judged:
    """A kind's cases with the scores of every record they may have. Shapes: N cases, R records."""

    name: str
    cases: Kind
    acceptance: Acceptance
    table: Table
    confidence: float
    shares_nr: scores.Floats  # how often a wrong record says each number
    right_n: scores.Floats  # scores
    wrong_nr: scores.Floats

    @classmethod
    def of(cls, name: str, cases: Kind, acceptance: Acceptance, table: Table, confidence: float) -> "_Judged":
        mix = acceptance.error_mix
        shares_nr = wrong_shares(cases.recorded_n, mix, 0)

        def scored(recorded_n: NDArray[np.int64]) -> scores.Floats:
            return acceptance_scores(cases, recorded_n, mix, derived=table.derived, tolerance=0)

        every = [scored(np.full(len(cases), record)) for record in range(shares_nr.shape[1])]
        wrong_nr = np.stack(every, axis=1)
        return cls(name, cases, acceptance, table, confidence, shares_nr, scored(cases.recorded_n), wrong_nr)

    def accepted(self, threshold: float) -> tuple[scores.Floats, scores.Floats]:
        """[N] whether the right record is accepted, and the share of its wrong ones that are."""
        return (self.right_n >= threshold).astype(np.float64), (self.shares_nr * (self.wrong_nr >= threshold)).sum(
            axis=1
        )

    def threshold(self, promised: float, wrong: float, table: Table | None = None) -> float:
        """The score that keeps the promise; nan: none."""
        thresholds = Thresholds(self.acceptance.thresholds, table or self.table, self.confidence)
        return float(thresholds.of(np.array([promised]), np.array([wrong]))[0])

    def fixed(self, least: float) -> tuple[scores.Floats, scores.Floats]:
        """The same as `accepted` for who accepts a record from a probability of its count on."""
        keys = self.cases.keys
        top = scores.top_of(keys)
        place = {int(value): column for column, value in enumerate(scores.values_of(keys))}
        accepted_nr: scores.Floats = np.zeros_like(self.shares_nr)
        for record in range(accepted_nr.shape[1]):
            column = len(keys) - 1 if top is not None and record >= top else place.get(record)
            if column is not None:
                accepted_nr[:, record] = self.cases.probabilities_nk[:, column] >= least
        right_n: scores.Floats = np.take_along_axis(accepted_nr, self.cases.recorded_n[:, None], axis=1)[:, 0]
        return right_n, (self.shares_nr * accepted_nr).sum(axis=1)


def _of_kind(judged: _Judged, config: CheckPolicyConfig) -> KindReport:
    rng = np.random.default_rng(config.seed)
    return KindReport(
        kind=judged.name,
        derived=judged.table.derived,
        cases=len(judged.cases),
        groups=len(np.unique(judged.cases.group_n)),
        fitted_bins=judged.table.bins,
        promises=tuple(_promises(judged, config, rng)),
        fixed=tuple(_fixed(judged, config)),
    )


def _promises(judged: _Judged, config: CheckPolicyConfig, rng: np.random.Generator) -> Iterator[AtPromise]:
    divided = [_divided(judged, config.seed + time) for time in range(config.halves)]
    for promised in PROMISES:
        for wrong in PREVALENCES:
            threshold = judged.threshold(promised, wrong)
            accepted = judged.accepted(np.inf if np.isnan(threshold) else threshold)
            yield AtPromise(
                promised=promised,
                wrong=wrong,
                threshold=None if np.isnan(threshold) else threshold,
                coverage=_coverage(accepted, wrong, judged, config),
                escape=_escape(accepted, wrong, judged, config),
                sites=_sites(accepted, promised, wrong, config, rng),
                halves=_halves(judged, divided, promised, wrong),
            )


def _fixed(judged: _Judged, config: CheckPolicyConfig) -> Iterator[Fixed]:
    for least in FIXED:
        accepted = judged.fixed(least)
        for wrong in PREVALENCES:
            coverage, escape = _coverage(accepted, wrong, judged, config), _escape(accepted, wrong, judged, config)
            yield Fixed(least, wrong, coverage, escape)


def _coverage(
    accepted: tuple[scores.Floats, scores.Floats], wrong: float, judged: _Judged, config: CheckPolicyConfig
) -> Figure:
    return bootstrap_means(
        np.stack(accepted, axis=1),
        lambda means: (1 - wrong) * means[..., 0] + wrong * means[..., 1],
        groups_n=judged.cases.group_n,
        resamples=config.resamples,
        seed=config.seed,
    )


def _escape(
    accepted: tuple[scores.Floats, scores.Floats], wrong: float, judged: _Judged, config: CheckPolicyConfig
) -> Figure | None:
    if not any(part.any() for part in accepted):
        return None

    def share(means: NDArray[np.float64]) -> NDArray[np.float64]:
        right, escaped = (1 - wrong) * means[..., 0], wrong * means[..., 1]
        return np.asarray(escaped / np.maximum(right + escaped, 1e-12))

    how: dict[str, Any] = {"groups_n": judged.cases.group_n, "resamples": config.resamples, "seed": config.seed}
    return bootstrap_means(np.stack(accepted, axis=1), share, **how)


def _sites(
    accepted: tuple[scores.Floats, scores.Floats],
    promised: float,
    wrong: float,
    config: CheckPolicyConfig,
    rng: np.random.Generator,
) -> Broken | None:
    """Records of a site are drawn from all cases with replacement: numbers of accepted ones are then binomial."""
    kept, escaped = (float(part.mean()) for part in accepted)
    if not kept and not escaped:
        return None
    chances = [wrong * escaped, (1 - wrong) * kept]
    drawn = rng.multinomial(config.records, [*chances, 1 - sum(chances)], size=config.sites)
    wrong_s, all_s = drawn[:, 0], drawn[:, 0] + drawn[:, 1]
    above = wrong_s > promised * all_s
    return Broken(config.sites, float(above.mean()), float(_too_many(wrong_s, all_s, promised).mean()))


def _divided(judged: _Judged, seed: int) -> tuple[Table, NDArray[np.bool_]]:
    """A table of one half of the bins, and which cases are of the other."""
    groups = np.unique(judged.cases.group_n)
    half = np.random.default_rng(seed).permutation(groups)[: len(groups) // 2]
    first_n = np.isin(judged.cases.group_n, half)
    part = judged.cases.rows(np.flatnonzero(first_n))
    mix = judged.acceptance.error_mix
    return counted(judged.name, part, mix, derived=judged.table.derived, tolerance=0, seed=seed), ~first_n


def _halves(
    judged: _Judged, divided: list[tuple[Table, NDArray[np.bool_]]], promised: float, wrong: float
) -> Broken | None:
    above, asked = 0, 0
    for table, other_n in divided:
        threshold = judged.threshold(promised, wrong, table)
        if np.isnan(threshold):
            continue
        right_n, wrong_n = (part[other_n] for part in judged.accepted(threshold))
        escaped, kept = wrong * wrong_n.sum(), (1 - wrong) * right_n.sum()
        asked += 1
        above += bool(escaped > promised * (escaped + kept))
    return Broken(len(divided), above / len(divided), None) if asked else None


def _too_many(wrong_s: NDArray[Any], all_s: NDArray[Any], promised: float) -> NDArray[np.bool_]:
    """More wrong ones than a site that keeps the promise exactly has in 95% of cases (an exact binomial test)."""
    chance = np.where(wrong_s > 0, bdtrc(np.maximum(wrong_s, 1) - 1.0, np.maximum(all_s, 1), promised), 1.0)
    return np.asarray(chance <= _CHANCE)
