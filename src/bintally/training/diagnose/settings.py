"""How a recipe has its training watched."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from bintally.config import Config
from bintally.errors import ConfigError


class DiagnoseSettings(Config):
    """Which rules watch a training, and what happens when one finds something."""

    rules: Literal["default", "all", "none"] | tuple[str, ...] = Field(
        default="default", description="'default', 'all' that need no parameter, 'none', or a list of names."
    )
    action: Literal["notify", "stop"] = Field(
        default="notify", description="stop: the first finding ends the training, after a last look at val."
    )
    every: int | None = Field(
        default=None,
        ge=1,
        description="Look at every so many steps; default: the first 20, every 10th, and fewer if that costs over 3%.",
    )
    parameters: dict[str, dict[str, Any]] = Field(
        default={}, description="By rule, e.g. [diagnose.parameters.Overfit] ratio_threshold = 0.2."
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.parameters or not isinstance(self.rules, str):
            from bintally.training.diagnose.rules import check

            try:
                check(self.rules, self.parameters)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self
