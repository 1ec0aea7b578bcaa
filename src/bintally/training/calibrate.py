"""What val and train say about trained networks, before they may answer: how sure, how many counts, what is a bin.

Shapes: logits_mvnk float [M, V, N, K], M networks on V views of N photos; textures_nt float [N, T].
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from bintally.counting.counter import Counter
from bintally.counting.sets import fit_set_threshold
from bintally.errors import ModelError
from bintally.progress import Progress
from bintally.training.cache import PhotoCache
from bintally.training.dataset import labels_of
from bintally.training.recipe import ExportSettings, Recipe
from bintally.training.servable import Familiar, Member, corrected, fit_temperature

BATCH: Final = 32


class Photos(NamedTuple):
    """Rows of a manifest, with their pixels."""

    table: pl.DataFrame
    cache: PhotoCache

    def batches(self) -> Iterator[Tensor]:
        """All of them in the table's order, uint8 [BATCH or fewer, 3, px, px]."""
        rows_n = self.cache.rows(self.table["sha256"].to_list())
        for start in range(0, len(rows_n), BATCH):
            yield torch.from_numpy(self.cache.read(rows_n[start : start + BATCH])).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Calibration:
    """What val and train say about a network: everything the graph needs beside its weights."""

    temperature: float
    familiar: Familiar
    novelty_threshold: float
    set_threshold: float


def calibrate(members: Sequence[Member], recipe: Recipe, train: Photos, val: Photos, progress: Progress) -> Calibration:
    """Temperature, sets and the novelty threshold from val; what a bin looks like, to the first member, from train."""
    views = (False, True) if recipe.export.flip_averaging else (False,)
    total = train.table.height + val.table.height * len(views) * len(members)
    with progress.task("calibrate", total=total, unit="photos") as task, torch.no_grad():

        def look(member: Member, photos: Photos, *, mirrored: bool) -> tuple[Tensor, Tensor]:
            seen = []
            for pixels_nchw in photos.batches():
                seen.append(member.look(pixels_nchw.flip(3) if mirrored else pixels_nchw))
                task.advance(len(pixels_nchw))
            logits, textures = zip(*seen, strict=True)
            return torch.cat(logits), torch.cat(textures)

        familiar = Familiar.fit(look(members[0], train, mirrored=False)[1])
        seen_mv = [[look(member, val, mirrored=view) for view in views] for member in members]
        logits_mvnk = torch.stack([torch.stack([logits_nk for logits_nk, _ in seen_v]) for seen_v in seen_mv])
        novelty_n = familiar.novelty(seen_mv[0][0][1])
    labels_n = torch.from_numpy(labels_of(val.table, recipe.count_keys))
    ratio_mk = torch.stack([member.prior_ratio_k for member in members])
    temperature = fit_temperature(logits_mvnk, labels_n, ratio_mk)
    probabilities_nk = corrected(logits_mvnk, ratio_mk, temperature).numpy()
    return Calibration(
        temperature=temperature,
        familiar=familiar,
        novelty_threshold=float(np.quantile(novelty_n.numpy(), recipe.export.known_share)),
        set_threshold=fit_set_threshold(probabilities_nk, labels_n.numpy(), recipe.export.set_coverage),
    )


def refitted(calibration: Calibration, bundle: Path, val: Photos, settings: ExportSettings) -> Calibration:
    """The thresholds from what the bundle itself says: INT8 moves a photo's novelty by up to a tenth."""
    counter = Counter(bundle)
    pixels_nhwc = val.cache.read(val.cache.rows(val.table["sha256"].to_list()))
    probabilities_nk, novelty_n = counter.distribution(pixels_nhwc)
    if novelty_n is None:
        raise ModelError("The exported graph tells no novelty.", hint="Report this with the recipe.")
    return dataclasses.replace(
        calibration,
        novelty_threshold=float(np.quantile(novelty_n, settings.known_share)),
        set_threshold=fit_set_threshold(probabilities_nk, labels_of(val.table, counter.keys), settings.set_coverage),
    )
