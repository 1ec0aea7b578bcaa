"""What a photo tells of a record by the policy in force: measured when the model was calibrated, by ABC class."""

import math
from typing import Final, get_args

import numpy as np

from bintally.inventory.planning.settings import PhotoPower
from bintally.inventory.policy.acceptance import Acceptance, Table, Thresholds
from bintally.inventory.policy.settings import AbcClass, PolicySettings

CLASSES: Final[tuple[AbcClass, ...]] = get_args(AbcClass)

_NOTHING: Final = PhotoPower(finds=1.0, spares=0.0)  # nothing is accepted: a person looks at every photo


def power_of(settings: PolicySettings, acceptance: Acceptance | None, wrong: float) -> dict[AbcClass, PhotoPower]:
    """By class: of the bins the policy was calibrated on, how many wrong and right records it leaves to a person.

    `wrong`: the site's share of wrong records. No acceptance file: nothing is accepted.
    """
    table = None if acceptance is None else acceptance.table("photo")
    if acceptance is None or table is None:
        return dict.fromkeys(CLASSES, _NOTHING)
    thresholds = Thresholds(acceptance.thresholds, table, settings.confidence)
    promised = [settings.promised_escape_by_class.get(name, settings.promised_escape) for name in CLASSES]
    found = thresholds.of(np.array(promised), np.full(len(CLASSES), wrong)).tolist()
    return {name: _at(acceptance, table, threshold) for name, threshold in zip(CLASSES, found, strict=True)}


def _at(acceptance: Acceptance, table: Table, threshold: float) -> PhotoPower:
    if math.isnan(threshold):
        return _NOTHING
    place = acceptance.thresholds.index(threshold)
    return PhotoPower(finds=1.0 - table.wrong[place] / table.bins, spares=table.right[place] / table.bins)
