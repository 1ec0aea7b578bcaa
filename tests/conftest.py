"""What several tests share: where the optional real photos are, and how a command is run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Tests run side by side: two processes whose threads wait for each other on the same cores crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whoever runs the tests may have a tracking server of their own, and nobody far away is to be told of them.
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

# A shell's background job starts with Ctrl-C ignored, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


def shared_dir(part: str) -> Path:
    """A part of the optional real data beside the checkout; skips the test where it is not there."""
    path = SHARED / part
    if not path.exists():
        pytest.skip(f"needs real photos or weights in ../shared/{part}, which are not part of the project")
    return path


def run_cli(
    *arguments: str | Path, timeout: float = 120, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `bintally ARGUMENTS` as a process of its own and returns what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "bintally", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )


# A first example pays for imports and a busy machine is slow: time limits on single examples only make tests flaky.
settings.register_profile("bintally", deadline=None)
settings.load_profile("bintally")
