"""What a search is asked for, and what came out of it."""

from pathlib import Path
from typing import Final

import msgspec
from pydantic import Field

from bintally.bundle import Figure, SplitMetrics
from bintally.config import Config
from bintally.training.launch import On
from bintally.training.tune.search_leaderboard import LeaderRow
from bintally.training.tune.search_presets import PresetName
from bintally.training.tune.search_state import LeftOut, Spent

REPORT: Final = "report.json"


class SearchConfig(Config):
    """What `search` is asked for."""

    data: Path = Field(description="A data folder with a split.")
    out: Path = Field(description="Where trials, leaderboard and bundle go.")
    minutes: float = Field(gt=0, le=60 * 24 * 14, description="The whole budget, export included.")
    preset: PresetName = "balanced"
    backbones: tuple[str, ...] = Field(default=(), description="In place of the preset's: NAME, or NAME:STAGES.")
    parallel: int = Field(default=1, ge=1, le=64, description="Trials at a time, which share the threads.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default: all there are.")
    start_s: float = Field(default=10.0, ge=0, description="A trial's start, until it is measured: process, network.")
    on: On = ""
    test: bool = Field(default=False, description="Judge the winner on test, once, at the very end.")
    fresh: bool = Field(default=False, description="Start again, whatever OUT holds.")


class SearchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a search. Figures on val are optimistic for the winner, which was chosen by them."""

    out: str
    bundle: str
    preset: str
    minutes: float
    used_minutes: float
    winner: tuple[str, ...]
    """Its networks: one, or those of an ensemble, as the leaderboard names them."""
    ensemble_gain: Figure | None
    """Log loss that answering together saves, cross-fitted; None where one network was selected."""
    rows: tuple[LeaderRow, ...]
    blind: dict[str, float]
    val: SplitMetrics
    """Of the bundle, through the path that serves."""
    test: SplitMetrics | None
    left_out: tuple[LeftOut, ...]
    spent: tuple[Spent, ...]


def read_report(out: Path) -> SearchReport | None:
    """The report of a search that ended; None where there is none, or of an older version."""
    try:
        return msgspec.json.decode((out / REPORT).read_bytes(), type=SearchReport)
    except (OSError, msgspec.DecodeError):
        return None
