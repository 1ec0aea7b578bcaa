"""What a check of a policy found: frozen records, one JSON document."""

from typing import Final

import msgspec

from bintally.bundle import Figure

FORMAT: Final = 1


class Broken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a simulated promise was broken; where nothing is accepted it is kept."""

    times: int  # simulations
    above: float  # share with more wrong ones among the accepted than promised: in half, where it is kept exactly
    beyond_chance: float | None  # share with more than chance explains (5% level); None: not asked


class AtPromise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one promise means where so many records are wrong."""

    promised: float
    wrong: float
    threshold: float | None  # None: nothing is accepted
    coverage: Figure  # share of all records that are accepted
    escape: Figure | None  # share of wrong ones among them
    sites: Broken | None
    halves: Broken | None


class Fixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same of who accepts a record from a fixed probability of its count on."""

    least: float
    wrong: float
    coverage: Figure
    escape: Figure | None


class KindReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of evidence. `derived`: of bins that were counted before, so that only the photos speak."""

    kind: str
    derived: bool
    cases: int
    groups: int
    fitted_bins: int
    promises: tuple[AtPromise, ...]
    fixed: tuple[Fixed, ...]


class PolicyReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy on held-out photos, errors injected."""

    format: int
    model: str
    model_sha256: str
    data: str
    split: str
    fitted_on: str
    photos: int
    groups: int
    errors: dict[str, float]
    confidence: float
    seed: int
    kinds: tuple[KindReport, ...]
    report: str
