"""The section `[retention]` of registry.toml."""

from pydantic import Field

from bintally.config import Config


class RetentionSettings(Config):
    """Which versions stay that nobody needs just now; one reason suffices."""

    newest: int = Field(default=10, ge=1, description="So many of each model that were registered last.")
    days: int = Field(default=30, ge=0, description="Those that were registered in so many days.")
    champions: int | None = Field(
        default=None,
        ge=1,
        description="Those that so many rollbacks, one after the other, would go to; default: all that ever served.",
    )
    predictions_days: int = Field(
        default=30, ge=1, description="What a version said of frozen photos; it can be counted again."
    )
    pairs_days: int = Field(default=90, ge=1, description="Pairs of a shadow that has ended, after its last pair.")
