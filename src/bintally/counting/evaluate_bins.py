"""Judges a bundle on bins over time and on stock records: figures, intervals, a page, and every pair's answer.

```
OUT/bins.json       everything found, as `BinsReport`; written last
OUT/bins.html       the same to look at, self-contained
OUT/pairs.parquet   one row a pair, for paired comparison with another model
```
"""

import io
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from bintally.artifacts import code_fingerprint, write_bytes, write_text
from bintally.counting.bins_over_time import BinPhotos, over_time
from bintally.counting.bins_page import bins_page
from bintally.counting.bins_report import FORMAT, BinsOverTime, BinsReport, PairReport, RecordReport, Unchanged
from bintally.counting.bins_seen import SeenPhotos, compare, look, neighbours
from bintally.counting.counter import Counter
from bintally.counting.evaluate import EvaluateSettings
from bintally.counting.judged_records import Claim, Shelf, judge_records, read_claims
from bintally.counting.pair_figures import Pairs, pair_report, told, unchanged_report
from bintally.counting.ranked import Resampling
from bintally.counting.remade import taken_again
from bintally.counting.report import Subject, Unreadable
from bintally.errors import DataError, ModelError
from bintally.manifest import Manifest
from bintally.progress import SILENT, Progress

FIGURES: Final = "bins.json"
PAGE: Final = "bins.html"
PAIRS: Final = "pairs.parquet"

UNTOUCHED: Final = 300
"""Photos of which a pair without any change is made."""


class EvaluateBinsSettings(EvaluateSettings):
    """How to judge."""

    counts: str | None = Field(default="1-5", description="new counts asked about; pairs with others are left out")
    gallery: int = Field(default=12, ge=0, le=100, description="worst pairs shown, and about as many of the surest")
    verification: Path | None = Field(default=None, description="a CSV file of right and wrong records to judge")


class EvaluateBinsConfig(EvaluateBinsSettings):
    """`EvaluateBinsSettings` with the folders."""

    bundle: Path = Field(description="the bundle to judge")
    data: Path = Field(description="the data folder")
    out: Path = Field(description="where page, figures and pairs go")


def evaluate_bins(
    *,
    bundle: Path | str,
    data: Path | str,
    out: Path | str,
    split: str = "test",
    counts: str | None = "1-5",
    verification: Path | str | None = None,
    seed: int = 0,
    resamples: int = 2000,
    gallery: int = 12,
    progress: Progress = SILENT,
) -> BinsReport:
    """Judges what `bundle` makes of pairs of photos, of bins over time and of records, and writes it to `out`.

    Pairs are neighbours in a group of `data`'s `split`, ordered by id; the earlier photo's recorded count is given.
    `verification` names a CSV file with the columns id, split, record_is_right, error and record.

    Raises:
        ModelError: the bundle neither compares photos nor judges records.
        BundleError: no usable bundle.
        ManifestError: no usable data folder.
        DataError: nothing to judge.
        ConfigError, UsageError: a setting out of range, counts the model does not know, no such file.
    """
    values = {"split": split, "counts": counts, "seed": seed, "resamples": resamples, "gallery": gallery}
    places = {"bundle": bundle, "data": data, "out": out, "verification": verification}
    return _evaluate(EvaluateBinsConfig.of(values | places), progress)


class _Plan(NamedTuple):
    """What is to be judged; what is not, and why."""

    photos: pl.DataFrame  # of bins, of the split
    pairs: pl.DataFrame
    claims: list[Claim]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Judge:
    """All parts look through one counter at one folder."""

    config: EvaluateBinsConfig
    counter: Counter
    manifest: Manifest
    progress: Progress

    @property
    def how(self) -> Resampling:
        """How intervals are drawn."""
        return Resampling(self.config.seed, self.config.resamples)

    def look(self, names: Sequence[str], compared: Set[str]) -> SeenPhotos:
        """Looks at photos of the folder by their ids."""
        paths = dict(self.manifest.table.select("bin_image_id", "path").iter_rows())
        photos = {name: self.config.data / paths[name] for name in names if name in paths}
        return look(self.counter, photos, compared, self.progress)


