"""The recipe's section `[promote]`: which gates a version must pass, and each one's limits."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, field_validator

from bintally.config import Config
from bintally.errors import did_you_mean
from bintally.records import parse_counts

Share = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(gt=0, le=0.5)]
Ratio = Annotated[float, Field(gt=0)]

GateName: TypeAlias = Literal[
    "contract", "licence", "findings", "unseen", "better", "slices", "calibration", "speed", "size", "shadow"
]
NAMES: tuple[GateName, ...] = get_args(GateName)
DEFAULT: tuple[GateName, ...] = tuple(name for name in NAMES if name != "shadow")


class BetterSettings(Config):
    """Better than the champion on the same photos; or hardly worse, and cheaper."""

    metric: Literal["log_loss", "accuracy"] = Field(
        default="log_loss", description="What must be better; the other one must not be shown to be worse."
    )
    level: Level = Field(default=0.05, description="How often a model that is only as good may pass by chance.")
    cheaper: float | None = Field(
        default=0.1,
        ge=0.01,
        lt=1,
        description="A model that is faster or smaller by this share may be as good as the champion instead of better; "
        "false: it may not.",
    )
    margin: float = Field(
        default=0.02, gt=0, lt=0.5, description="As good: right less often by this share of photos, at most."
    )

    @field_validator("cheaper", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if value is False else value  # TOML has no null


class SlicesSettings(Config):
    """No kind of photos on which it is right much less often than the champion."""

    margin: float = Field(default=0.1, gt=0, lt=0.5, description="Share of a slice's photos: less often by that much.")
    level: Level = Field(default=0.05, description="Of the tests.")
    power: float = Field(
        default=0.9,
        gt=0.5,
        lt=1,
        description="A slice has enough photos where a model that is as good would be shown to be so this often; "
        "smaller ones must not be shown to be worse (Holm's correction).",
    )
    min_photos: int = Field(default=20, ge=5, description="Smaller slices are not judged.")


class CalibrationSettings(Config):
    """It is right as often as it says."""

    ece: Share = Field(default=0.02, description="Calibration error beyond what chance explains.")
    coverage: Share = Field(default=0.02, description="Sets of counts may hold the recorded one less often, by this.")
    abstained: Share = Field(default=0.02, description="More photos not taken for bins than by the champion.")


class SpeedSettings(Config):
    """Fast enough, measured beside the champion on this machine, photo by photo in turn."""

    slower: Ratio = Field(default=1.25, description="Median time of a photo, as a multiple of the champion's.")
    slower_p95: Ratio = Field(default=1.5, description="The same of the 95th percentile.")
    p50_ms: Ratio | None = Field(default=None, description="Most milliseconds of a median photo, on this machine.")
    p95_ms: Ratio | None = Field(default=None, description="The same of the 95th percentile.")
    photos: int = Field(default=60, ge=20, le=2000, description="Photos timed.")


class SizeSettings(Config):
    """Small enough."""

    larger: Ratio = Field(default=1.5, description="The bundle's bytes, as a multiple of the champion's.")
    most_mb: Ratio | None = Field(default=None, description="Most megabytes.")


class UnseenSettings(Config):
    """Judged on photos of bins that neither model learnt from: others are left out."""

    min_photos: int = Field(default=100, ge=20, description="Fewer that are left are too few.")
    unknown: Literal["fail", "say"] = Field(
        default="fail", description="Where nobody knows what the candidate learnt from: fail, or only say so."
    )
    unknown_champion: Literal["fail", "say"] = Field(
        default="say", description="The same of the champion; having learnt from them can only make it look better."
    )


class FindingsSettings(Config):
    """No finding of the training that says its figures are not to be trusted."""

    critical: tuple[str, ...] = Field(
        default=("ExplodingTensor", "BlindBaseline", "Leakage"), description="Rules whose findings are critical."
    )
    unwatched: Literal["fail", "say"] = Field(
        default="fail", description="Where no rule watched the training, or nobody knows: fail, or only say so."
    )


class LicenceSettings(Config):
    """May be used as the champion may."""

    allowed: tuple[str, ...] = Field(
        default=(), description="Licences as cards name them, or how they begin; default: the champion's."
    )


class ShadowSettings(Config):
    """Agreed with the champion on live photos (only where `gates` names it)."""

    pairs: int = Field(default=200, ge=1, description="Live photos that both counted, at least.")
    agreement: Share = Field(default=0.5, description="Share of them that both count alike, at least.")
    slower: Ratio = Field(default=2.0, description="Median time, as a multiple of the champion's.")


class PromoteSettings(Config):
    """What a version must pass to be promoted. A gate that `gates` leaves out is not asked."""

    gates: tuple[GateName, ...] = Field(default=DEFAULT, min_length=1, description="Which gates are asked.")
    split: Literal["val", "test"] = Field(default="test", description="The frozen photos.")
    counts: str | None = Field(default=None, description='Counts asked about, such as "1-5"; default: all both know.')
    seed: int = Field(default=0, ge=0, description="Of what is drawn.")
    better: BetterSettings = BetterSettings()
    slices: SlicesSettings = SlicesSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    speed: SpeedSettings = SpeedSettings()
    size: SizeSettings = SizeSettings()
    unseen: UnseenSettings = UnseenSettings()
    findings: FindingsSettings = FindingsSettings()
    licence: LicenceSettings = LicenceSettings()
    shadow: ShadowSettings = ShadowSettings()

    @field_validator("gates", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        for name in value if isinstance(value, list | tuple) else ():
            if name not in NAMES:
                raise ValueError(f"there is no gate {name!r}. {did_you_mean(str(name), NAMES)}")
        return value

    @field_validator("gates")
    @classmethod
    def _once(cls, value: tuple[GateName, ...]) -> tuple[GateName, ...]:
        """In the order in which they are asked, each once."""
        return tuple(name for name in NAMES if name in value)

    @field_validator("counts")
    @classmethod
    def _countable(cls, value: str | None) -> str | None:
        if value is not None and len(parse_counts(value)) < 2:
            raise ValueError("one count leaves nothing to choose")
        return value

    @classmethod
    def of_recipe(cls, path: Path) -> "PromoteSettings":
        """The section of a recipe's file, without the rest.

        Raises:
            ConfigError: no such file, no TOML, an unknown key or a value out of range.
        """
        return _PromotePart.from_toml(path).promote


class _PromotePart(Config, extra="ignore"):
    promote: PromoteSettings = PromoteSettings()
