"""What several tests share: where the optional real photos are, how a command is run, and a database server."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server: here, so that there is one, and not one for each folder that wants it."""
    from tests.databases import postgresql_server

    with postgresql_server() as url:
        yield url


def run_cli(
    *arguments: str | Path, timeout: float = 120, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `bintally ARGUMENTS` as a process of its own and returns what it printed.

    Its start takes a second or more: `run_here`, where no signal, kill, import or terminal is tested.
    """
    return subprocess.run(
        [sys.executable, "-m", "bintally", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )


def run_here(
    *arguments: str | Path, env: dict[str, str] | None = None, typed: str | bytes = ""
) -> subprocess.CompletedProcess[str]:
    """Runs `bintally ARGUMENTS` in this process, `typed` on its stdin, and returns what it printed."""
    from bintally.cli import main

    told = typed if isinstance(typed, bytes) else typed.encode()
    command, code = ["bintally", *map(str, arguments)], 0
    with pytest.MonkeyPatch.context() as patch, TemporaryFile() as out, TemporaryFile() as err:
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(told)))
        patch.setattr(sys, "excepthook", sys.excepthook)  # typer sets one
        with _written_to("stdout", out, patch), _written_to("stderr", err, patch):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(command, code, _text(out), _text(err))


@contextmanager
def _written_to(name: str, file: IO[bytes], patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is written to stdout or stderr goes to a file, also what compiled code and children write."""
    number = {"stdout": 1, "stderr": 2}[name]
    before = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        with open(number, "w", encoding="utf-8", closefd=False) as stream:
            patch.setattr(sys, name, stream)
            yield
    finally:
        os.dup2(before, number)
        os.close(before)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


# A first example pays for imports and a busy machine is slow: time limits on single examples only make tests flaky.
settings.register_profile("bintally", deadline=None)
settings.load_profile("bintally")
