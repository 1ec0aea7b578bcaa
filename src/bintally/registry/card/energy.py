"""What a training cost in electricity and carbon: an estimate from what was assumed, or nothing.

Energy = training time x power, emissions = energy x carbon intensity, as in Lacoste et al. 2019, "Quantifying the
Carbon Emissions of Machine Learning" (https://arxiv.org/abs/1910.09700). Only the training's own time counts: not
fetching, exporting or judging, and no training that was tried before.
"""

from typing import Final

from bintally.registry.card.settings import CardSettings
from bintally.registry.card.told import Energy

_J_PER_KWH: Final = 3.6e6


def estimate(seconds: float | None, settings: CardSettings) -> Energy:
    """The estimate for a training of so many seconds; what is not known stays unknown."""
    power, carbon = settings.power_w, settings.carbon_g_per_kwh
    kwh = None if seconds is None or power is None else seconds * power / _J_PER_KWH
    co2_g = None if kwh is None or carbon is None else kwh * carbon
    return Energy(power_w=power, carbon_g_per_kwh=carbon, kwh=kwh, co2_g=co2_g)
