"""What a model card says, as data: `card.json` of a card, from which its page and its Markdown are written.

Sections follow Mitchell et al. 2019, "Model Cards for Model Reporting" (https://arxiv.org/abs/1810.03993).
"""

from typing import Any, Final

import msgspec

from bintally.bundle import Figure
from bintally.counting.report import Calibration, PerCount, Sets, Slice

FORMAT: Final = 1


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure and the best that an answer does which never looks at a photo. None: not measured."""

    name: str
    measured: Figure  # with its 95% interval
    blind: float | None  # fitted on train's counts
    blind_in_hindsight: float | None  # the best constant answer on these photos


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one split."""

    split: str
    photos: int
    counts: str  # which counts were asked about
    rows: tuple[Row, ...]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation found beside the figures."""

    model_sha256: str
    split: str
    counts: str
    photos: int
    bins: int
    abstained: int
    unreadable: int
    is_same_split: bool  # it judged the split that the model was trained with
    seed: int
    resamples: int
    rows: tuple[Row, ...]
    calibration: Calibration
    sets: Sets
    per_count: tuple[PerCount, ...]
    slices: tuple[Slice, ...]
    not_sliced: dict[str, str]


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The photos a model was made with."""

    source: str | None
    fingerprint: str | None  # SHA-256 of the table that says which photos, and their split
    photos: dict[str, int]  # by split
    priors: dict[str, float]  # share of each count in train, after balancing
    target: dict[str, float]  # the mix of counts that answers are corrected to


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """How it was trained. None: not known."""

    network: str
    weights: str | None  # what it started from
    input_px: str
    epochs: int | None = None
    seconds: float | None = None
    machine: str | None = None
    findings: tuple[str, ...] = ()  # of the rules that watch a training


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate: time x assumed power x assumed emissions. None: an assumption is missing."""

    power_w: float | None = None
    carbon_g_per_kwh: float | None = None
    kwh: float | None = None
    co2_g: float | None = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    name: str  # of the version: MODEL/NUMBER; of a bundle: the model's
    model: str
    created: str
    registered: str | None  # when and by whom, in words
    contact: str | None
    licence: str
    bundle_sha256: str
    bundle_bytes: int
    counts: tuple[str, ...]
    tells: tuple[str, ...]
    thresholds: dict[str, float]
    data: Data
    training: Training
    results: tuple[Results, ...]
    evaluation: Evaluation | None
    energy: Energy
    versions: dict[str, str]
    signers: tuple[str, ...]  # ids of keys that signed the files
    recipe: dict[str, Any]
    format: int = FORMAT

    def to_json(self) -> bytes:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
