"""What only people know and a card should tell: section [card] of registry.toml."""

from pydantic import Field

from bintally.config import Config


class CardSettings(Config):
    """What model cards tell beside what was measured."""

    contact: str | None = Field(default=None, description="Who answers questions about the models.")
    power_w: float | None = Field(
        default=None, gt=0, le=1e6, description="What the machine that trains draws, in watts: assumed, not measured."
    )
    carbon_g_per_kwh: float | None = Field(
        default=None, ge=0, le=5000, description="What its electricity emits, in g of CO2 equivalent a kWh."
    )
