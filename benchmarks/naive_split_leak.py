"""How much better a model looks when photos are split one by one instead of bin by bin.

    python benchmarks/naive_split_leak.py [SOURCE] [--photos N] [--seeds N] [--save]

SOURCE is laid out like the bucket (default: the real photos in ../shared/abid, else a rendered
sample). Models that fit in a few lines look at 16 x 16 thumbnails, so that what is measured is the split:

- nearest: the 15 nearest photos of train vote, nearer ones more;
- neighbour table: the count of the nearest photo of train and how near it is, looked up in a table learned in train.
  Photos of one bin seldom show the same count (a bin is photographed because its content changed), so it takes such a
  table, as any trained network can learn it, to make use of having seen the bin;
- bins recognised: the ceiling of the leak. The same table, but a bin that train has seen is always recognised (by
  its group), and the count of its photo with the nearest id is looked up.

Each seed draws both splits; the intervals of the differences are paired t-intervals over seeds. Those of the accuracies
are Wilson intervals of one test set of that size. Only counts 1-5, in every figure.
"""

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from bintally.artifacts import write_json
from bintally.data.split import split
from bintally.manifest import FETCHED, SPLIT, Manifest

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "naive_split_leak.json"
NEIGHBOURS = 100  # nearest photos remembered of each; with 70% in train, 15 of them are practically always there
VOTERS = 15
NEARNESS_STEPS = 10
COUNTS = np.arange(1, 6)
T_975 = {4: 2.776, 9: 2.262, 19: 2.093}  # 97.5% quantile of Student's t by degrees of freedom

Features = NDArray[np.float32]
Ints = NDArray[np.int64]


def records(source: Path) -> dict[str, dict[str, Any]]:
    """The record of each photo that has one, from SOURCE/metadata.zip or SOURCE/metadata, in the order of their ids."""
    found = {Path(name).stem: json.loads(text) for name, text in _record_texts(source)}
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def counts_of(source: Path, known: dict[str, dict[str, Any]]) -> dict[str, int]:
    """The count of each photo, from SOURCE/labels.csv if there is one, else from its record."""
    if not (source / "labels.csv").is_file():
        return {name: record["EXPECTED_QUANTITY"] for name, record in known.items()}
    with (source / "labels.csv").open(newline="") as file:
        return {row["id"]: int(row["count"]) for row in csv.DictReader(file)}


def _record_texts(source: Path) -> Iterator[tuple[str, bytes]]:
    if (source / "metadata.zip").is_file():
        with zipfile.ZipFile(source / "metadata.zip") as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist() if name.endswith(".json"))
    else:
        yield from ((path.name, path.read_bytes()) for path in sorted((source / "metadata").glob("*.json")))


