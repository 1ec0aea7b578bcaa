"""The knobs of the rendered sample. The defaults look like ABID and can be learnt from 2,000 photos in two minutes."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from bintally.config import Config

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Range = tuple[float, float]


class RenderSettings(Config):
    """What bins are rendered like. A range is (least, most); each bin or photo draws its own value from it."""

    # What is in a bin, and when
    count_weights: tuple[Weight, ...] = Field(
        default=(0.05, 0.11, 0.16, 0.18, 0.16, 0.13, 0.08, 0.05, 0.03, 0.02, 0.01),
        min_length=1,
        max_length=31,
        description="how often a bin's first photo shows 0, 1, 2 ... items; ABID's mix with a few more empty bins",
    )
    photos_per_bin_weights: tuple[Weight, ...] = Field(
        default=(0.4, 0.38, 0.17, 0.05), min_length=1, description="how often a bin is photographed 1, 2, 3 ... times"
    )
    step_weights: dict[int, Weight] = Field(
        default={-3: 0.03, -2: 0.07, -1: 0.5, 0: 0.01, 1: 0.22, 2: 0.09, 3: 0.05, 4: 0.03},
        description="how often a bin's count changes by so much between two photos; measured on ABID's pairs",
    )
    new_product_rate: Share = Field(default=0.6, description="how often an item is of a product new to its bin")
    wrong_record_rate: Share = Field(default=0.05, description="how often a record's total is not what is in the bin")
    missing_size_rate: Share = Field(default=0.01, description="how often a product has no dimensions and weight")
    rearranged_rate: Share = Field(default=0.25, description="how often everything was moved between two photos")

    # How hard the items are to see
    item_size: Range = Field(default=(0.24, 0.5), description="root of an item's area, as a share of the cell's")
    min_visible_share: Share = Field(
        default=0.3, description="least part of an item that stays visible, wherever there is a place for it"
    )
    stacked_rate: Share = Field(default=0.3, description="how often an item is put on another one, not on the floor")
    leaning_rate: Share = Field(default=0.25, description="how often an item leans")
    band_weights: tuple[Weight, ...] = Field(
        default=(0.15, 0.35, 0.4, 0.1), min_length=1, description="how often 0, 1, 2 ... bands cross the cell"
    )
    band_opacity: Range = Field(default=(0.25, 0.55), description="how much a band hides of what lies behind it")

    # Camera
    short_side_px: tuple[int, int] = Field(default=(216, 272), description="the photo's short side")
    aspect: Range = Field(default=(0.8, 1.65), description="width / height of a photo; ABID's middle 90%")
    shift: float = Field(default=0.03, ge=0, le=0.2, description="how far the camera moves, as a share of the width")
    brightness: Range = Field(default=(0.84, 1.0), description="light at the brightest spot")
    vignette: Range = Field(default=(0.05, 0.3), description="light lost in the corners")
    blur_px: Range = Field(default=(0.3, 1.3), description="radius of the blur, in pixels")
    noise: Range = Field(default=(1.5, 6.0), description="standard deviation of the sensor's noise, in grey levels")
    jpeg_quality: tuple[int, int] = Field(default=(62, 92), description="JPEG quality")

    @model_validator(mode="after")
    def _ranges_hold(self) -> Self:
        for name, (least, most) in _LIMITS.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} = ({low}, {high}) is no range within {least} to {most}")
        for name in ("count_weights", "photos_per_bin_weights", "band_weights"):
            if not sum(getattr(self, name)) > 0:
                raise ValueError(f"{name} are all zero")
        if not sum(self.step_weights.values()) > 0:
            raise ValueError("step_weights are all zero")
        return self

    @property
    def max_count(self) -> int:
        """The most items a bin ever holds."""
        return len(self.count_weights) - 1


_LIMITS = {
    "item_size": (0.05, 0.9),
    "band_opacity": (0, 1),
    "short_side_px": (64, 1200),
    "aspect": (0.3, 3.5),
    "brightness": (0.05, 1),
    "vignette": (0, 0.95),
    "blur_px": (0, 10),
    "noise": (0, 40),
    "jpeg_quality": (10, 100),
}

DEFAULTS = RenderSettings()
"""The demo's difficulty."""
