"""What of a training is profiled."""

from typing import Literal

from pydantic import Field

from bintally.config import Config


class ProfileSettings(Config):
    """What a training writes down of its own time, and how rules judge it. None of it decides weights."""

    steps: bool = Field(default=True, description="Each step's time by phase, its loss and its rate.")
    system_s: float = Field(
        default=0.5, ge=0, description="Look at processor, memory, disk and GPU so often, in seconds; 0: never."
    )
    operators: bool = Field(
        default=False, description="Record a few steps' operators: a table and a trace for Perfetto."
    )
    defaults: Literal["code", "guide"] = Field(
        default="code",
        description="The rules' parameters: as SageMaker's smdebug_rulesconfig 1.0 has them, or as its guide says.",
    )
    parameters: dict[str, dict[str, float | str]] = Field(
        default_factory=dict, description="Other values, by rule and parameter: [profile.parameters.StepOutlier]."
    )
