"""How many robots drive, how often they photograph, and what goes wrong on the way."""

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from bintally.config import Config

MAX_ROBOTS: Final = 10_000
DEFAULT_URL: Final = "http://127.0.0.1:8080"

Share = Annotated[float, Field(ge=0, le=1)]
Travel: TypeAlias = Literal["exponential", "fixed"]


class Mix(Config):
    """Which share of the photos is not sent as usual; each is at most one of these."""

    duplicates: Share = Field(default=0.02, description="the photo is sent twice at once, with one key")
    late: Share = Field(default=0.02, description="the photo was taken an hour before it is sent")
    batches: Share = Field(default=0.01, description="the robot was out of reach and sends what it took at once")
    batch_photos: int = Field(default=5, ge=2, le=64, description="photos of such a batch")
    damaged: Share = Field(default=0.001, description="the photo is cut off in the middle")
    dropouts: Share = Field(default=0.005, description="the connection breaks right after the photo was sent")

    @model_validator(mode="after")
    def _leave_usual_stops(self) -> Self:
        if self.duplicates + self.late + self.batches + self.damaged + self.dropouts > 1:
            raise ValueError("the shares of a mix add up to more than 1")
        return self


class FleetSettings(Config):
    """One drive of a fleet."""

    robots: int = Field(default=50, ge=1, le=MAX_ROBOTS, description="robots that drive")
    url: str | None = Field(default=None, description="the service, for robots that ask over HTTP")
    mqtt: str | None = Field(default=None, description="its broker, for robots that publish; with url: every other one")
    topic: str = Field(default="bintally", description="first level of the service's topics")
    seconds: float = Field(default=60.0, gt=0, le=86_400, description="length of the drive")
    warm_up_s: float = Field(default=0.0, ge=0, description="first part of it that is checked, but not measured")
    every_s: float = Field(default=5.0, gt=0, description="mean time between two photos of a robot")
    travel: Travel = Field(
        default="exponential", description="times between stops: exponential, so that arrivals are random, or fixed"
    )
    bins: tuple[str, ...] = Field(default=(), description="codes of the ledger's bins; none: bins are not named")
    site: str | None = Field(default=None, description="their site")
    patience_s: float = Field(default=60.0, gt=0, description="a photo that is not answered for so long is lost")
    seed: int = Field(default=0, ge=0, description="of the routes")
    mix: Mix = Field(default=Mix(), description="what goes wrong on the way")

    @model_validator(mode="after")
    def _leave_time_to_measure(self) -> Self:
        if self.warm_up_s >= self.seconds:
            raise ValueError("nothing is left to measure after the warm-up")
        return self
