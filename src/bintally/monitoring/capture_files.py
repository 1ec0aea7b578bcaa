"""Where captures lie: `FOLDER/yyyy/mm/dd/hh/*.jsonl`, hours in UTC, each file written by one process.

A process holds a lock (`flock`) on the file it writes, which the system takes from it however it ends. So whoever
tidies up can tell what is still being written from what a killed process left.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

SUFFIX: Final = ".jsonl"


def hour_folder(folder: Path, moment_s: float) -> Path:
    """Where captures of that Unix time lie."""
    return folder / f"{datetime.fromtimestamp(moment_s, UTC):%Y/%m/%d/%H}"


def capture_files(folder: Path) -> list[Path]:
    """All files of captures below `folder`, those of earlier hours first."""
    # Not `rglob`, which fails where a folder goes meanwhile.
    return sorted(Path(at) / name for at, _, names in os.walk(folder) for name in names if name.endswith(SUFFIX))
