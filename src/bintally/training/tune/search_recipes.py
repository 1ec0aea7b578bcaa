"""From a candidate to a complete recipe, and whether its weights can be had."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import timm
from huggingface_hub import constants, get_session, try_to_load_from_cache

from bintally.errors import BackboneError, ConfigError, did_you_mean
from bintally.records import COUNT_KEYS
from bintally.training.network import starting_files
from bintally.training.recipe import NetworkSettings, Recipe
from bintally.training.tune.search_plan import Planned
from bintally.training.tune.search_presets import WEIGHTS, Preset, Way

AVERAGED_STEPS: Final = 600
"""A moving average of the weights pays from about so many steps on."""

_HUB_S: Final = 4.0

_FROZEN: Final[dict[str, dict[str, Any]]] = {
    "network": {"drop_rate": 0.5},
    "augment": {"flip": 0.0, "mixup": 0.0, "cutmix": 0.0},
    "optimizer": {"name": "adamw", "head_lr": 3e-4, "weight_decay": 0.05, "schedule": "cosine", "warmup": 0.1},
    "loop": {"batch_size": 128, "average": 0.0},
}
"""What suits a head alone (recipes/quick.toml)."""


def default_recipe(counts: str | None = None) -> Recipe:
    """What a search starts from where no recipe is named: the baseline's way to train."""
    keys = {"balance": {"keep": {"6+": 0.25}}} if counts is None else {"counts": counts}
    return Recipe.of(
        {
            "name": "search",
            "augment": {"crop_min_area": 0.7, "crop_aspect": 1.1, "brightness": 0.2, "contrast": 0.2, "blur": 0.25},
            "network": {"weights": ["hub"]},
            **keys,
        }
    )


def network_of(backbone: str, base: Recipe) -> NetworkSettings:
    """The network that a preset or a user calls `NAME` or `NAME:STAGES`, with the weights that can be had.

    Raises:
        ConfigError: no such architecture, or no number of stages.
        BackboneError: none of its weights can be had.
    """
    name, _, stages = backbone.partition(":")
    if not timm.is_model(name.partition(".")[0]):
        raise ConfigError(f"timm has no architecture {name!r}.", hint=did_you_mean(name, timm.list_models()))
    if stages and not (stages.isdigit() and int(stages)):
        raise ConfigError(f"{backbone!r}: {stages!r} is no number of stages.", hint="Write NAME:3, or the name alone.")
    wanted = base.network.model_copy(
        update={"backbone": name, "stages": int(stages) if stages else None, "start": None, "tells": ()}
    )
    entries = tuple(entry for entry in _weights(wanted, base) if _can_be_had(wanted, entry))
    if not entries:
        raise BackboneError(
            f"None of its weights can be had: {', '.join(_weights(wanted, base))}.",
            hint="Set $BINTALLY_WEIGHTS to a folder that has them.",
        )
    return wanted.model_copy(update={"weights": entries})


def named(network: NetworkSettings) -> str:
    """What `network_of` makes this network of."""
    return network.backbone if network.stages is None else f"{network.backbone}:{network.stages}"


def _weights(wanted: NetworkSettings, base: Recipe) -> tuple[str, ...]:
    """Where the weights may come from: as the base recipe says of its own network, else as is known of this one."""
    own = base.network.weights
    if own == ("none",) or (named(wanted) == named(base.network) and own != ("hub",)):
        return own
    beside = {Path(entry).parent for entry in own if "/" in entry}  # files are often kept together
    known = WEIGHTS.get(named(wanted), ("hub",))
    return (*(str(folder / entry) for entry in known if entry != "hub" for folder in beside), *known)


def _can_be_had(wanted: NetworkSettings, entry: str) -> bool:
    if entry == "none":
        return True
    if entry != "hub":
        return bool(starting_files(wanted.model_copy(update={"weights": (entry,)})))
    cfg = timm.get_pretrained_cfg(wanted.backbone)
    if cfg is None or not cfg.has_weights:
        return False
    kept = cfg.hf_hub_id and any(
        isinstance(try_to_load_from_cache(cfg.hf_hub_id, name), str)
        for name in ("model.safetensors", "pytorch_model.bin")
    )
    return bool(kept) or hub_answers()


@cache
def hub_answers() -> bool:
    """Whether the hub can be reached: asked once, since timm finds out by retrying for most of a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_S)
    except Exception:  # whatever the HTTP library of this version of huggingface_hub raises
        return False
    return True


def cache_px(preset: Preset) -> int:
    """Side of the cached photos that all layers are trained from: one for all sides, since each cache costs minutes."""
    largest = max(side for rung in (*preset.rungs, preset.rest) for way in rung.ways for side in way.px)
    return min(-(-largest * 7 // 6 // 8) * 8, 1024)


def recipe_of(
    base: Recipe,
    network: NetworkSettings,
    way: Way,
    planned: Planned,
    *,
    number: int,
    cache_side: int,
    steps: float,
    start: Path | None = None,
    teacher: Path | None = None,
) -> Recipe:
    """The complete recipe of a trial that goes on from the run `start`, or starts anew and follows `teacher`.

    `steps`: about how many it will have.
    """
    frozen = way.tune == "head"
    changes: dict[str, Mapping[str, Any]] = {
        "network": {
            **network.model_dump(mode="json"),
            "start": None if start is None else str(start.resolve()),
            "tune": way.tune,
        },
        "input": {"px": planned.px, "cache_px": planned.px if frozen else cache_side},
        "augment": way.augment,
        "loop": {
            "epochs": planned.epochs,
            "patience": 0,
            "checkpoint_minutes": min(base.loop.checkpoint_minutes, 2.0),
            "average": base.loop.average or (0.998 if steps >= AVERAGED_STEPS else 0.0),
        },
        "balance": {"keep": _kept(base, planned.share)},
        "teacher": {"runs": [] if teacher is None else [str(teacher.resolve())], "weight": 0.5},
        "export": {"ensemble": [], "beside": None, "px": None},
    }
    values = base.model_dump(mode="json")
    for section, own in changes.items():
        values[section] |= own
    if frozen:
        for section, own in _FROZEN.items():
            values[section] |= own
    values["name"] = f"{base.name}-{number:02d}"
    return Recipe.of(values)


def _kept(base: Recipe, share: float) -> dict[str, float]:
    """`balance.keep` of an epoch with `share` of the photos that one of the base recipe has."""
    if share >= 1:
        return dict(base.balance.keep)
    return {key: max(share * base.balance.keep.get(key, 1.0), 1e-6) for key in COUNT_KEYS}
