"""What a site promises and what it costs: the policy's settings, a TOML file.

```toml
promised_escape = 0.02
second_approval_above = 500.0

[promised_escape_by_class]
A = 0.01

[[value_bands]]
above = 1000.0
promised_escape = 0.005
```
"""

from itertools import pairwise
from math import isclose
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bintally.config import Config

AbcClass = Literal["A", "B", "C"]
Escape = Annotated[float, Field(gt=0.0, lt=1.0)]


class ErrorMix(Config):
    """How wrong records are wrong, either way equally often. Shares, scaled to sum to 1."""

    one: float = Field(default=0.6, ge=0.0, description="share that is one item off")
    two: float = Field(default=0.35, ge=0.0, description="share that is two items off")
    anything: float = Field(default=0.05, gt=0.0, description="share that says any other count; never none")

    def is_like(self, other: Self) -> bool:
        """Whether both are the same mix once their shares are scaled to sum to 1."""
        mine, its = ([share / sum(mix) for share in mix] for mix in (_shares(self), _shares(other)))
        return all(isclose(one, two, abs_tol=1e-9) for one, two in zip(mine, its, strict=True))


def _shares(mix: ErrorMix) -> tuple[float, float, float]:
    return mix.one, mix.two, mix.anything


class ToleranceOfClass(Config):
    """How far a count may be off and the record still stands; of those given, the strictest counts."""

    units: int | None = Field(default=None, ge=0, description="items")
    percent: float | None = Field(default=None, ge=0.0, le=100.0, description="percent of the record, rounded down")
    value: float | None = Field(default=None, ge=0.0, description="money; a record without a unit value has none")


class Tolerances(Config):
    """Tolerances by ABC class; none given: a record is right if it is exact."""

    A: ToleranceOfClass = Field(default=ToleranceOfClass(), description="of the 80% of value")
    B: ToleranceOfClass = Field(default=ToleranceOfClass(), description="of the next 15%")
    C: ToleranceOfClass = Field(default=ToleranceOfClass(), description="of the last 5%")


class ValueBand(Config):
    """A promise for records worth much."""

    above: float = Field(ge=0.0, description="value of what is recorded, in money, from which on it holds")
    promised_escape: Escape = Field(description="share of wrong records among the accepted that is not exceeded")


class Strengths(Config):
    """How many confirmed outcomes weigh as much as what is known one level up (`rates`)."""

    site: float = Field(default=50.0, gt=0.0, description="of the site, beside `wrong_records`")
    abc_class: float = Field(default=50.0, gt=0.0, description="of an ABC class, beside the site")
    product: float = Field(default=30.0, gt=0.0, description="of a product, beside its class")
    bin: float = Field(default=20.0, gt=0.0, description="of a bin, beside its product")


class Costs(Config):
    """What the work costs, for the value of a policy."""

    currency: str = Field(default="USD", description="of all money here")
    count: float = Field(default=2.5, ge=0.0, description="a count by a person that an acceptance saves")
    recount: float = Field(default=2.5, ge=0.0, description="a right record sent to a person")
    escape: float = Field(default=40.0, ge=0.0, description="a wrong record that was accepted")


class PolicySettings(Config):
    """What is promised, what is known of the site's records, and who must look."""

    promised_escape: Escape = Field(default=0.02, description="share of wrong records among the accepted, at most")
    promised_escape_by_class: dict[AbcClass, Escape] = Field(default={}, description="the same by ABC class, instead")
    value_bands: tuple[ValueBand, ...] = Field(
        default=(), description="stricter promises by value; a record of unknown value is taken for the most valuable"
    )
    wrong_records: float = Field(
        default=0.05,
        gt=0.0,
        lt=1.0,
        description="share of wrong records that is reckoned with until outcomes tell: rather too many than too few",
    )
    strength: Strengths = Field(default=Strengths(), description="how fast outcomes replace that guess")
    rate_quantile: float = Field(
        default=0.8,
        ge=0.5,
        lt=1.0,
        description="which quantile of what is known of the site's rate of wrong records is reckoned with",
    )
    errors: ErrorMix = Field(default=ErrorMix(), description="how wrong records are wrong; as the acceptance file's")
    tolerance: Tolerances = Field(default=Tolerances(), description="how far off is still right")
    second_approval_above: float | None = Field(
        default=None, ge=0.0, description="corrections worth this much or more, or of unknown worth, need two people"
    )
    recount_share: float = Field(
        default=0.02, ge=0.0, le=1.0, description="share of accepted records that a person recounts without seeing them"
    )
    mismatch_at: float = Field(
        default=0.95, gt=0.5, lt=1.0, description="a record is called wrong from this P(wrong) on"
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1.0, description="chance, over calibration photos, that all promises hold"
    )
    costs: Costs = Field(default=Costs(), description="what the work costs")

    @model_validator(mode="after")
    def _bands_only_tighten(self) -> Self:
        bands = sorted(self.value_bands, key=lambda band: band.above)
        for lower, higher in pairwise(bands):
            if higher.promised_escape > lower.promised_escape:
                raise ValueError(f"the band above {higher.above} promises less than the one above {lower.above}")
        return self
