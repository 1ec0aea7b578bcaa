"""A recipe: everything that decides a training, in one TOML file. The pipeline, `train` and `tune` all read this."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from bintally.config import Config
from bintally.counting.evaluate import EvaluateSettings
from bintally.data.balance import BalanceSettings
from bintally.data.check import CheckSettings
from bintally.data.fetch import FetchSettings
from bintally.data.split import SplitSettings
from bintally.records import COUNT_KEYS, parse_counts
from bintally.registry.gates.settings import PromoteSettings
from bintally.training.diagnose.settings import DiagnoseSettings
from bintally.training.profile.settings import ProfileSettings
from bintally.training.tune.settings import TuneSettings

Share = Annotated[float, Field(ge=0, le=1)]


class NetworkSettings(Config):
    """Which network, and where its weights come from."""

    backbone: str = Field(default="densenet169", description="Any timm architecture.")
    weights: tuple[str, ...] = Field(
        default=("hub",),
        description="Where pretrained weights may come from, the first that can be had: a safetensors file (relative "
        "to the recipe, or a name in $BINTALLY_WEIGHTS), 'hub' (timm's pretrained ones), or 'none' (from scratch).",
    )
    start: Path | None = Field(
        default=None, description="An earlier run or bundle to start from, instead of `weights`."
    )
    stages: int | None = Field(
        default=None,
        ge=1,
        description="Keep only the first so many stages of the backbone (the stem is none of them); default: all.",
    )
    drop_rate: Share = Field(default=0.2, description="Dropout before the head.")
    drop_path_rate: Share = Field(default=0.0, description="Stochastic depth, where the architecture has it.")
    tells: tuple[Literal["change", "record"], ...] = Field(
        default=(),
        description="What it tells beside the count: 'change', how the count changed between two photos of a bin; "
        "'record', how many products the stock record has, and how large and heavy.",
    )
    normalise: bool = Field(
        default=True, description="Shift and scale colours as the backbone was pretrained; off: to 0..1 alone."
    )
    tune: str = Field(
        default="all",
        pattern=r"^(all|head|last:[1-9]\d*)$",
        description="'all' layers, the 'head' alone (its features are computed once), or 'last:N' stages and the head.",
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class InputSettings(Config):
    """How large the network sees a photo; photos are squashed to a square (decode.py says why)."""

    px: int = Field(default=192, ge=32, le=1024, description="Side of the network's input.")
    cache_px: int = Field(
        default=224, ge=32, le=1024, description="Side of the cached photo that training crops are cut from."
    )


class AugmentSettings(Config):
    """What training does to a photo before the network sees it. Nothing here may change the count."""

    flip: Share = Field(default=0.5, description="Probability of a left-right flip.")
    crop_min_area: Share = Field(default=0.7, description="A crop keeps at least this share of the area; 1: no crop.")
    rotate: float = Field(default=0.0, ge=0, le=45, description="Turned by up to so many degrees, either way.")
    crop_aspect: float = Field(
        default=1.1, ge=1, le=2, description="A crop's width to height, at most this or its inverse."
    )
    brightness: Share = Field(default=0.2, description="Brightness is scaled by 1 +- this.")
    contrast: Share = Field(default=0.2, description="Contrast is scaled by 1 +- this.")
    saturation: Share = Field(default=0.0, description="Saturation is scaled by 1 +- this.")
    blur: Share = Field(default=0.0, description="Probability of a light Gaussian blur: hides how a photo was encoded.")
    rand_augment: int = Field(default=0, ge=0, le=4, description="RandAugment operations per photo; 0: none.")
    rand_magnitude: int = Field(default=7, ge=0, le=30, description="RandAugment's magnitude.")
    erase: Share = Field(default=0.0, description="Probability that a small rectangle is erased.")
    mixup: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Photos of a batch laid over each other, by a share from Beta(this, this).",
    )
    cutmix: float = Field(
        default=0.0, ge=0, le=10, description="A rectangle of another photo put in, of an area from Beta(this, this)."
    )
    mix_share: Share = Field(
        default=1.0, description="Share of batches that are mixed; where mixup and cutmix are on, either is as likely."
    )

    @property
    def mixes(self) -> bool:
        """Whether photos of a batch are mixed, and labels with them."""
        return self.mix_share > 0 and (self.mixup > 0 or self.cutmix > 0)


class LossSettings(Config):
    """Cross-entropy against labels that spread to neighbouring counts (ozantezcan, CNN_trials: RMSE 0.896 -> 0.861)."""

    neighbour: float = Field(
        default=0.1, ge=0, le=0.33, description="Weight of each of count-1 and count+1 in the label."
    )
    change: float = Field(default=1.0, ge=0, description="Weight of the change's loss, where the network tells it.")
    record: float = Field(default=0.25, ge=0, description="Weight of the record's loss, where the network tells it.")


class PairSettings(Config):
    """Which photos are compared in training, where the network tells the change."""

    reach: int = Field(default=2, ge=1, le=10, description="Photos of a bin at most so many apart, either way round.")
    unchanged: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description="Share of pairs that are one photo seen twice: what a camera sees of an untouched bin.",
    )


class TeacherSettings(Config):
    """Finished networks that show what they make of a photo (Beyer et al. 2022, arXiv:2106.05237)."""

    runs: tuple[Path, ...] = Field(
        default=(), description="Runs or bundles whose averaged answers are followed; relative to the recipe."
    )
    weight: Share = Field(default=0.7, description="Share of the loss that follows the teachers; the rest, the label.")
    temperature: float = Field(default=1.0, gt=0, le=20, description="Both sides are softened by this.")


class OptimizerSettings(Config):
    """How weights move."""

    name: Literal["adamw", "sgd"] = "adamw"
    body_lr: float = Field(default=2e-4, gt=0, description="Peak learning rate of the pretrained body.")
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="Each stage before the body's last learns slower by this; 1: all alike."
    )
    head_lr: float = Field(default=2e-3, gt=0, description="Peak learning rate of the new head.")
    weight_decay: float = Field(default=0.02, ge=0, description="Of matrices; vectors (norms, biases) have none.")
    momentum: Share = Field(default=0.9, description="Of sgd.")
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warmup: Share = Field(default=0.25, description="Share of all steps until the peak.")
    clip_norm: float = Field(default=0.0, ge=0, description="Largest gradient norm; 0: no limit.")


class LoopSettings(Config):
    """How long, in which pieces, and when to stop."""

    epochs: int = Field(default=5, ge=1, le=1000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="'auto': bf16 where the machine computes in it."
    )
    average: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Judge and keep a moving average of the weights with this decay a step, e.g. 0.999; 0: none.",
    )
    cuda_graph: bool = Field(
        default=False, description="On a GPU, record a step's kernels once and replay them; elsewhere, nothing."
    )
    patience: int = Field(
        default=0, ge=0, description="Epochs without a better `monitor` before stopping; 0: never stop early."
    )
    monitor: Literal["log_loss", "accuracy", "rmse", "change_log_loss"] = Field(
        default="log_loss", description="Which val figure picks the epoch; change_log_loss: of what changed in bins."
    )
    checkpoint_minutes: float = Field(default=5, gt=0, description="A kill costs at most this much work.")
    workers: int = Field(default=0, ge=0, le=64, description="Loader processes; 0: in the training process.")


class ExportSettings(Config):
    """What the bundle does to a photo and to the network's answer."""

    px: int | None = Field(
        default=None,
        ge=32,
        le=1024,
        description="Side of the photos that the bundle sees; default: input.px. Training crops make things look "
        "larger than they are, so a little more may do better (Touvron et al. 2019, arXiv:1906.06423).",
    )
    flip_averaging: bool = Field(
        default=True, description="Average a photo and its mirror image (+1.0 to +1.3 points on ABID)."
    )
    prior: Literal["val", "train", "uniform"] = Field(default="val", description="The mix of counts to answer for.")
    unchanged: Share = Field(
        default=0.05, description="Share of untouched bins among those photographed again, where changes are told."
    )
    set_coverage: float = Field(default=0.9, gt=0, lt=1, description="Promised coverage of the set of counts.")
    known_share: float = Field(
        default=0.995, gt=0.5, le=1, description="Share of val photos that must be taken for bins."
    )
    licence: str = Field(default="not stated", description="Of the weights: what their training photos allow.")
    store: Literal["float16", "int8"] = Field(
        default="float16",
        description="How large weights are kept in the file: int8 (a scale per output channel) halves it once more.",
    )
    compute: Literal["float32", "int8"] = Field(
        default="float32",
        description="int8: convolutions in INT8, ranges taken from training photos; training can't go on from it.",
    )
    ensemble: tuple[Path, ...] = Field(
        default=(),
        description="Other finished runs on the same photos and counts whose answers are averaged with this one's; "
        "relative to the recipe. Each sees photos at its own input.px, resized from what the bundle sees.",
    )
    beside: Path | None = Field(
        default=None,
        description="A finished run on the same photos and counts, with network.tells, that tells changes and records "
        "where this one counts; relative to the recipe. Default: the run itself, if it tells them.",
    )
    compress: bool = Field(default=False, description="Keep graphs gzipped: a fifth to a quarter smaller.")


