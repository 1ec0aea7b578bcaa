"""The machine a training runs on: `RUN/log/environment.json`."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from bintally.artifacts import write_json
from bintally.records import to_plain
from bintally.training.profile.cores import usable_cores
from bintally.training.run_log import ENVIRONMENT, LOG

_PACKAGES = ("bintally", "torch", "lightning", "timm", "numpy", "torchvision")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What a session of a training ran on."""

    started_at: float
    """When the session began, Unix time: before any data was read."""
    processor: str
    cores: float
    """How many this process may use."""
    threads: int
    """That compute."""
    loader_processes: int
    processes: int = 1
    """That train together."""
    memory_gb: float
    gpus: tuple[str, ...]
    system: str
    python: str
    versions: dict[str, str]


def environment(*, started_at: float, threads: int, loader_processes: int, processes: int = 1) -> Environment:
    """This machine, now."""
    import torch

    return Environment(
        started_at=started_at,
        processor=_processor(),
        cores=usable_cores(),
        threads=threads,
        loader_processes=loader_processes,
        processes=processes,
        memory_gb=round(_memory() / 2**30, 1),
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())),
        system=platform.platform(),
        python=sys.version.split()[0],
        versions={name: found for name in _PACKAGES if (found := _version(name))},
    )


def _memory() -> int:
    """Bytes of memory; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def write_environment(run: Path, found: Environment) -> None:
    """Leaves it in a run folder; a later session's takes its place."""
    write_json(run / LOG / ENVIRONMENT, to_plain(found))


def read_environment(run: Path) -> Environment | None:
    """The last session's, if the run folder has one."""
    try:
        return msgspec.json.decode((run / LOG / ENVIRONMENT).read_bytes(), type=Environment)
    except (OSError, msgspec.DecodeError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
