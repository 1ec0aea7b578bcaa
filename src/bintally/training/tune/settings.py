"""The `[tune]` section of a recipe: which of its keys are tried with which values, how they are chosen and judged.

    [tune.space]
    "optimizer.head_lr" = { low = 1e-4, high = 1e-1, log = true }
    "loop.batch_size" = { choices = [32, 64, 128] }
    "network.stages" = { low = 2, high = 4 }

No part of Optuna is needed to read this.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from bintally.config import Config

Objective = Literal["log_loss", "accuracy", "rmse", "accuracy_latency"]
Value = str | bool | int | float


class Parameter(Config):
    """The values that one key of the recipe may take: a range, or choices."""

    low: int | float | None = Field(default=None, description="Smallest value.")
    high: int | float | None = Field(default=None, description="Largest value; it may be taken itself.")
    log: bool = Field(default=False, description="As likely between 0.001 and 0.01 as between 0.01 and 0.1.")
    step: int | float | None = Field(default=None, gt=0, description="Only low, low + step, ...; default: any value.")
    type: Literal["int", "float"] | None = Field(default=None, description="Default: what the recipe's key holds.")
    choices: tuple[Value, ...] = Field(default=(), description="These values, in no order.")

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> Self:
        if self.choices:
            others = [name for name in ("low", "high", "step", "type") if getattr(self, name) is not None]
            if others or self.log:
                raise ValueError(f"choices stand alone, without {', '.join(others or ['log'])}")
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ValueError("a choice is named twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0, and no step")
        return self


class TuneSettings(Config):
    """How many trials, of what, and which is best. What is judged is the kept epoch of each, on val."""

    trials: int = Field(default=20, ge=1, le=100_000, description="Trainings, those of earlier starts included.")
    objective: Objective = Field(
        default="log_loss",
        description="What is to be best on val; accuracy_latency: accuracy and the time of a forward pass, where "
        "trials that none beats in both make the front.",
    )
    sampler: Literal["tpe", "random", "grid"] = Field(
        default="tpe",
        description="'tpe' learns where good values lie (Bergstra et al. 2011), 'random' does not, 'grid' tries every "
        "combination once.",
    )
    random_trials: int = Field(default=10, ge=0, description="So many are drawn at random before 'tpe' has its say.")
    pruner: Literal["none", "median", "asha"] = Field(
        default="none",
        description="Which trials end early: 'median', those worse than the median of the others at that epoch "
        "(Golovin et al. 2017); 'asha', all but the best 1/reduction at epochs that grow by reduction "
        "(Li et al. 2020, arXiv:1810.05934).",
    )
    prune_after_trials: int = Field(default=4, ge=0, description="'median': so many are trained to their end first.")
    prune_after_epochs: int = Field(default=1, ge=1, description="No trial is pruned before it has so many epochs.")
    reduction: int = Field(default=3, ge=2, description="'asha': one in so many goes on.")
    parallel: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Trials at a time, each in a process with its part of the cores. With 1, the same seed tries the "
        "same values; with more, what is tried depends on which trial ends first.",
    )
    seed: int = Field(default=0, ge=0, description="Of what is tried; each training keeps the recipe's own.")
    space: dict[str, Parameter] = Field(default={}, description="Dotted keys of this recipe, and what they may be.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.objective == "accuracy_latency" and self.pruner != "none":
            raise ValueError("objective = 'accuracy_latency' needs pruner = 'none': of two aims no epoch is the worse")
        if self.sampler == "grid":
            endless = [key for key, values in self.space.items() if not values.choices and values.step is None]
            if endless:
                raise ValueError(f"sampler = 'grid' needs choices or a step for {', '.join(endless)}")
        return self
