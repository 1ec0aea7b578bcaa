"""A data folder of grey photos with noise, and tiny models that are surer or less sure of what they see.

A photo of n items is as bright as n plus noise of 0.45 items: who answers with that noise in mind (`GOOD`) is
calibrated; who is surer (`SURE`) is right as often, with a worse log loss.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from bintally.artifacts import sha256_of
from bintally.manifest import SPLIT, Manifest
from bintally.registry.place import Registry
from bintally.registry.registration import register
from bintally.registry.versions import Version
from tests.bundles import bin_photo, make_bundle

NOISE = 0.45
GOOD, LESS_GOOD, SURE, BLIND = 2.4, 1.2, 12.0, 1e-4


def shelf(folder: Path, *, photos: int = 300, seed: int = 0) -> Path:
    """A data folder: half of the photos in test, the others in train and val; bins of one or two photos."""
    rng = np.random.default_rng(seed)
    (folder / "bin-images").mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for n in range(photos):
        count, bin_ = int(rng.integers(7)), n * 2 // 3
        path = folder / "bin-images" / f"{n:05}.png"
        path.write_bytes(bin_photo(count + rng.normal(0, NOISE), height_px=32, width_px=48, seed=n))
        rows.append(
            {
                "bin_image_id": f"{n:05}",
                "path": f"bin-images/{n:05}.png",
                "sha256": sha256_of(path),
                "recorded_count": count,
                "count_source": "labels",
                "brightness": float(rng.uniform(20, 200)),
                "quarantine": [],
                "group": f"bin {bin_}",
                "split": "test" if bin_ % 2 else ("train" if bin_ % 4 else "val"),
            }
        )
    Manifest.build(folder, rows).write(SPLIT)
    return folder


def resplit(data: Path, folder: Path, splits: dict[str, str]) -> Path:
    """A folder with the same photos in other splits, by bin: the table alone, as of an earlier training."""
    folder.mkdir()
    manifest = Manifest.read(data, SPLIT)
    table = manifest.table.with_columns(
        split=pl.col("group").replace_strict(splits, default="test", return_dtype=pl.String)
    )
    Manifest(folder, table, name=SPLIT).write(SPLIT)
    return folder


def version(registry: Registry, folder: Path, sharpness: float, *, learnt: Path | None, **how: Any) -> Version:
    """A registered tiny model; `learnt`: the data folder whose split it learnt from (None: nobody knows).

    Its training was watched, and nothing was found.
    """
    fingerprint = None if learnt is None else Manifest.read(learnt, SPLIT).fingerprint()
    bundle = make_bundle(folder, sharpness=sharpness, dataset={"fingerprint": fingerprint}, **how)
    return with_lineage(register(registry, bundle, by="rita", data=learnt).version, findings=[])


def with_lineage(held: Version, **facts: Any) -> Version:
    """The version as if its training had told that."""
    return msgspec.structs.replace(held, lineage=held.lineage | facts)
