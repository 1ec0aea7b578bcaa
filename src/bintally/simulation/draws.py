"""All chance of a site, drawn before anything happens: whatever arm is simulated, the same luck strikes the same place.

Common random numbers (Law 2015, Simulation Modeling and Analysis, 11.2): arms differ by what they do, not by luck, so
that fewer sites tell them apart. Nothing here depends on what an arm does; what strikes where nothing is, misses.

Shapes: D days, S slots (a product in a bin), B bins, K chances a day.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bintally.inventory.policy.settings import AbcClass
from bintally.simulation.settings import SimulationSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PICKS: Final = 3
"""Most picks of a product in a day."""

PHOTOS: Final = 12
"""Most photos of a bin in a day that have chance of their own."""

CLASSES: Final[tuple[AbcClass, ...]] = ("A", "B", "C")

_CLASS_ENDS: Final = (0.8, 0.95)  # of value: A the first 80%, B the next 15%


@dataclass(frozen=True)
class Site:
    """What a site is made of. A slot is a product in its bin; each product lies in one bin."""

    bin_s: Ints
    par_s: Ints
    rate_s: Floats  # picks a day
    value_s: Floats  # of an item
    class_s: Ints  # of `CLASSES`
    truth_s: Ints  # items on day one
    record_s: Ints  # what the stock system says of them

    @property
    def slots(self) -> int:
        """Products."""
        return len(self.bin_s)

    @property
    def bins(self) -> int:
        """Bins."""
        return int(self.bin_s[-1]) + 1

    def abc_of(self, slot: int) -> AbcClass:
        """A product's class."""
        return CLASSES[int(self.class_s[slot])]

    @property
    def reorder_s(self) -> Ints:
        """[S] items at or below which a product is ordered again."""
        return (2 * self.par_s) // 3


@dataclass(frozen=True)
class Draws:
    """The site and its luck."""

    site: Site
    picks_ds: Ints
    pick_second_dsk: Ints  # of the day
    pick_many_dsk: Ints  # items
    pick_luck_dsk: Floats  # [0, 1): which error, if any
    pick_side_dsk: Floats  # [0, 1): which way it goes
    stow_second_ds: Ints
    stow_luck_ds: Floats
    stow_side_ds: Floats
    loss_ds: Floats
    count_luck_db: Floats
    count_side_db: Floats
    photo_dbk: Floats
    seen_dbk: Floats  # whether a photo is taken


def draw(settings: SimulationSettings, seed: int) -> Draws:
    """The site of a seed, and its luck on each of its days."""
    of_site, of_days, of_people, of_photos = (
        np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(4)
    )
    site = _site(settings, of_site)
    days, slots, bins = settings.days, site.slots, site.bins
    ds, dsk, dbk = (days, slots), (days, slots, PICKS), (days, bins, PHOTOS)
    return Draws(
        site=site,
        picks_ds=np.minimum(of_days.poisson(site.rate_s, ds), PICKS),
        pick_second_dsk=of_days.integers(8 * 3600, 18 * 3600, dsk),
        pick_many_dsk=1 + (of_days.random(dsk) < 0.15),
        pick_luck_dsk=of_days.random(dsk),
        pick_side_dsk=of_days.random(dsk),
        stow_second_ds=of_days.integers(8 * 3600, 18 * 3600, ds),
        stow_luck_ds=of_days.random(ds),
        stow_side_ds=of_days.random(ds),
        loss_ds=of_days.random(ds),
        count_luck_db=of_people.random((days, bins)),
        count_side_db=of_people.random((days, bins)),
        photo_dbk=of_photos.random(dbk),
        seen_dbk=of_photos.random(dbk),
    )


def _site(settings: SimulationSettings, chance: np.random.Generator) -> Site:
    stock = settings.stock
    products_b = 1 + (chance.random(settings.bins) < stock.two_products)
    bin_s = np.repeat(np.arange(settings.bins), products_b)
    slots = len(bin_s)
    rate_s = chance.lognormal(0.0, stock.spread, slots)
    rate_s = np.minimum(rate_s / rate_s.mean() * stock.picks_per_day, 4 * stock.picks_per_day)
    value_s = np.round(chance.lognormal(np.log(stock.unit_value), stock.value_spread, slots), 2)
    par_s = chance.integers(stock.least_par, stock.most_par, slots, endpoint=True)
    truth_s = np.maximum(np.ceil(par_s * chance.uniform(0.4, 1.0, slots)).astype(np.int64), 1)
    off_s = np.where(chance.random(slots) < 0.5, 1, -1)
    wrong_s = np.isin(bin_s, np.flatnonzero(chance.random(settings.bins) < stock.wrong_at_start))
    wrong_s &= np.r_[True, bin_s[1:] != bin_s[:-1]]  # one product of a wrong bin
    record_s = np.maximum(truth_s + np.where(wrong_s, off_s, 0), 0)
    return Site(bin_s, par_s, rate_s, np.maximum(value_s, 0.01), _classes(rate_s * value_s), truth_s, record_s)


def _classes(turnover_s: Floats) -> Ints:
    """A: the products with the top 80% of turnover; B: the next 15%; C."""
    order = np.argsort(-turnover_s, kind="stable")
    before = np.cumsum(turnover_s[order]) - turnover_s[order]
    place = np.searchsorted(np.array(_CLASS_ENDS) * turnover_s.sum(), before, side="right")
    class_s = np.empty(len(turnover_s), np.int64)
    class_s[order] = place
    return class_s
