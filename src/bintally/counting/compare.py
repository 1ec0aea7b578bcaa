"""The `compare` verb: two or more models on the same photos, one of them the measure of the others.

Shapes: N photos that all models have predictions of, K counts that all were asked about.

```
OUT/compare.json    everything found, as `Comparison`; written last
OUT/compare.html    the same to look at, self-contained
```

Differences are paired: each photo's two answers stand against each other, and intervals draw whole bins. McNemar's test
takes photos as independent; a difference counts as seen where its interval and the test agree.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bintally.artifacts import write_bytes, write_text
from bintally.bundle import Figure
from bintally.config import Config
from bintally.counting import metrics
from bintally.counting.compare_page import compare_page
from bintally.counting.comparison import FORMAT, LEVEL, POINTS, Comparison, Disagreement, Pair, apart, sentence
from bintally.counting.entrants import Entrant, read_entrants
from bintally.counting.intervals import bootstrap_mean, bootstrap_means
from bintally.counting.paired import distance, holm, mcnemar, photos_to_see
from bintally.counting.predictions import Predictions
from bintally.errors import DataError, UsageError

COMPARISON: Final = "compare.json"
PAGE: Final = "compare.html"


class CompareConfig(Config):
    """What `compare` is asked for."""

    runs: tuple[Path, ...] = Field(min_length=2, description="Run folders, or what `evaluate` wrote.")
    out: Path = Field(description="Where page and figures go.")
    against: Path | None = Field(default=None, description="One of `runs`: the measure of the others; default: first.")
    data: Path | None = Field(default=None, description="The data folder: the page then shows photos.")
    seed: int = Field(default=0, ge=0, description="Of resampling.")
    resamples: int = Field(default=2000, ge=100, le=100_000, description="Of each interval's bootstrap.")
    gallery: int = Field(default=12, ge=0, le=100, description="Photos on which they disagree most.")


def compare(
    *,
    runs: Sequence[Path | str],
    out: Path | str,
    against: Path | str | None = None,
    data: Path | str | None = None,
    seed: int = 0,
    resamples: int = 2000,
    gallery: int = 12,
) -> Comparison:
    """Holds `runs` against the first of them (or `against`) on the photos that all have predictions of.

    Raises:
        DataError: a folder is no finished run or evaluation, no photo in common, or their recorded counts differ.
        ManifestError: `data` is no data folder.
        ConfigError, UsageError: fewer than two runs, a setting out of range, `against` is none of them.
    """
    values = {"out": out, "against": against, "data": data, "seed": seed, "resamples": resamples, "gallery": gallery}
    return _compare(CompareConfig.of(values | {"runs": tuple(runs)}))


def _compare(config: CompareConfig) -> Comparison:
    first = _reference(config)
    entrants, told = zip(*read_entrants(config.runs), strict=True)
    found = comparison_of(entrants, common(told, [entrant.label for entrant in entrants]), first, config)
    write_comparison(found, config)
    return found


def comparison_of(
    entrants: Sequence[Entrant], told: Sequence[Predictions], first: int, config: CompareConfig
) -> Comparison:
    """What `told`, predictions of `entrants` on the same photos (`common`), say beside those of the `first`."""
    values_k = values_of(told[0])
    entrants = tuple(
        msgspec.structs.replace(entrant, figures=_figures(one, values_k, config))
        for entrant, one in zip(entrants, told, strict=True)
    )
    others = [place for place in range(len(entrants)) if place != first]
    pairs = [_pair(entrants, told, place, first, values_k, config) for place in others]
    return Comparison(
        format=FORMAT,
        against=entrants[first].label,
        keys=told[0].keys,
        photos=len(told[0]),
        bins=len(np.unique(told[0].groups_n)),
        seed=config.seed,
        resamples=config.resamples,
        entrants=entrants,
        pairs=tuple(_judged(pairs, len(told[0]))),
        disagreements=_disagreements(entrants, told, first, config.gallery),
        page=str(config.out / PAGE),
    )


def write_comparison(found: Comparison, config: CompareConfig) -> None:
    """Page and figures, into `config.out`.

    Raises:
        ManifestError: `config.data` is no data folder.
        StorageError: they can't be written.
    """
    write_text(config.out / PAGE, compare_page(found, config.data))
    write_bytes(config.out / COMPARISON, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


def _reference(config: CompareConfig) -> int:
    if config.against is None:
        return 0
    places = [run.resolve() for run in config.runs]
    if config.against.resolve() not in places:
        raise UsageError(f"{config.against} is none of the runs to compare.", hint="Name it among them too.")
    return places.index(config.against.resolve())


def common(told: Sequence[Predictions], labels: Sequence[str]) -> tuple[Predictions, ...]:
    """Predictions on the photos and counts that all have, photos in the order of their ids.

    Raises:
        DataError: there are none, or the recorded counts differ.
    """
    keys = tuple(key for key in told[0].keys if all(key in one.keys for one in told))
    asked = [one.asked(keys) for one in told] if len(keys) > 1 else []
    ids = reduce(np.intersect1d, [one.ids_n for one in asked]) if asked else np.array([])
    if not len(ids):
        raise DataError(
            f"{' and '.join(labels)} have no photo in common.",
            hint="Compare runs on one data folder, or evaluations of one --split and --counts.",
        )
    chosen = [one.of(_places(one.ids_n, ids)) for one in asked]
    for one, label in zip(chosen, labels, strict=True):
        differ = np.flatnonzero((one.recorded_n != chosen[0].recorded_n) | (one.labels_n != chosen[0].labels_n))
        if len(differ):
            raise DataError(
                f"Recorded counts differ between {labels[0]} and {label} on {len(differ)} of {len(ids)} photos, first "
                f"{ids[differ[0]]}: {chosen[0].recorded_n[differ[0]]} and {one.recorded_n[differ[0]]}.",
                hint="Judge both on one data folder.",
            )
    return tuple(chosen)


def _places(ids_n: NDArray[np.object_], wanted: NDArray[np.object_]) -> NDArray[np.intp]:
    order = np.argsort(ids_n, kind="stable")
    return np.asarray(order[np.searchsorted(ids_n[order], wanted)], np.intp)


def values_of(told: Predictions) -> NDArray[np.float64]:
    """What each key counts as, [K], the same for all models: an open top as its photos have on average."""
    means = [told.recorded_n[told.labels_n == k] for k in range(len(told.keys))]
    return np.array(
        [
            float(counts.mean()) if key.endswith("+") and len(counts) else float(key.rstrip("+"))
            for key, counts in zip(told.keys, means, strict=True)
        ]
    )


def _terms(told: Predictions, values_k: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Each photo's part, [N], in each figure."""
    return {
        "accuracy": metrics.correct_terms(told.probabilities_nk, told.labels_n),
        "log_loss": metrics.log_loss_terms(told.probabilities_nk, told.labels_n),
        "rmse": metrics.error_terms(told.probabilities_nk, told.labels_n, values_k) ** 2,
    }


