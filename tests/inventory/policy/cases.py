"""Cases and acceptance files whose answers are known in advance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bintally.inventory.policy.acceptance import FORMAT, THRESHOLDS, TOLERANCES, Acceptance, Table
from bintally.inventory.policy.cases import KINDS, Bar, Cases
from bintally.inventory.policy.settings import ErrorMix
from bintally.records import COUNT_KEYS


def cases(
    shares: Any,
    recorded: Any,
    *,
    keys: tuple[str, ...] = COUNT_KEYS,
    prior: Any = None,
    kind: str = "photo",
    wrong: float = 0.05,
    value: float = np.nan,
    abc_class: int = 0,
    derived: bool = False,
    said: float = float("nan"),
    bar: Bar = Bar.NONE,
) -> Cases:
    """Cases that are alike but for their probabilities and records."""
    probabilities_nk = np.atleast_2d(np.asarray(shares, np.float64))
    n = len(probabilities_nk)
    prior_k: NDArray[np.float64] = np.full(len(keys), 1 / len(keys)) if prior is None else np.asarray(prior, np.float64)
    return Cases(
        keys=keys,
        probabilities_nk=probabilities_nk,
        prior_nk=np.tile(prior_k, (n, 1)),
        recorded_n=np.broadcast_to(np.asarray(recorded, np.int64), n),
        kind_n=np.full(n, KINDS.index(kind), np.uint8),
        wrong_n=np.full(n, wrong),
        unit_value_n=np.full(n, value),
        class_n=np.full(n, abc_class, np.uint8),
        derived_n=np.full(n, derived),
        said_n=np.full(n, said),
        bar_n=np.full(n, bar, np.uint8),
        draw_n=np.arange(n, dtype=np.uint64) * np.uint64((2**64 - 1) // max(n, 1)),
    )


def sure_of(count: int, share: float = 0.97) -> NDArray[np.float64]:
    """Probabilities of the usual keys, one of them sure."""
    shares_k = np.full(len(COUNT_KEYS), (1 - share) / (len(COUNT_KEYS) - 1))
    shares_k[min(count, len(COUNT_KEYS) - 1)] = share
    return shares_k


def acceptance(bins: int = 2000, *, kinds: tuple[str, ...] = ("photo", "change"), **changes: Any) -> Acceptance:
    """A file of a good model: at a threshold t, half of the right and exp(-2 - t) of the wrong records are above."""
    right = tuple(int(bins * (0.6 - 0.02 * t)) for t in THRESHOLDS)
    wrong = tuple(int(bins * np.exp(-2 - t)) for t in THRESHOLDS)
    fields: dict[str, Any] = {
        "format": FORMAT,
        "model": "tiny",
        "model_sha256": "0" * 64,
        "created": "2026-01-01T00:00:00+00:00",
        "split": "val",
        "table_sha256": "0" * 64,
        "photos": bins,
        "groups": bins,
        "seed": 0,
        "errors": ErrorMix().model_dump(),
        "thresholds": THRESHOLDS,
        "tables": tuple(
            Table(
                kind=kind,
                derived=derived,
                tolerance=tolerance,
                bins=bins,
                right=right,
                wrong=wrong,
                both=(0,) * len(right),
            )
            for kind in kinds
            for derived in (False, True)
            for tolerance in TOLERANCES
        ),
    }
    return Acceptance(**(fields | changes))
