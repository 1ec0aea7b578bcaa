"""What the kept epoch said of val: beside its weights while the training runs, a table in the run at its end.

Shapes: probabilities_nk float64 [N, K], N photos of val in the plan's order, K count keys (0: not asked about).
They are what the epoch was judged by: prior-corrected, without temperature and mirrored view, which export adds.
"""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from bintally.artifacts import write_bytes
from bintally.counting.predictions import PREDICTIONS, predictions_table, write_predictions
from bintally.errors import CheckpointError
from bintally.training.dataset import labels_of
from bintally.training.plan import Plan

TOLD: Final = "best-val.safetensors"
_NAME: Final = "probabilities_nk"


def keep_told(checkpoints: Path, probabilities_nk: NDArray[np.float64]) -> None:
    """Keeps what the best epoch so far says of val, atomically."""
    write_bytes(checkpoints / TOLD, save({_NAME: torch.from_numpy(np.ascontiguousarray(probabilities_nk))}))


def write_told(plan: Plan, checkpoints: Path, run: Path) -> None:
    """`predictions.parquet` of the run, in the columns that `evaluate` writes: val's photos with a count asked about.

    Raises:
        CheckpointError: what was kept is missing or of other photos.
    """
    kept = checkpoints / TOLD
    try:
        probabilities_nk = load_file(kept)[_NAME].numpy()
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{kept} is missing or not whole: {error}.", hint="Start again with --fresh.") from error
    if probabilities_nk.shape != (plan.val.height, len(plan.keys)):
        raise CheckpointError(f"{kept} is of other photos than val.", hint="Start again with --fresh.")
    asked_k = plan.target.asked_k
    asked_n = asked_k[labels_of(plan.val, plan.keys)]
    photos = plan.val.rename({"count_key": "recorded_key"}).filter(pl.Series(asked_n))
    table = predictions_table(
        photos,
        probabilities_nk[np.ix_(asked_n, asked_k)],
        keys=[key for key, asked in zip(plan.keys, asked_k, strict=True) if asked],
        values_k=plan.values_k[asked_k],
    )
    write_predictions(run / PREDICTIONS, table)
