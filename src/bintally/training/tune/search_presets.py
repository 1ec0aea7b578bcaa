"""What `search` tries, in which order: architectures, ways to train them, and rungs that fewer and fewer of them climb.

A rung gives each of its trials the same time (successive halving: Jamieson & Talwalkar 2016, arXiv:1502.07943, with
seconds as the resource, so that a slow network has to earn its time). The first rung judges frozen features, which
costs one look at each photo; whoever survives goes on from the head it learnt there with all its layers, which spoils
pretrained features less than a random head would (Kumar et al. 2022, arXiv:2202.10054).
"""

from typing import Any, Final, Literal

import msgspec

PresetName = Literal["fast", "balanced", "best"]


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to train a network."""

    name: str
    tune: str
    """As `network.tune`."""
    px: tuple[int, ...]
    """Sides of the input, the largest first; the first that leaves time for `Rung.passes` is taken."""
    augment: dict[str, Any] = {}
    """Takes the place of the base recipe's."""


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One round: which ways are tried of whoever came so far, and how much of the search's time that takes."""

    ways: tuple[Way, ...]
    survivors: int
    """Networks that enter, at most; each is tried in all `ways`, as far as time goes round."""
    share: float
    passes: float = 0.0
    """Passes over the training photos that should fit; where they don't, photos are seen smaller."""


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """Architectures (timm's names, `NAME:3` for its first three stages) and rungs; `rest` has the time left over."""

    backbones: tuple[str, ...]
    rungs: tuple[Rung, ...]
    rest: Rung
    born_again: bool = False
    """Time permitting, the best network starts anew and follows itself (Furlanello et al. 2018, arXiv:1805.04770)."""


_STRONGER: Final[dict[str, Any]] = {
    "crop_min_area": 0.6,
    "crop_aspect": 1.2,
    "rotate": 4.0,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "blur": 0.25,
    "erase": 0.2,
}


def _frozen(*px: int) -> Way:
    return Way(name="frozen", tune="head", px=px)


def _all_layers(*px: int) -> Way:
    return Way(name="all layers", tune="all", px=px)


def _augmented(*px: int) -> Way:
    return Way(name="all layers, stronger augmentation", tune="all", px=px, augment=_STRONGER)


PRESETS: Final[dict[PresetName, Preset]] = {
    "fast": Preset(
        backbones=("resnet50:3", "densenet169", "mobilenetv3_large_100"),
        rungs=(Rung(ways=(_frozen(128, 112, 96),), survivors=3, share=0.35),),
        rest=Rung(ways=(_all_layers(160, 144, 128),), survivors=1, share=1.0, passes=1.0),
    ),
    "balanced": Preset(
        backbones=("resnet50:3", "densenet169", "convnext_nano", "efficientnet_b0"),
        rungs=(
            Rung(ways=(_frozen(128, 112, 96),), survivors=4, share=0.2),
            Rung(ways=(_all_layers(160, 128), _augmented(160, 128)), survivors=2, share=0.25, passes=0.75),
        ),
        rest=Rung(ways=(_all_layers(192, 176, 160),), survivors=1, share=1.0, passes=1.5),
    ),
    "best": Preset(
        backbones=("densenet169", "resnet50:3", "convnext_tiny", "densenet201", "efficientnet_b2"),
        rungs=(
            Rung(ways=(_frozen(160, 144, 128),), survivors=5, share=0.1),
            Rung(ways=(_all_layers(160, 128), _augmented(160, 128)), survivors=3, share=0.25, passes=1.0),
            Rung(ways=(_augmented(224, 192, 160),), survivors=2, share=0.25, passes=1.5),
        ),
        rest=Rung(ways=(_augmented(256, 224, 192),), survivors=1, share=1.0, passes=2.0),
        born_again=True,
    ),
}

WEIGHTS: Final[dict[str, tuple[str, ...]]] = {
    "densenet169": ("densenet169.in1k.fp16.safetensors", "hub"),
    "resnet50:3": ("resnet50.in1k.layer1-3.fp16.safetensors", "hub"),
}
"""Where weights are looked for, beside the base recipe's: a name in $BINTALLY_WEIGHTS, the hub. Others: the hub."""
