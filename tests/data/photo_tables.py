"""Manifests for tests, from a few words a photo."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bintally.manifest import CHECKED, Manifest


def photo(
    bin_image_id: str, count: int | None = 1, products: Sequence[str] | None = None, **more: object
) -> dict[str, object]:
    """One manifest row that check found nothing wrong with, unless `more` says so."""
    return {
        "bin_image_id": bin_image_id,
        "path": f"bin-images/{bin_image_id}.jpg",
        "sha256": f"sha of {bin_image_id}",
        "recorded_count": count,
        "product_ids": None if products is None else list(products),
        "quarantine": [],
        "warnings": [],
        **more,
    }


def bins_over_time(bins: int, *, seed: int = 0, first_id: int = 1) -> list[dict[str, object]]:
    """Photos of `bins` bins, each taken 1 to 4 times in a row, with 0 to 8 items, as ABID numbers them."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for index in range(bins):
        for _ in range(rng.integers(1, 5)):
            count = int(rng.integers(0, 9))
            rows.append(photo(f"{first_id + len(rows):05d}", count, [f"B{index:05d}"]))
    return rows


def folder_of(folder: Path, rows: Sequence[dict[str, object]], *, name: str = CHECKED) -> Path:
    """`folder` with `rows` as its table `name`."""
    folder.mkdir(parents=True, exist_ok=True)
    Manifest.build(folder, rows).write(name)
    return folder