def thumbnail(path: Path) -> Features:
    """Luma at 16 x 16, to mean 0 and variance 1, and colour differences at 4 x 4."""
    with Image.open(path) as image:
        image.draft("YCbCr", (64, 64))
        luma, blue, red = image.convert("YCbCr").split()
        fine = np.asarray(luma.resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel()
        coarse = [
            np.asarray(part.resize((4, 4), Image.Resampling.BOX), dtype=np.float32).ravel() for part in (blue, red)
        ]
    colour = (np.concatenate(coarse) - 128) / 10
    return np.concatenate([(fine - fine.mean()) / (fine.std() + 1), colour])


def whitened(features_nd: Features) -> Features:
    """The 128 strongest principal components, whitened, each photo to length 1: what all photos share counts less.

    With them the nearest photo is one of the same bin, if there is one, in 40% of the real photos, without in 31%.
    """
    centred = features_nd - features_nd.mean(axis=0)
    strengths, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    components = centred @ axes[:, -128:] / np.sqrt(strengths[-128:] + 1e-6)
    unit: Features = (components / np.linalg.norm(components, axis=1, keepdims=True)).astype(np.float32)
    return unit


def nearest(features_nd: Features) -> tuple[Ints, Features]:
    """The `NEIGHBOURS` nearest other photos of each, nearest first [N, 100], and their distances."""
    squares = (features_nd**2).sum(axis=1)
    order, distance = [], []
    for start in range(0, len(features_nd), 512):
        block = features_nd[start : start + 512]
        apart = squares[start : start + 512, None] + squares[None] - 2 * block @ features_nd.T
        apart[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        near = np.argpartition(apart, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        values = np.take_along_axis(apart, near, axis=1)
        ranks = np.argsort(values, axis=1)
        order.append(np.take_along_axis(near, ranks, axis=1))
        distance.append(np.sqrt(np.maximum(np.take_along_axis(values, ranks, axis=1), 0)))
    return np.concatenate(order), np.concatenate(distance)


class Drawn(NamedTuple):
    """One drawn split: photos' counts and bins, who is in train, and the photos of test."""

    counts_n: Ints
    groups_n: Ints
    train_n: NDArray[np.bool_]
    test: Ints


def vote(drawn: Drawn, order: Ints, distance: Features) -> Ints:
    """Predicted counts of test: the `VOTERS` nearest photos of train, weighted by 1 / distance squared."""
    others = order[drawn.test]
    seen = drawn.train_n[others]
    weight = (seen & (np.cumsum(seen, axis=1) <= VOTERS)) / (distance[drawn.test] ** 2 + 1e-6)
    votes = np.stack([(weight * (drawn.counts_n[others] == count)).sum(axis=1) for count in COUNTS], axis=1)
    chosen: Ints = COUNTS[votes.argmax(axis=1)]
    return chosen


def look_up(drawn: Drawn, order: Ints, distance: Features, *, recognise: bool = False) -> Ints:
    """Predicted counts of test, from one other photo of train, by a table learned on train itself (leaving one out).

    The table's rows are how near the other photo is (0: the same bin, if bins are recognised) and its count.
    """
    first = drawn.train_n[order].argmax(axis=1)
    everyone = np.arange(len(order))
    other, near = order[everyone, first], distance[everyone, first]
    step = 1 + np.searchsorted(np.quantile(near[drawn.train_n], np.linspace(0, 1, NEARNESS_STEPS + 1)[1:-1]), near)
    if recognise:
        for photo, known in _same_bin_in_train(drawn).items():
            other[photo], step[photo] = known, 0
    table = np.zeros((NEARNESS_STEPS + 1, 6, 6))
    learned = np.flatnonzero(drawn.train_n)
    np.add.at(table, (step[learned], drawn.counts_n[other[learned]], drawn.counts_n[learned]), 1)
    table[0] += 1e-3 * table.sum(axis=0)  # a bin's count never seen in train: the commonest count beside it
    chosen: Ints = table[step[drawn.test], drawn.counts_n[other[drawn.test]]].argmax(axis=1)
    return chosen


def _same_bin_in_train(drawn: Drawn) -> dict[int, int]:
    """For each photo whose bin stands in train (apart from itself): that bin's train photo with the nearest id."""
    bins: dict[int, list[int]] = {}
    for photo in np.flatnonzero(drawn.train_n).tolist():
        bins.setdefault(int(drawn.groups_n[photo]), []).append(photo)
    found = {}
    for photo, group in enumerate(drawn.groups_n.tolist()):
        others = [other for other in bins.get(group, []) if other != photo]
        if others:
            found[photo] = min(others, key=lambda other: abs(other - photo))
    return found


def load(source: Path, folder: Path, photos: int | None) -> tuple[Manifest, Features]:
    """A data folder's table of the photos with counts 1-5, and their features; without the groups and split given."""
    known = records(source)
    rows = [(name, count) for name, count in counts_of(source, known).items() if count in COUNTS][:photos]
    manifest = Manifest.build(
        folder,
        [
            {
                "bin_image_id": name,
                "path": f"bin-images/{name}.jpg",
                "recorded_count": count,
                "product_ids": sorted(known[name]["BIN_FCSKU_DATA"]) if name in known else None,
            }
            for name, count in rows
        ],
    )
    features_nd = np.stack([thumbnail(source / path) for path in manifest.table["path"]])
    return manifest, whitened(features_nd)


def one_split(folder: Path, how: Any, seed: int, neighbours: tuple[Ints, Features]) -> dict[str, float]:
    """The figures of one drawn split, 70/20/10."""
    report = split(data=folder, how=how, seed=seed)
    table = Manifest.read(folder, SPLIT).table
    drawn = Drawn(
        counts_n=table["recorded_count"].to_numpy().astype(np.int64),
        groups_n=table["group"].rank("dense").to_numpy().astype(np.int64),
        train_n=(table["split"] == "train").to_numpy(),
        test=np.flatnonzero((table["split"] == "test").to_numpy()),
    )
    order, distance = neighbours
    truth = drawn.counts_n[drawn.test]
    closest = order[drawn.test, drawn.train_n[order[drawn.test]].argmax(axis=1)]
    figures = {
        "test photos": float(truth.size),
        "bin seen in train": report.leakage.seen_in_train["test"],
        "nearest is same bin": float((drawn.groups_n[closest] == drawn.groups_n[drawn.test]).mean()),
        "blind accuracy": float((truth == np.bincount(drawn.counts_n[drawn.train_n]).argmax()).mean()),
    }
    answers = {
        "nearest": vote(drawn, order, distance),
        "neighbour table": look_up(drawn, order, distance),
        "bins recognised": look_up(drawn, order, distance, recognise=True),
    }
    for name, predicted in answers.items():
        figures[f"{name} accuracy"] = float((predicted == truth).mean())
        figures[f"{name} RMSE"] = float(np.sqrt(((predicted - truth) ** 2).mean()))
    return figures


def wilson(share: float, size: float) -> tuple[float, float]:
    """95% interval of a share measured on `size` photos."""
    z = 1.96
    middle = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * np.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return float(middle - half), float(middle + half)


def measure(source: Path, *, photos: int | None, seeds: int) -> dict[str, Any]:
    """Both splits, each seed: means, and the differences with their intervals."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest, features_nd = load(source, folder, photos)
        manifest.write(FETCHED)
        neighbours = nearest(features_nd)
        runs = {
            how: pl.DataFrame([one_split(folder, how, seed, neighbours) for seed in range(seeds)])
            for how in ("random_that_leaks", "grouped")
        }
    naive, grouped = runs["random_that_leaks"], runs["grouped"]
    differences = {}
    for name in naive.columns:
        apart = (naive[name] - grouped[name]).to_numpy()
        half = T_975[seeds - 1] * apart.std(ddof=1) / np.sqrt(seeds)
        differences[name] = {
            "mean": float(apart.mean()),
            "low": float(apart.mean() - half),
            "high": float(apart.mean() + half),
        }
    means = {how: {name: float(np.mean(run[name].to_numpy())) for name in run.columns} for how, run in runs.items()}
    return {
        "photos": len(manifest),
        "seeds": seeds,
        "means": means,
        "wilson_95_of_one_test_set": {
            how: {name: wilson(value, mean["test photos"]) for name, value in mean.items() if name.endswith("accuracy")}
            for how, mean in means.items()
        },
        "naive_minus_grouped": differences,
    }


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    print(f"{result['photos']} photos ({result['source']}), counts 1-5, mean of {result['seeds']} seeds")
    print(f"{'':<26}{'naive':>9}{'grouped':>9}   naive - grouped [95%]")
    naive, grouped = result["means"]["random_that_leaks"], result["means"]["grouped"]
    for name, apart in result["naive_minus_grouped"].items():
        interval = f"{apart['mean']:+.3f} [{apart['low']:+.3f}, {apart['high']:+.3f}]"
        print(f"{name:<26}{naive[name]:>9.3f}{grouped[name]:>9.3f}   {interval}")


def main() -> None:
    """Measures, prints, and with --save keeps the result in benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--photos", type=int, help="only the first N photos")
    parser.add_argument("--seeds", type=int, choices=[degrees + 1 for degrees in T_975], default=20)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source: Path = asked.source or ROOT.parent / "shared" / "abid"
        told = source.name if asked.source else "real photos"
        if not (asked.source or source.exists()):
            told = "rendered sample"
            from bintally.data.rendered import render_source

            source = render_source(Path(scratch) / "sample")
        result = measure(source, photos=asked.photos, seeds=asked.seeds)
    result = {
        "source": told,
        "command": " ".join(["python", "benchmarks/naive_split_leak.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        **result,
    }
    show(result)
    if asked.save:
        write_json(RESULT, result)


if __name__ == "__main__":
    main()
