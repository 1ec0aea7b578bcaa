"""What is asked of a reconciliation."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from bintally.config import Config


class ReconcileConfig(Config):
    """Where records and photos are, what is promised, and where the answers go."""

    photos: tuple[str, ...] = Field(default=(), description="photos, folders or patterns to count first")
    pairs: Path | None = Field(default=None, description="a CSV of photos and earlier ones to count first")
    counts: Path | None = Field(default=None, description="a file of counts")
    records: Path = Field(description="a file or folder of stock records")
    bins: Path | None = Field(default=None, description="a table photo, bin[, taken_at]")
    bundle: Path | None = Field(default=None, description="the model that counts or counted; none: the default")
    policy: Path | None = Field(default=None, description="a TOML file of the policy's settings")
    promise: float | None = Field(default=None, gt=0.0, lt=1.0, description="promised_escape, in the policy's place")
    out: tuple[Path, ...] = Field(default=(), description="files to write, by suffix")
    force: bool = Field(default=False, description="do it again though nothing changed")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(map(bool, (self.photos, self.pairs, self.counts))) != 1:
            raise ValueError("give either photos, pairs or counts")
        if len({path.resolve() for path in self.out}) < len(self.out):
            raise ValueError("a file to write is named twice")
        read = {path.resolve() for path in (self.records, self.counts, self.pairs, self.bins, self.policy) if path}
        if both := [path for path in self.out if path.resolve() in read]:
            raise ValueError(f"{both[0]} is read, so it is not written over")
        return self

    @property
    def source(self) -> str:
        """What was looked at, in a few words."""
        return ", ".join(self.photos) if self.photos else str(self.pairs or self.counts)
