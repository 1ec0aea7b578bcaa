"""What a bundle tells beside the count, written and fitted: changes between photos, and whether records are right."""

import gzip
import hashlib
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from bintally.artifacts import write_bytes
from bintally.bundle import BESIDE, CARD, CHANGE, COMPRESSED, Card, GraphCard, card_json
from bintally.counting.counter import Counter
from bintally.training import fit_change, fit_verification
from bintally.training.attributes import measure_scales
from bintally.training.calibrate import Photos
from bintally.training.finished import read_run
from bintally.training.onnx_file import change_graph, onnx_bytes, onnx_graph
from bintally.training.pairs import History
from bintally.training.recipe import ExportSettings, Recipe
from bintally.training.servable import Member, ServableBeside, ServableChange


def write_graph(folder: Path, name: str, graph: bytes, settings: ExportSettings) -> GraphCard:
    """Writes a graph as the recipe has it kept, and says which it is."""
    if settings.compress:
        (folder / f"{name}{COMPRESSED}").write_bytes(gzip.compress(graph, compresslevel=9, mtime=0))
    else:
        (folder / name).write_bytes(graph)
    return GraphCard(model_sha256=hashlib.sha256(graph).hexdigest(), model_bytes=len(graph))


def with_beside(
    card: Card, part: Path, member: Member, recipe: Recipe, data: Path, train: pl.DataFrame,
    checked_nhwc: NDArray[np.uint8],
) -> Card:  # fmt: skip
    """Writes what `member`'s network tells beside the count into `part`; the card with all it needs, unfitted."""
    network, settings = member.network, recipe.export
    if network.change is None and network.record is None:
        return card
    servable = ServableBeside(member, flip=settings.flip_averaging).eval()
    photos = torch.from_numpy(checked_nhwc[[0, -1]])
    graph = onnx_bytes(onnx_graph(servable, photos), store=settings.store)
    card = msgspec.structs.replace(card, beside=write_graph(part, BESIDE, graph, settings))
    if network.change is not None:
        with torch.inference_mode():
            maps = servable(photos)[servable.outputs.index("maps")].contiguous()
        change = change_graph(ServableChange(network.change).eval(), maps.clone())
        told = write_graph(part, CHANGE, onnx_bytes(change, store=settings.store), settings)
        pairs = recipe.pairs if settings.beside is None else read_run(settings.beside)[0].pairs
        unfitted = fit_change.unfitted(told, History.of(train, pairs).table(), settings.unchanged, card.set_threshold)
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