def _evaluate(config: EvaluateBinsConfig, progress: Progress) -> BinsReport:
    judge = _Judge(config, Counter(config.bundle, counts=config.counts), Manifest.read(config.data), progress)
    plan = _planned(judge)
    compared = {*plan.pairs["earlier_id"], *plan.pairs["later_id"]}
    wanted = dict.fromkeys([*plan.photos["bin_image_id"], *(claim.photo for claim in plan.claims)])
    seen = judge.look(list(wanted), compared)
    report = BinsReport(
        format=FORMAT,
        subject=_subject(judge),
        pairs=None,
        over_time=None,
        records=None,
        left_out=plan.left_out,
        unreadable=_unreadable(judge.manifest, seen),
    )
    asked = None
    if plan.pairs.height:
        asked, pairs, bins = _judge_pairs(judge, plan, seen)
        report = msgspec.structs.replace(report, pairs=pairs, over_time=bins)
    if plan.claims:
        report = msgspec.structs.replace(report, records=_judge_claims(judge, plan.claims, seen))
    return _written(config, report, asked)


def _planned(judge: _Judge) -> _Plan:
    """What of the bundle can be judged here.

    Raises:
        ModelError, DataError: nothing can.
    """
    card, config = judge.counter.card, judge.config
    if card.change is None and card.verification is None:
        raise ModelError(
            f"The model {card.name!r} neither compares photos nor judges records.",
            hint="Judge one that does, such as the champion, or train with network.tells = ['change', 'record'].",
        )
    no_claims = "the model does not judge them" if card.verification is None else "none were given (--verification)"
    claims = []
    if card.verification is not None and config.verification is not None:
        claims, no_claims = read_claims(config.verification, config.split), ""
    photos = _of_bins(judge.manifest, config.split)
    pairs = neighbours(photos)
    no_pairs = "the model does not compare photos" if card.change is None else ""
    if card.change is not None and not pairs.height:
        no_pairs = f"{judge.manifest.path} has no two photos of one bin in split {config.split!r}"
    if no_pairs and no_claims:
        raise DataError(
            f"Nothing to judge. Pairs: {no_pairs}. Records: {no_claims}.",
            hint="Choose another --split, or name records with --verification FILE.",
        )
    left_out = {"pairs": no_pairs, "records": no_claims}
    return _Plan(
        photos.clear() if no_pairs else photos,
        pairs.clear() if no_pairs else pairs,
        claims,
        tuple(f"{part}: {why}" for part, why in left_out.items() if why),
    )


def _of_bins(manifest: Manifest, split: str) -> pl.DataFrame:
    table = manifest.usable(None if split == "all" else split)
    return table.filter(pl.col("group").is_not_null()).sort("group", "bin_image_id")


def _judge_pairs(judge: _Judge, plan: _Plan, seen: SeenPhotos) -> tuple[Pairs, PairReport, BinsOverTime]:
    counter, card = judge.counter, judge.counter.card
    readable = [a in seen and b in seen for a, b in plan.pairs.select("earlier_id", "later_id").iter_rows()]
    table = plan.pairs.filter(pl.Series(readable, dtype=pl.Boolean))
    evidence_pd = compare(counter, seen, table, judge.progress)
    told_pairs = _told(counter, table, seen, seen, evidence_pd)
    chosen = told_pairs.table["key"].is_in(list(counter.keys)).to_numpy()
    if not chosen.any():
        raise DataError(
            f"No pair to judge: none of {table.height} has a new count of {', '.join(counter.keys)}.",
            hint="Choose another --split or --counts.",
        )
    asked = told_pairs.only(chosen)
    report = pair_report(
        asked,
        card,
        other_counts=int((~chosen).sum()),
        unchanged=_judge_untouched(judge, plan.photos, seen, asked),
        gallery=judge.config.gallery,
        how=judge.how,
    )
    followed = over_time(_bins(plan.photos, table, seen, evidence_pd), card, counter.keys, judge.how)
    return asked, report, followed


def _told(
    counter: Counter, table: pl.DataFrame, earlier: SeenPhotos, later: SeenPhotos, evidence_pd: NDArray[np.floating]
) -> Pairs:
    sides = (earlier.told(table["earlier_id"].to_list()), later.told(table["later_id"].to_list()))
    return told(counter, table, *sides, evidence_pd)


