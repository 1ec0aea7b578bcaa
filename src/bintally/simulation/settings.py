"""What a simulated site is like: one TOML file, every rate with where its default comes from.

Nobody's rates are yours: records are wrong in 65% of cases in the 37 stores of DeHoratius & Raman (2008, Management
Science 54(4)), and a stock loss of 1% of demand is enough to empty shelves that records call full (Kang & Gershwin
2005, IIE Transactions 37(9)). The defaults make a site whose records, left alone, go the same way within months.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bintally.config import Config

ArmName = Literal["bintally", "single", "hand", "calendar", "nothing"]
ARMS: tuple[ArmName, ...] = ("bintally", "single", "hand", "calendar", "nothing")
"""All ways of control, in the order of pages and tables."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
MOST_PAR = 8


class Stock(Config):
    """Bins and what lies in them. Par levels are small, as in the Amazon Bin Image Dataset: 0 to 6 items, few more."""

    two_products: Share = Field(default=0.3, description="share of bins that hold two products")
    least_par: int = Field(default=2, ge=1, le=MOST_PAR, description="fewest items a product is stocked up to")
    most_par: int = Field(default=6, ge=1, le=MOST_PAR, description="most items a product is stocked up to")
    most_stowed: int = Field(
        default=2,
        ge=1,
        le=MOST_PAR,
        description="most items stowed at once; of the changes in ABID 88% are of one or two",
    )
    picks_per_day: float = Field(default=0.15, gt=0.0, le=3.0, description="mean picks a product and day")
    spread: float = Field(default=0.8, ge=0.0, le=2.0, description="spread of demand over products, in logs")
    unit_value: float = Field(default=18.0, gt=0.0, description="median value of an item, in money")
    value_spread: float = Field(default=0.9, ge=0.0, le=3.0, description="spread of values over products, in logs")
    counted_at_start: bool = Field(
        default=True, description="all bins are counted before day one, in all arms, at no cost to any"
    )
    wrong_at_start: Share = Field(default=0.05, description="share of records that are one item off before that")

    @model_validator(mode="after")
    def _pars_are_ordered(self) -> Self:
        if self.least_par > self.most_par:
            raise ValueError(f"'least_par' is {self.least_par}, above 'most_par', {self.most_par}")
        return self


class Errors(Config):
    """How truth leaves the record. Shares are of picks or stows; guesses of the order of 1%, to be set from counts."""

    pick_quantity: Share = Field(default=0.008, description="picks of one item more or fewer than recorded")
    pick_bin: Share = Field(default=0.004, description="picks out of the bin beside the recorded one")
    pick_product: Share = Field(default=0.002, description="picks of the other product of the same bin")
    stow_quantity: Share = Field(default=0.010, description="stows of one item more or fewer than recorded")
    stow_bin: Share = Field(default=0.006, description="stows into the bin beside the recorded one")
    damage: Share = Field(default=0.002, description="picks after which one more item is scrapped and not recorded")
    loss_per_item_day: Share = Field(
        default=0.0005, description="items stolen or lost a day, of those there are; not recorded"
    )


class People(Config):
    """Those who count at the bin. The same people, hours and errors in all arms."""

    counts_per_100_bins: float = Field(
        default=2.0, ge=0.0, le=1000.0, description="counts a day they have time for: four times what the calendar asks"
    )
    wrong_counts: Share = Field(default=0.01, description="counts that are one item off")


class Robots(Config):
    """Who photographs."""

    photographed: Share = Field(default=1.0, description="share of picks and stows after which a photo is taken")
    rounds_per_100_bins: float = Field(
        default=5.0, ge=0.0, le=1000.0, description="photos a day of bins that nobody touched, the longest unseen first"
    )


class Money(Config):
    """What things cost; all of it a guess until a site puts its own figures in."""

    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="of all money here (ISO 4217)")
    count: float = Field(default=2.5, ge=0.0, description="a count by a person at the bin")
    photo: float = Field(default=0.02, ge=0.0, description="a photo and what is seen on it")
    short_pick: float = Field(default=15.0, ge=0.0, description="a picker finds less than the record says")
    missed_order: float = Field(
        default=10.0, ge=0.0, description="an order is turned away though the bin holds what it asks for"
    )
    wrong_record_day: float = Field(
        default=0.5, ge=0.0, description="what else a wrong record costs a day: searching, safety stock, wrong promises"
    )


class SimulationSettings(Config):
    """A site, its people and robots, and what things cost."""

    days: int = Field(default=60, ge=7, le=3650, description="days to live through")
    bins: int = Field(default=100, ge=4, le=100_000, description="bins of the site")
    seeds: int = Field(default=3, ge=1, le=1000, description="sites of these settings, each with its own chance")
    first_seed: int = Field(default=0, ge=0, description="of the first site; the others follow")
    arms: tuple[ArmName, ...] = Field(default=ARMS, min_length=1, description="ways of control to compare")
    stock: Stock = Field(default=Stock(), description="bins and what lies in them")
    errors: Errors = Field(default=Errors(), description="how truth leaves the record")
    people: People = Field(default=People(), description="those who count")
    robots: Robots = Field(default=Robots(), description="who photographs")
    money: Money = Field(default=Money(), description="what things cost")
    promised_escape: float = Field(
        default=0.05, gt=0.0, lt=1.0, description="share of wrong records among the accepted, at most"
    )

    @classmethod
    def asked(cls, path: Path | None, values: Mapping[str, Any]) -> Self:
        """The settings of a TOML file (None: the defaults), some of them replaced by `values`.

        Raises:
            ConfigError: no such file, an unknown key or a value out of range.
        """
        held = {} if path is None else cls.from_toml(path).model_dump(exclude_unset=True)
        return cls.of({**held, **values}, where="" if path is None else str(path))

    @property
    def counts_per_day(self) -> float:
        """Counts the site's people have time for."""
        return self.people.counts_per_100_bins * self.bins / 100

    @property
    def rounds_per_day(self) -> float:
        """Photos of bins that nobody touched."""
        return self.robots.rounds_per_100_bins * self.bins / 100