def _figures(told: Predictions, values_k: NDArray[np.float64], config: CompareConfig) -> dict[str, Figure]:
    return {
        name: bootstrap_mean(
            terms_n,
            groups_n=told.groups_n,
            finish=np.sqrt if name == "rmse" else np.positive,
            resamples=config.resamples,
            seed=config.seed,
        )
        for name, terms_n in _terms(told, values_k).items()
    }


def _pair(
    entrants: Sequence[Entrant],
    told: Sequence[Predictions],
    place: int,
    first: int,
    values_k: NDArray[np.float64],
    config: CompareConfig,
) -> Pair:
    """All but what depends on the other pairs."""
    these, others = _terms(told[place], values_k), _terms(told[first], values_k)
    only_this = int(((these["accuracy"] == 1) & (others["accuracy"] == 0)).sum())
    only_other = int(((these["accuracy"] == 0) & (others["accuracy"] == 1)).sum())
    p_exact, p_mid = mcnemar(only_this, only_other)
    differences = {
        name: bootstrap_means(
            np.stack([terms_n, others[name]], axis=1),
            _rmse_difference if name == "rmse" else _difference,
            groups_n=told[first].groups_n,
            resamples=config.resamples,
            seed=config.seed,
        )
        for name, terms_n in these.items()
    }
    return Pair(
        label=entrants[place].label,
        against=entrants[first].label,
        differences=differences,
        only_this=only_this,
        only_other=only_other,
        p_exact=p_exact,
        p_mid=p_mid,
        p_holm=p_exact,
        seen=False,
        photos_needed=photos_to_see(POINTS, (only_this + only_other) / len(told[first])),
        says="",
    )


def _difference(means_t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(means_t[..., 0] - means_t[..., 1])


def _rmse_difference(means_t: NDArray[np.float64]) -> NDArray[np.float64]:
    return _difference(np.sqrt(means_t))


def _judged(pairs: Sequence[Pair], photos: int) -> list[Pair]:
    """The pairs with what their number changes, and a sentence each."""
    judged = []
    for pair, p_holm in zip(pairs, holm([pair.p_exact for pair in pairs]), strict=True):
        seen = p_holm < LEVEL and apart(pair.differences["accuracy"])
        pair = msgspec.structs.replace(pair, p_holm=p_holm, seen=seen)
        judged.append(msgspec.structs.replace(pair, says=sentence(pair, photos, several=len(pairs) > 1)))
    return judged


def _disagreements(
    entrants: Sequence[Entrant], told: Sequence[Predictions], first: int, gallery: int
) -> tuple[Disagreement, ...]:
    reference = told[first]
    apart_n = np.max([distance(one.probabilities_nk, reference.probabilities_nk) for one in told], axis=0)
    worst = [n for n in np.argsort(-apart_n, kind="stable")[:gallery] if apart_n[n] > 0]
    return tuple(
        Disagreement(
            bin_image_id=str(reference.ids_n[n]),
            recorded_count=int(reference.recorded_n[n]),
            recorded_key=reference.keys[reference.labels_n[n]],
            distance=float(apart_n[n]),
            probabilities={
                entrant.label: tuple(one.probabilities_nk[n].tolist())
                for entrant, one in zip(entrants, told, strict=True)
            },
        )
        for n in worst
    )
