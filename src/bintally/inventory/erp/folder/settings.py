"""Settings of a folder."""

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from bintally.config import Config


class FolderSettings(Config):
    """Where files are dropped, and what kind of files."""

    path: Path
    """The folder, with another one called `adjustments` in it. Neither is ever made: a share may not be mounted."""

    format: Literal["csv", "parquet"] = "csv"
    """Of the files that are dropped."""

    reads_stock: bool = False
    """Whether the newest complete file in `stock` says what is in the bins; corrections are then held against it."""

    formulas: bool = False
    """CSV only: whether texts may be written that a spreadsheet would take for formulas, since none reads the files."""

    @field_validator("path")
    @classmethod
    def _is_whole(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError("no absolute path, and postings may be sent from anywhere")
        return path
