"""What a bundle tells beside the count, written and fitted: changes between photos, and whether records are right."""

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from bintally.artifacts import write_bytes
from bintally.bundle import CARD, CHANGE, Card, card_json
from bintally.counting.counter import Counter
from bintally.training import fit_change, fit_verification
from bintally.training.attributes import measure_scales
from bintally.training.calibrate import Photos
from bintally.training.onnx_file import change_graph, onnx_bytes
from bintally.training.pairs import History
from bintally.training.recipe import Recipe
from bintally.training.servable import Servable, ServableChange


def with_beside(
    card: Card, part: Path, servable: Servable, recipe: Recipe, data: Path, train: pl.DataFrame,
    checked_nhwc: NDArray[np.uint8],
) -> Card:  # fmt: skip
    """Writes `change.onnx` into `part` where the network compares photos; the card with all it needs, unfitted."""
    network = servable.network
    if network.change is not None:
        change = ServableChange(network.change).eval()
        with torch.inference_mode():
            maps = servable(torch.from_numpy(checked_nhwc[[0, -1]]))[servable.outputs.index("maps")]
        (part / CHANGE).write_bytes(onnx_bytes(change_graph(change, maps.clone()), store=recipe.export.store))
        table_bd = History.of(train, recipe.pairs).table()
        unfitted = fit_change.unfitted(part, table_bd, recipe.export.unchanged, card.set_threshold)
        card = msgspec.structs.replace(card, change=unfitted)
    if network.record is not None:
        verification = fit_verification.unfitted(measure_scales(data, train))
        card = msgspec.structs.replace(card, verification=verification)
    return card


def fit_beside(card: Card, part: Path, recipe: Recipe, data: Path, val: Photos) -> Card:
    """The card with all of that fitted on val, by what the bundle in `part` itself says."""
    if card.change is None and card.verification is None:
        return card
    write_bytes(part / CARD, card_json(card))
    counter = Counter(part)
    if card.change is not None:
        compared = fit_change.Compared.of(counter, val)
        card = msgspec.structs.replace(
            card, change=fit_change.fit_change(card.change, compared, recipe.export.set_coverage)
        )
    if card.verification is not None:
        fitted = fit_verification.fit_verification(card.verification, counter, data, val, seed=recipe.seed)
        card = msgspec.structs.replace(card, verification=fitted)
    return card
