"""What happened in each run, written down as it happens: `WORKSPACE/runs/ID/record.json`.

A record whose run is under way is that of whoever holds the workspace's lock; without one, the run was killed.
"""

import getpass
import os
import platform
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from bintally.artifacts import write_bytes

RUNS: Final = "runs"
RECORD: Final = "record.json"

StageStatus: TypeAlias = Literal["running", "done", "unchanged", "skipped", "failed", "stopped", "killed"]
"""unchanged: its last result still holds; skipped: there was nothing to do, or it was decided against."""

RunStatus: TypeAlias = Literal["running", "done", "failed", "stopped", "killed"]
"""stopped: by Ctrl-C; killed: without a word."""


class StageRecord(msgspec.Struct, kw_only=True):
    """One stage in one run. `inputs`, `outputs`: SHA-256 by path from the workspace; `said`: its result in a line."""

    stage: str
    status: StageStatus
    reason: str
    started: datetime
    seconds: float = 0.0
    said: str = ""
    inputs: dict[str, str] = {}
    settings: dict[str, Any] = {}
    code: str = ""
    outputs: dict[str, str] = {}
    error: str | None = None


class RunRecord(msgspec.Struct, kw_only=True):
    """One run. `promoted`: whether its version became the champion; None: nobody asked."""

    id: str
    recipe: str
    source: str
    by: str
    pid: int
    machine: str
    started: datetime
    status: RunStatus = "running"
    ended: datetime | None = None
    promoted: bool | None = None
    version: str | None = None
    error: str | None = None
    stages: list[StageRecord] = []

    @property
    def seconds(self) -> float:
        """How long it took, as far as it is known."""
        last = self.stages[-1] if self.stages else None
        if self.ended is not None:
            return (self.ended - self.started).total_seconds()
        return (last.started - self.started).total_seconds() + last.seconds if last else 0.0


def new_record(recipe: str, source: str, *, by: str) -> RunRecord:
    """A run that begins now. Ids sort by time."""
    started = datetime.now(UTC)
    return RunRecord(
        id=f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        recipe=recipe,
        source=source,
        by=by,
        pid=os.getpid(),
        machine=platform.node(),
        started=started,
        stages=[],
    )


def write_record(workspace: Path, record: RunRecord) -> None:
    """Writes what is known of a run by now.

    Raises:
        StorageError: disk full, or no permission.
    """
    data = msgspec.json.format(msgspec.json.encode(record), indent=2)
    write_bytes(workspace / RUNS / record.id / RECORD, data + b"\n")


def read_records(workspace: Path, *, last: int | None = None) -> list[RunRecord]:
    """The runs of a workspace, the newest first; what can't be read is left out."""
    folders = sorted((workspace / RUNS).glob(f"*/{RECORD}"), reverse=True)
    found = []
    for path in folders[:last]:
        with suppress(OSError, msgspec.DecodeError):
            found.append(msgspec.json.decode(path.read_bytes(), type=RunRecord))
    return found


def as_killed(record: RunRecord) -> RunRecord:
    """The record of a run that ended without a word."""
    for stage in record.stages:
        if stage.status == "running":
            stage.status = "killed"
    record.status = "killed"
    return record


def user_name() -> str:
    """Who is at work here, as the system calls them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's bare number
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "somebody"
