"""Files that are mapped into memory have their room on the disk from the start.

A write into a hole of such a file, where the disk is full, is no error but a signal (SIGBUS) that kills the process.
"""

import os
import sys
from pathlib import Path
from typing import Final

from bintally.artifacts import storage_errors

METRICS_BYTES: Final = 2**16
"""Of each file that prometheus-client writes; it would make them as long, with a hole."""

_METRICS: Final = ("counter", "histogram", "gauge_livesum", "gauge_livemax")


def reserve(file: int, size: int) -> None:
    """Makes an open file at least `size` bytes long; what it holds stays.

    Raises:
        OSError: there is no room.
    """
    if sys.platform == "linux":
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)


def reserve_metrics(folder: Path) -> None:
    """Makes the files in which this process will count for all workers (prometheus-client's multiprocess mode).

    Raises:
        StorageError: there is no room.
    """
    with storage_errors(folder):
        for kind in _METRICS:
            with (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
                reserve(file.fileno(), METRICS_BYTES)
