"""What a plan is made by: how errors arise, what a look costs and tells, what is counted by the calendar.

```toml
overdue_share = 0.3

[counts_a_year]
A = 6

[hazard]
touch = 0.01

[walk]
bay_m = 1.5
```
"""

import re
from typing import Final, NamedTuple, Self

from pydantic import Field, model_validator

from bintally.config import Config
from bintally.inventory.policy.settings import AbcClass, Costs, ErrorMix

YEAR_DAYS: Final = 365.0


class Capacity(NamedTuple):
    """How many bins can be looked at in a day: counted by people, photographed by robots."""

    counts: int
    photos: int


class Hazard(Config):
    """How often records become wrong (`hazard`), until outcomes tell, and how fast those replace the guess."""

    touch: float = Field(default=0.005, gt=0.0, lt=1.0, description="errors a movement: of 200 picks, one goes wrong")
    day: float = Field(default=0.0003, gt=0.0, lt=1.0, description="errors a day, touched or not: a tenth a year")
    strength: float = Field(default=2.0, gt=0.0, description="errors that must be found to weigh as much as the guess")
    abc: float = Field(default=10.0, gt=0.0, description="errors that say as much of a class as the site")
    product: float = Field(default=5.0, gt=0.0, description="... of a product as its class")
    bin: float = Field(default=3.0, gt=0.0, description="... of a bin as its product")


class PhotoPower(Config):
    """What a photo alone tells of a record: as measured where 2% are wrong and 2% promised (docs/results.md)."""

    finds: float = Field(
        default=0.75, ge=0.0, le=1.0, description="share of wrong records that it has a person look at"
    )
    spares: float = Field(default=0.5, ge=0.0, le=1.0, description="share of right records that nobody must look at")


class WalkSettings(Config):
    """Where bins are, as far as neither codes nor a layout table say so."""

    code: str | None = Field(
        default=None,
        description="how codes are read: a regular expression with the groups aisle, position and, if any, level",
    )
    bay_m: float = Field(default=1.0, gt=0.0, description="metres from one position to the next")
    aisle_m: float = Field(default=4.0, gt=0.0, description="metres from one aisle to the next")

    @model_validator(mode="after")
    def _code_names_its_parts(self) -> Self:
        if self.code is None:
            return self
        try:
            groups = re.compile(self.code).groupindex
        except re.error as error:
            raise ValueError(f"code is no regular expression: {error}") from None
        if missing := {"aisle", "position"} - set(groups):
            raise ValueError(f"code lacks the group {min(missing)}: (?P<{min(missing)}>...)")
        return self


class PlanSettings(Config):
    """Everything a plan depends on beside the bins and the capacity."""

    costs: Costs = Field(default=Costs(), description="of a count, a needless recount, an error that stays")
    cost_photo: float = Field(default=0.05, ge=0.0, description="a photo by a robot")
    escape_by_class: dict[AbcClass, float] = Field(
        default={}, description="cost of an error that stays, by ABC class, instead"
    )
    errors: ErrorMix = Field(default=ErrorMix(), description="how far wrong records are off")
    wrong_records: float = Field(
        default=0.05, gt=0.0, lt=1.0, description="share of wrong records among bins that nobody has looked at"
    )
    miscount: float = Field(default=0.01, ge=0.0, lt=0.5, description="share of counts by a person that are wrong")
    hazard: Hazard = Field(default=Hazard(), description="how often records become wrong")
    photo: PhotoPower = Field(default=PhotoPower(), description="what a photo tells")
    photo_by_class: dict[AbcClass, PhotoPower] = Field(default={}, description="the same by ABC class, instead")
    photo_again: float = Field(
        default=0.25,
        ge=0.0,
        le=1.0,
        description="how much of that another tells where nothing has moved",
    )
    counts_a_year: dict[AbcClass, float] = Field(
        default={"A": 4.0, "B": 2.0, "C": 1.0}, description="the ABC calendar; a class that it lacks has none"
    )
    overdue_share: float = Field(
        default=0.2, ge=0.0, le=1.0, description="share of the counts set aside for the bins longest overdue by it"
    )
    keep: float = Field(
        default=2.0,
        ge=1.0,
        description="how many times as much another must have at stake to replace a planned one",
    )
    fill_counts: bool = Field(default=True, description="counts beyond those that save more than they cost")
    fill_photos: bool = Field(default=False, description="the same for photos: these make people look at right records")
    walk: WalkSettings = Field(default=WalkSettings(), description="where bins are")
