"""Paths and environment, read when asked for; importing this creates and reads nothing."""

import os
from pathlib import Path

from bintally.errors import UsageError

BUNDLED_CHAMPION = Path(__file__).parent / "champion"
"""The bundle that ships with the package, trained on real photos (CC BY-NC-SA 3.0: non-commercial)."""

BUNDLED = {"champion": BUNDLED_CHAMPION, "fast": Path(__file__).parent / "fast"}
"""Bundles that may be called by a name; `fast` gives up a little accuracy for several times the photos a second."""


def champion_folder() -> Path:
    """The bundle `bintally count` uses when none is named: $BINTALLY_BUNDLE (a folder or a name), else the champion."""
    return Path(os.environ.get("BINTALLY_BUNDLE") or BUNDLED_CHAMPION)


def weights_folders() -> list[Path]:
    """Where pretrained backbones are looked for before the hub: the folders of $BINTALLY_WEIGHTS (like PATH)."""
    return [Path(part) for part in os.environ.get("BINTALLY_WEIGHTS", "").split(os.pathsep) if part]


def cache_folder() -> Path:
    """Where what can be made again is kept: $BINTALLY_CACHE, else bintally's folder in the user's cache."""
    if named := os.environ.get("BINTALLY_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bintally"


def state_folder() -> Path:
    """What outlives a process: $BINTALLY_STATE, else bintally's folder in the user's state ($XDG_STATE_HOME)."""
    if named := os.environ.get("BINTALLY_STATE"):
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bintally"


def ledger_place(named: str | None = None) -> str:
    """Where the ledger is: `named`, else $BINTALLY_LEDGER.

    Raises:
        UsageError: neither says so.
    """
    return _told(named, "BINTALLY_LEDGER", "Which ledger?", "--ledger PLACE")


def acting_person(named: str | None = None) -> str:
    """Who acts, by the name the ledger knows: `named`, else $BINTALLY_AS.

    Raises:
        UsageError: neither says so.
    """
    return _told(named, "BINTALLY_AS", "Who does this?", "--as NAME")


def _told(named: str | None, variable: str, question: str, option: str) -> str:
    told = named or os.environ.get(variable)
    if not told:
        raise UsageError(question, hint=f"Say it with {option} or ${variable}.")
    return told


def cpu_count() -> int:
    """Cores this process may use: $OMP_NUM_THREADS, else `taskset`'s limit, else the machine's."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> int:
    """Bytes of memory that can be used without pushing anything out; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
