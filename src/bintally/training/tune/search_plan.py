"""How much training fits into a time: arithmetic on measured speeds, no torch.

A network's time a photo is taken to grow with the square of its side, which is right for convolutions on maps that
are not tiny; a trial that ended corrects what was measured.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bintally.training.tune.search_presets import Rung, Way

PROBE_PX: Final = 128
USABLE: Final = 0.9
"""Of a trial's time: other work on the machine must not push it over its deadline."""
MOST_PASSES: Final = 40.0
FROZEN_EPOCHS: Final = 30
LEAST_EPOCHS: Final = 4
VAL_SHARE: Final = 0.1
"""Of a trial's time that val may take beyond one look a pass."""
_GRAPH_S: Final = 6.0
_LAYER_S: Final = 0.15
_FLOAT32: Final = 1.5
LEAST_PHOTOS: Final = 64
"""A training on fewer tells nothing."""


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """Photos of a data folder."""

    train: int
    drawn: int
    """Of train, by an epoch of the base recipe (`balance.keep` may leave some out)."""
    val: int


class Speed(msgspec.Struct, frozen=True):
    """Photos a second of one network at `PROBE_PX`."""

    look: float
    train: float

    def look_s(self, photos: int, px: int) -> float:
        """Seconds to look at photos."""
        return photos / self.look * (px / PROBE_PX) ** 2

    def train_s(self, photos: float, px: int) -> float:
        """Seconds to train on photos."""
        return photos / self.train * (px / PROBE_PX) ** 2


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A training that fits: so many `epochs`, each with `share` of the photos that one of the base recipe has."""

    px: int
    epochs: int
    share: float
    seconds: float

    @property
    def passes(self) -> float:
        """Over the photos, all in all."""
        return self.epochs * self.share


def plan_trial(
    way: Way, *, least_passes: float, seconds: float, amounts: Amounts, speed: Speed, overhead_s: float
) -> Planned | None:
    """The largest side at which `least_passes` fit into `seconds`, else the smallest; None where nothing fits."""
    usable = USABLE * seconds - overhead_s
    found: Planned | None = None
    for px in way.px:
        if way.tune == "head":
            found = _looked_at_once(px, usable, amounts, speed, overhead_s)
        else:
            found = _trained(px, usable, amounts, speed, overhead_s)
        if found is not None and (way.tune == "head" or found.passes >= least_passes):
            break
    return found


def _looked_at_once(px: int, usable: float, amounts: Amounts, speed: Speed, overhead_s: float) -> Planned | None:
    needed = speed.look_s(amounts.train + amounts.val, px)
    return None if needed > usable else Planned(px=px, epochs=FROZEN_EPOCHS, share=1.0, seconds=needed + overhead_s)


def _trained(px: int, usable: float, amounts: Amounts, speed: Speed, overhead_s: float) -> Planned | None:
    a_pass, a_look = speed.train_s(amounts.drawn, px), speed.look_s(amounts.val, px)
    # An epoch is a pass, or less where val is cheap to look at: a trial that is stopped then has one that was judged.
    passes = min(usable / (a_pass + a_look), MOST_PASSES)
    epochs = max(math.ceil(passes), min(LEAST_EPOCHS, int(VAL_SHARE * usable / a_look)), 1)
    passes = min((usable - epochs * a_look) / a_pass, float(epochs), MOST_PASSES)
    if passes * amounts.drawn < min(LEAST_PHOTOS, amounts.drawn):
        return None
    seconds = passes * a_pass + epochs * a_look + overhead_s
    return Planned(px=px, epochs=epochs, share=passes / epochs, seconds=seconds)


def trials_that_fit(wanted: int, *, seconds: float, overhead_s: float, parallel: int) -> int:
    """How many of `wanted` trials get a slice of which a process's start does not take more than a quarter."""
    return max(1, min(wanted, int(parallel * seconds / (4 * max(overhead_s, 1e-3)))))


def export_s(speed: Speed, px: int, *, layers: float, looked: int, waiting: float) -> float:
    """What export takes of one network: `looked` photos in float32, and the graph, by its layers.

    `waiting`: how many times longer work takes here than its processor time, since speeds have that in them and the
    graph's constants have not.
    """
    return waiting * (_GRAPH_S + layers * _LAYER_S) + _FLOAT32 * speed.look_s(looked, px)


def speeds_of(speeds: Mapping[str, float], backbone: str) -> Speed:
    """Those of one network."""
    return Speed(speeds[f"{backbone} look"], speeds[f"{backbone} train"])


def best_of_rung(rung: Rung, judged: Sequence[str], backbones: Sequence[str]) -> list[str]:
    """Networks that enter `rung`: the best judged ones first, then those never judged, in the preset's order."""
    ranked = list(dict.fromkeys([*(name for name in judged if name in backbones), *backbones]))
    return ranked[: rung.survivors]
