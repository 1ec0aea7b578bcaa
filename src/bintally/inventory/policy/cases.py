"""Records to judge, what is known of their bins, and what was decided: many at once, as arrays.

Shapes: N cases, K count keys.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bintally.errors import DataError
from bintally.inventory.policy.settings import PolicySettings

KINDS: Final = ("none", "photo", "change", "followed")
"""What the probabilities come from: nothing, one photo, a pair of photos with a confirmed earlier count, the filter."""

CLASSES: Final = ("A", "B", "C")


class Bar(IntEnum):
    """Why a record can't be accepted, whatever the score."""

    NONE = 0
    NO_BIN = 1
    UNCOUNTABLE = 2
    UNREADABLE = 3
    NO_PHOTO = 4
    STALE = 5


@dataclass(frozen=True)
class Cases:
    """Records to judge, and what is known of their bins."""

    keys: tuple[str, ...]  # count keys, ascending; only the last may be open ("6+")
    probabilities_nk: NDArray[np.floating[Any]]  # all that is known of the bin; each row sums to 1
    prior_nk: NDArray[np.floating[Any]]  # the same without its photos
    recorded_n: NDArray[np.integer[Any]]
    kind_n: NDArray[np.uint8]  # index into KINDS
    wrong_n: NDArray[np.floating[Any]]  # how often such records are wrong (`rates`)
    unit_value_n: NDArray[np.floating[Any]]  # money for one item; nan: unknown
    class_n: NDArray[np.uint8]  # index into CLASSES
    derived_n: NDArray[
        np.bool_
    ]  # the record is of the bin's history, no second witness: only the photos speak beside `prior_nk`
    bar_n: NDArray[np.uint8]  # of `Bar`
    draw_n: NDArray[np.uint64]  # `draw_of` the case's id, for the blind recount
    said_n: NDArray[np.floating[Any]]  # P(the record's very count) without photos, where the keys know less; nan

    def __post_init__(self) -> None:
        many, keys = len(self.recorded_n), len(self.keys)
        for name in ("probabilities_nk", "prior_nk"):
            if getattr(self, name).shape != (many, keys):
                raise DataError(f"{name} has the shape {getattr(self, name).shape}, not {(many, keys)}.", hint=_SHAPES)
        for name in ("kind_n", "wrong_n", "unit_value_n", "class_n", "derived_n", "bar_n", "draw_n", "said_n"):
            if len(getattr(self, name)) != many:
                raise DataError(f"{name} has {len(getattr(self, name))} rows, not {many}.", hint=_SHAPES)

    def __len__(self) -> int:
        return len(self.recorded_n)

    def rows(self, rows: slice | NDArray[Any]) -> "Cases":
        """Some of them."""
        parts = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "keys"}
        return Cases(keys=self.keys, **parts)


@dataclass(frozen=True)
class Decisions:
    """What was decided of `cases`, in their order."""

    cases: Cases
    settings: PolicySettings
    outcome_n: NDArray[np.uint8]  # index into OUTCOMES
    right_n: NDArray[np.float64]  # P(right | all); nan: can't be said
    prior_right_n: NDArray[np.float64]  # P(right | all but the photos)
    score_n: NDArray[np.float64]  # nats; nan: nothing was seen
    threshold_n: NDArray[np.float64]  # nan: no score keeps the promise
    promised_n: NDArray[np.float64]
    count_n: NDArray[np.int64]  # the most probable; an open top as its first count; -1: nothing was seen
    tolerance_n: NDArray[np.int64]  # items
    calibrated_n: NDArray[np.bool_]  # the acceptance file speaks of such evidence
    apart_n: NDArray[np.bool_]  # the record can be told from its neighbours
    second_approval_n: NDArray[np.bool_]
    blind_recount_n: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.outcome_n)


def draw_of(case_id: str, seed: int = 0) -> int:
    """A number below 2^64 that looks random and is always the same for a case: who is drawn for a blind recount."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{case_id}".encode(), digest_size=8).digest(), "little")


_SHAPES: Final = "Every array has a row a case; probabilities and prior a column a key."