def _judge_untouched(judge: _Judge, photos: pl.DataFrame, seen: SeenPhotos, asked: Pairs) -> Unchanged | None:
    """Photos of bins, held against themselves taken again."""
    counter, seed = judge.counter, judge.config.seed
    readable = photos.filter(pl.col("bin_image_id").is_in(list(seen.raw)))
    usable = readable.filter(pl.col("count_key").is_in(list(counter.keys))).sort("bin_image_id")
    if not usable.height:
        return None
    chosen = usable[np.sort(np.random.default_rng(seed).permutation(usable.height)[:UNTOUCHED])]
    paths = [judge.config.data / path for path in chosen["path"]]
    sides = taken_again(counter, paths, seed, judge.progress)
    table = chosen.select("group", earlier_id="bin_image_id", earlier_path="path", earlier_count="recorded_count")
    table = table.with_columns(later_id="earlier_id", later_path="earlier_path", new_count="earlier_count")
    made = told(counter, table, *sides)
    all_known = told(counter.restricted(None), table, *sides)
    return unchanged_report(made, all_known.told_pk, asked, counter.card, judge.how)


def _bins(
    photos: pl.DataFrame, pairs: pl.DataFrame, seen: SeenPhotos, evidence_pd: NDArray[np.float32]
) -> list[BinPhotos]:
    """The bins of the photos that could be read, each in the order of its photos."""
    evidence = dict(zip(pairs.select("earlier_id", "later_id").iter_rows(), evidence_pd, strict=True))
    bins = []
    for (group,), part in photos.group_by("group", maintain_order=True):
        rows = [row for row in part.select("bin_image_id", "recorded_count").iter_rows() if row[0] in seen]
        ids = tuple(name for name, _ in rows)
        if ids:
            bins.append(
                BinPhotos(
                    group=str(group),
                    ids=ids,
                    recorded=tuple(count for _, count in rows),
                    raw=tuple(seen.raw[name] for name in ids),
                    evidence=(None, *(evidence.get(pair) for pair in pairwise(ids))),
                )
            )
    return bins


def _judge_claims(judge: _Judge, claims: Sequence[Claim], seen: SeenPhotos) -> RecordReport:
    shelf = Shelf(judge.config.data, judge.manifest.table)
    return judge_records(claims, seen, shelf, judge.counter.card, str(judge.config.verification), judge.how)


def _unreadable(manifest: Manifest, seen: SeenPhotos) -> tuple[Unreadable, ...]:
    paths = dict(manifest.table.select("bin_image_id", "path").iter_rows())
    return tuple(Unreadable(name, paths[name], why) for name, why in seen.unreadable.items())


def _subject(judge: _Judge) -> Subject:
    card, config, keys = judge.counter.card, judge.config, judge.counter.keys
    return Subject(
        model=card.name,
        bundle=str(config.bundle),
        model_sha256=card.model_sha256,
        licence=card.licence,
        data=str(config.data),
        table=judge.manifest.name,
        table_sha256=judge.manifest.fingerprint(),
        split=config.split,
        counts=config.counts or f"{keys[0]}-{keys[-1]}",
        keys=keys,
        seed=config.seed,
        resamples=config.resamples,
        code_version=code_fingerprint(["counting", "photos.py"]),
    )


def _answers(asked: Pairs) -> pl.DataFrame:
    """One row a pair: `p_3` is the model's probability of 3, `blind_3` that of one who sees no photo."""
    counts = [pl.Series("told_count", [asked.keys[column] for column in asked.told_pk.argmax(axis=1)], dtype=pl.String)]
    columns = [
        pl.Series(f"{name}_{key}", shares_pk[:, column])
        for name, shares_pk in (("p", asked.told_pk), ("blind", asked.blind_pk))
        for column, key in enumerate(asked.keys)
    ]
    return asked.table.drop("key").with_columns(*counts, pl.Series("unchanged", asked.unchanged_p), *columns)


def _written(config: EvaluateBinsConfig, report: BinsReport, asked: Pairs | None) -> BinsReport:
    table = "" if asked is None else str(config.out / PAIRS)
    report = msgspec.structs.replace(report, report=str(config.out / PAGE), table=table)
    page = bins_page(report, config.data)
    if asked is not None:
        buffer = io.BytesIO()  # polars would turn a full disk into an error of its own
        _answers(asked).write_parquet(buffer)
        write_bytes(config.out / PAIRS, buffer.getvalue())
    write_text(config.out / PAGE, page)
    write_bytes(config.out / FIGURES, report.to_json())
    return report
