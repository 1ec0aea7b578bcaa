"""Backbone and count head: which layers there are, where their weights come from, which of them learn.

Shapes: pixels_nchw uint8 [N, 3, px, px]; features_nf float [N, F]; textures_nt float [N, T]; logits_nk float [N, K].
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bintally.bundle import COMPRESSED, MODEL
from bintally.errors import BackboneError, did_you_mean
from bintally.settings import weights_folders
from bintally.training.attributes import OUTPUTS
from bintally.training.finished import WEIGHTS as WEIGHTS
from bintally.training.heads import ChangeHead
from bintally.training.recipe import NetworkSettings

BESIDE = ("change.", "record.")
"""How the names of weights begin that are not the backbone's; a network that lacks such a head leaves them."""

_BODY = "backbone."


class Sight(NamedTuple):
    """What a network makes of photos on the way to an answer."""

    features_nf: Tensor  # pooled (after dropout, while training)
    top_nchw: Tensor  # the maps they are pooled from
    before_nchw: tuple[Tensor, ...]  # the maps of the two stages before the last


class CountNetwork(nn.Module):
    """A timm backbone whose classifier names counts. Takes raw pixels: normalisation is the network's own business.

    `change` and `record`, where it has them, tell more of what the backbone sees (`training.heads`).
    """

    mean_c11: Tensor
    std_c11: Tensor

    backbone: Any  # timm's models share methods, but no type that has them

    change: ChangeHead | None
    record: nn.Linear | None

    def __init__(
        self,
        backbone: Any,
        *,
        normalise: bool = True,
        left_out: frozenset[str] = frozenset(),
        tells: Collection[str] = (),
    ) -> None:
        """`left_out` are the names of the weights that were cut off: whole files have them, this network does not."""
        super().__init__()
        self.backbone = backbone
        self.left_out = left_out
        config = backbone.pretrained_cfg if normalise else {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        self.register_buffer("mean_c11", 255 * torch.tensor(config["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std_c11", 255 * torch.tensor(config["std"]).view(3, 1, 1), persistent=False)
        before = list(backbone.feature_info)[-3:-1]
        self._stages = [backbone.get_submodule(stage["module"]) for stage in before]
        self._channels = [int(stage["num_chs"]) for stage in before]
        self.change = ChangeHead(self._channels[-1], int(backbone.num_features)) if "change" in tells else None
        self.record = nn.Linear(int(backbone.num_features), len(OUTPUTS)) if "record" in tells else None

    def features(self, pixels_nchw: Tensor) -> Tensor:
        """Pooled features [N, F] of raw pixels (after dropout, while training)."""
        return self._pooled(self._top(pixels_nchw))

    def see(self, pixels_nchw: Tensor) -> Sight:
        """All that an answer may be made from."""
        before: list[Tensor] = []
        hooks = [stage.register_forward_hook(lambda _m, _i, maps: before.append(maps)) for stage in self._stages]
        try:
            top_nchw = self._top(pixels_nchw)
        finally:
            for hook in hooks:
                hook.remove()
        return Sight(self._pooled(top_nchw), top_nchw, tuple(before))

    def textures(self, sight: Sight) -> Tensor:
        """The texture [N, T]: channel means of the two stages before the last.

        The last stage knows what matters to a count and little else; the stages before it still tell a bin from a face.
        """
        means = [_channel_means(maps, size) for maps, size in zip(sight.before_nchw, self._channels, strict=True)]
        return torch.cat(means, dim=1)

    def look(self, pixels_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features [N, F], and the texture [N, T]."""
        sight = self.see(pixels_nchw)
        return sight.features_nf, self.textures(sight)

    def maps(self, sight: Sight) -> Tensor:
        """What `change` compares of photos, [N, C, h, w].

        Raises:
            BackboneError: this network does not tell changes.
        """
        if self.change is None:
            raise BackboneError("This network does not tell changes.", hint="Train it with network.tells = ['change'].")
        maps_nchw: Tensor = self.change.maps(sight.before_nchw[-1], sight.top_nchw)
        return maps_nchw

    def weights(self) -> dict[str, Tensor]:
        """All that is learnt: the backbone's under timm's own names, the heads' under `change.` and `record.`."""
        return {name.removeprefix(_BODY): value for name, value in self.state_dict().items()}

    def heads(self) -> nn.ModuleList:
        """What starts from scratch and learns fast: the classifier, and the heads beside it."""
        return nn.ModuleList(head for head in (self.head(), self.change, self.record) if head is not None)

    def _top(self, pixels_nchw: Tensor) -> Tensor:
        images_nchw = (pixels_nchw.float() - self.mean_c11) / self.std_c11
        maps: Tensor = self.backbone.forward_features(images_nchw.contiguous(memory_format=torch.channels_last))
        return maps

    def _pooled(self, top_nchw: Tensor) -> Tensor:
        features_nf: Tensor = self.backbone.forward_head(top_nchw, pre_logits=True)
        return features_nf

    def head(self) -> nn.Module:
        """The classifier, features [N, F] -> logits [N, K]."""
        classifier: nn.Module = self.backbone.get_classifier()
        return classifier

    def forward(self, pixels_nchw: Tensor) -> Tensor:
        """Logits [N, K] of raw pixels."""
        logits_nk: Tensor = self.head()(self.features(pixels_nchw))
        return logits_nk


def at_side(pixels_nchw: Tensor, px: int) -> Tensor:
    """Photos brought from the size they have to [N, 3, px, px], for a network that was trained on those."""
    if pixels_nchw.shape[2:] == (px, px):
        return pixels_nchw
    return interpolate(pixels_nchw.float(), (px, px), mode="bilinear", antialias=True)


def _channel_means(maps: Tensor, channels: int) -> Tensor:
    """Means [N, C] over all positions, whether maps are [N, C, H, W], [N, H, W, C] or tokens [N, L, C]."""
    if maps.ndim == 4 and maps.shape[1] == channels:
        return maps.mean(dim=(2, 3))
    return maps.flatten(1, -2).mean(dim=1)


def build_network(settings: NetworkSettings, classes: int, *, pretrained: bool = True) -> tuple[CountNetwork, str]:
    """The network a recipe describes, and in words where its weights came from.

    `pretrained=False` leaves the weights random: for a run whose own weights are loaded next.

    Raises:
        BackboneError: unknown architecture, or none of the weights can be had.
    """
    if not pretrained:
        return _create(settings, classes), "to be loaded"
    if settings.start is not None:
        network = _create(settings, classes)
        return network, load_weights(network, earlier_weights(settings.start), str(settings.start), strict=False)
    failures = []
    for entry in settings.weights:
        try:
            return _with_weights(settings, classes, entry)
        except BackboneError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise BackboneError(
        f"None of the weights for {settings.backbone} can be had: {'; '.join(f.message for f in failures)}",
        hint="Name a safetensors file in the recipe's network.weights, or 'none' to train from scratch.",
    )


def starting_files(settings: NetworkSettings) -> list[Path]:
    """The local files a training starts from, as far as they are there: the first of `weights`, or those of `start`."""
    if settings.start is not None:
        return [path] if (path := weights_file(settings.start)) is not None else []
    return [path for entry in settings.weights[:1] if (path := _find(entry)).is_file()]


def weights_file(place: Path) -> Path | None:
    """The file that holds the weights of a run or of a bundle."""
    names = (WEIGHTS, MODEL, MODEL + COMPRESSED)
    return next((path for name in names if (path := place / name).is_file()), None)


def load_weights(network: CountNetwork, state: Mapping[str, Tensor], origin: str, *, strict: bool) -> str:
    """Copies `state` into the backbone and says in words how much of it fitted.

    Not `strict`: layers that `state` lacks, and a classifier of another size, start from scratch.

    Raises:
        BackboneError: `state` is of another architecture (or, when strict, not complete).
    """
    own = network.weights()
    state = {name: value for name, value in state.items() if name in own or not name.startswith(BESIDE)}
    fitting = {name: value.float() for name, value in state.items() if name in own and value.shape == own[name].shape}
    learned = {name for name in own if not name.endswith("num_batches_tracked")}
    unknown = [name for name in state if name not in own and name not in network.left_out]
    missing = sorted(learned - fitting.keys())
    if unknown or (missing if strict else len(fitting) < len(learned) / 2):
        odd = f"unknown {unknown[0]}" if unknown else f"lacks {missing[0]}"
        raise BackboneError(
            f"{origin} holds weights of another architecture than the recipe's backbone ({odd}).",
            hint="Set network.backbone to the architecture these weights are of.",
        )
    whole = {name if name.startswith(BESIDE) else _BODY + name: value for name, value in fitting.items()}
    network.load_state_dict(whole, strict=False)
    fresh = sum(own[name].numel() for name in missing) / sum(own[name].numel() for name in learned)
    return origin if fresh < 0.01 else f"{origin} ({fresh:.0%} of the parameters start from scratch)"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises:
        BackboneError: there is no such file, or it is truncated.
    """
    if not path.is_file():
        raise BackboneError(f"There are no weights at {path}.", hint="Check network.weights, or set $BINTALLY_WEIGHTS.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise BackboneError(f"{path} is no whole safetensors file: {error}.", hint="Fetch it again.") from error


def earlier_weights(place: Path) -> dict[str, Tensor]:
    """Weights of an earlier run (its model.safetensors) or bundle (its ONNX initializers carry the same names).

    Raises:
        BackboneError: `place` is neither.
    """
    path = weights_file(place)
    if path is None:
        raise BackboneError(f"{place} is neither a run nor a bundle.", hint="Name a folder that is either.")
    if path.name == WEIGHTS:
        return read_weights(path)
    from bintally.training.onnx_file import backbone_weights

    return backbone_weights(path)


def try_out(network: CountNetwork, px: int) -> None:
    """Counts two blank photos at `px`, so that a network that can't is found out before an hour of training.

    Raises:
        BackboneError: it can't, with the size it was made for.
    """
    config = network.backbone.pretrained_cfg
    try:
        with torch.no_grad():
            features_nf, _ = network.eval().look(torch.zeros(2, 3, px, px, dtype=torch.uint8))
            network.head()(features_nf)
    except Exception as error:  # whatever an architecture makes of a size it does not know
        raise BackboneError(
            f"{config['architecture']} can't count at {px} px: {str(error).splitlines()[0] if str(error) else error!r}",
            hint=f"It was made for input.px = {config['input_size'][-1]}; or choose another network.backbone.",
        ) from error
    network.train()


def freeze(network: CountNetwork, tune: str) -> None:
    """Lets only the layers learn that `tune` names: "all", "head", or "last:N" stages of the backbone and the head."""
    if tune == "all":
        return
    head = {id(parameter) for parameter in network.head().parameters()}
    body = {name: p for name, p in network.backbone.named_parameters() if id(p) not in head}
    stage_of = stage_of_each(network)
    # A group of vectors alone is a norm before the head, not a stage.
    stages = sorted({stage_of[name] for name, parameter in body.items() if parameter.ndim > 1})
    kept = int(tune.partition(":")[2] or 0)
    first = stages[-min(kept, len(stages))] if kept else max(stage_of.values()) + 1
    for name, parameter in body.items():
        parameter.requires_grad_(stage_of[name] >= first)


def stage_of_each(network: CountNetwork) -> dict[str, int]:
    """By a backbone parameter's name, which stage it is in, from 0 (the stem) on."""
    matcher = network.backbone.group_matcher(coarse=True)
    stages: dict[str, int] = group_parameters(network.backbone, matcher, reverse=True)
    return stages


def frozen_norms(network: CountNetwork) -> Iterator[nn.Module]:
    """Normalisation layers that don't learn: their running statistics must stay, too."""
    for module in network.modules():
        parameters = list(module.parameters(recurse=False))
        if parameters and hasattr(module, "running_mean") and not any(p.requires_grad for p in parameters):
            yield module


def _with_weights(settings: NetworkSettings, classes: int, entry: str) -> tuple[CountNetwork, str]:
    if entry == "none":
        return _create(settings, classes), "from scratch"
    if entry == "hub":
        return _create(settings, classes, pretrained=True), "timm's hub"
    network = _create(settings, classes)
    return network, load_weights(network, read_weights(_find(entry)), Path(entry).name, strict=False)


def _find(entry: str) -> Path:
    """A weights file by its path, or by its name in a folder of $BINTALLY_WEIGHTS."""
    places = [Path(entry), *(folder / Path(entry).name for folder in weights_folders())]
    return next((place for place in places if place.is_file()), places[0])


def _create(settings: NetworkSettings, classes: int, *, pretrained: bool = False) -> CountNetwork:
    backbone = _backbone(settings, classes, pretrained=pretrained)
    if settings.stages is None:
        return CountNetwork(backbone, normalise=settings.normalise, tells=settings.tells)
    whole = frozenset(backbone.state_dict())
    _cut(backbone, settings.stages, classes, settings.backbone)
    left_out = whole - frozenset(backbone.state_dict())
    return CountNetwork(backbone, normalise=settings.normalise, left_out=left_out, tells=settings.tells)


def _cut(backbone: Any, stages: int, classes: int, name: str) -> None:
    """Leaves only the first `stages` of the backbone, with a classifier for what comes out there."""
    taps = list(getattr(backbone, "feature_info", []))
    if not hasattr(backbone, "prune_intermediate_layers") or not taps:
        raise BackboneError(f"timm can't cut {name} after a stage.", hint="Leave out network.stages.")
    stem = _has_stem(backbone, taps[0]["module"])
    last = stages - 1 + stem
    if not 1 <= last < len(taps):  # what tells a bin from a face looks at the stage before the last, too
        raise BackboneError(
            f"{name} can't be cut after stage {stages}.",
            hint=f"Set network.stages between {2 - stem} and {len(taps) - stem}.",
        )
    if last == len(taps) - 1:
        return
    backbone.prune_intermediate_layers([last], prune_norm=False, prune_head=False)
    backbone.num_features = backbone.head_hidden_size = taps[last]["num_chs"]  # older timm leaves that out
    backbone.feature_info = taps[: last + 1]
    backbone.reset_classifier(classes, "avg")


def _has_stem(backbone: Any, first_tap: str) -> bool:
    """Whether the first of timm's taps is a stem's end (a norm, an activation) rather than a stage."""
    matrices = any(parameter.ndim > 1 for parameter in backbone.get_submodule(first_tap).parameters())
    return "stem" in first_tap or not matrices


def _backbone(settings: NetworkSettings, classes: int, *, pretrained: bool) -> Any:
    name = settings.backbone
    if not timm.is_model(name.partition(".")[0]):
        raise BackboneError(f"timm has no architecture {name!r}.", hint=did_you_mean(name, timm.list_models()))
    extra: dict[str, Any] = {"drop_path_rate": settings.drop_path_rate} if settings.drop_path_rate else {}
    try:
        return timm.create_model(
            name, pretrained=pretrained, num_classes=classes, drop_rate=settings.drop_rate, **extra
        )
    except TypeError as error:
        raise BackboneError(
            f"{name} can't be built so: {error}.", hint="Leave out network.drop_path_rate for this architecture."
        ) from error
    except Exception as error:  # huggingface_hub raises a dozen kinds of its own, httpx's and OSError
        if not pretrained:
            raise
        raise BackboneError(
            f"The hub's weights of {name} can't be had: {type(error).__name__}.",
            hint="Without a network, name a safetensors file in the recipe's network.weights, or 'none'.",
        ) from error
