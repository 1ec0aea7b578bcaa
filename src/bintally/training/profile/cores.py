"""Cores that this process may use."""

import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")


def usable_cores() -> float:
    """Cores this process may use: those it is bound to, or the quota of its group where that is less."""
    limit = quota()
    cores = float(len(allowed_cores()))
    return cores if limit is None else min(cores, limit)


def allowed_cores() -> list[int]:
    """The numbers of those it is bound to."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def quota() -> float | None:
    """Cores that a container's limit comes to, cgroup v2's `cpu.max`; None where there is no limit."""
    try:
        granted, period = (CGROUP / "cpu.max").read_text().split()
        return int(granted) / int(period)
    except (OSError, ValueError):  # no such file, or "max 100000"
        return None