class Recipe(Config):
    """One complete, named run."""

    if_missing: ClassVar[str] = "Look at the path; recipes that come along are in recipes/."

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    counts: str = Field(default="0-6+", description="Photos of these counts are trained on.")
    source: str = Field(default="", description="Where photos come from when the command names no source.")
    fetch: FetchSettings = FetchSettings()
    check: CheckSettings = CheckSettings()
    split: SplitSettings = SplitSettings()
    balance: BalanceSettings = BalanceSettings()
    network: NetworkSettings = NetworkSettings()
    input: InputSettings = InputSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    pairs: PairSettings = PairSettings()
    teacher: TeacherSettings = TeacherSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    loop: LoopSettings = LoopSettings()
    export: ExportSettings = ExportSettings()
    diagnose: DiagnoseSettings = DiagnoseSettings()
    profile: ProfileSettings = ProfileSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    tune: TuneSettings = TuneSettings()
    promote: PromoteSettings = PromoteSettings()

    @field_validator("counts")
    @classmethod
    def _known(cls, value: str) -> str:
        parse_counts(value)
        return value

    @model_validator(mode="after")
    def _asks_what_it_learns(self) -> Self:
        unknown = [key for key in self.asked_keys if key not in self.count_keys]
        if unknown:
            raise ValueError(
                f"evaluate.counts asks about {', '.join(unknown)}, which counts = {self.counts!r} leaves out"
            )
        return self

    @model_validator(mode="after")
    def _head_alone_sees_no_pixels(self) -> Self:
        for key, wanted in (("teacher.runs", bool(self.teacher.runs)), ("augment's mixing", self.augment.mixes)):
            if wanted and self.network.tune == "head":
                raise ValueError(f"{key} needs photos, but network.tune = 'head' looks at each photo once, beforehand")
        return self

    @model_validator(mode="after")
    def _monitors_what_it_learns(self) -> Self:
        if self.loop.monitor == "change_log_loss" and "change" not in self.network.tells:
            raise ValueError("loop.monitor = 'change_log_loss' needs network.tells = ['change']")
        return self

    @model_validator(mode="after")
    def _compares_photos_as_they_are(self) -> Self:
        if not self.network.tells:
            return self
        for key, wanted in (
            ("network.tune = 'head'", self.network.tune == "head"),
            ("augment's mixing", self.augment.mixes),
            (f"balance.method = {self.balance.method!r}", self.balance.method != "none"),
            ("loop.cuda_graph", self.loop.cuda_graph),
        ):
            if wanted:
                raise ValueError(f"network.tells goes by whole bins, and {key} does not go with that")
        return self

    @property
    def asked_keys(self) -> tuple[str, ...]:
        """The count keys the report is about."""
        return parse_counts(self.evaluate.counts or self.counts)

    @property
    def count_keys(self) -> tuple[str, ...]:
        """The count keys the network tells apart."""
        return parse_counts(self.counts, COUNT_KEYS)

    @classmethod
    def read(cls, path: Path) -> Self:
        """A recipe file; paths in it are relative to it.

        Raises:
            ConfigError: no such file, no TOML, an unknown key or a value out of range.
        """
        recipe = cls.from_toml(path)
        listed = recipe.fetch.list_file
        fetch = recipe.fetch.model_copy(update={"list_file": listed and path.parent / listed})
        network = recipe.network.model_copy(
            update={
                "weights": tuple(_beside(path, entry) for entry in recipe.network.weights),
                "start": recipe.network.start and path.parent / recipe.network.start,
            }
        )
        teacher = recipe.teacher.model_copy(update={"runs": tuple(path.parent / run for run in recipe.teacher.runs)})
        others = tuple(path.parent / run for run in recipe.export.ensemble)
        beside = recipe.export.beside and path.parent / recipe.export.beside
        export = recipe.export.model_copy(update={"ensemble": others, "beside": beside})
        return recipe.model_copy(update={"network": network, "fetch": fetch, "teacher": teacher, "export": export})


def _beside(recipe: Path, entry: str) -> str:
    """A weights entry that is a path, made relative to the recipe's folder."""
    return entry if entry in ("hub", "none") or "/" not in entry else str((recipe.parent / entry).resolve())
