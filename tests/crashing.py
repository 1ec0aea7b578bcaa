"""A process that can be killed anywhere, again and again, and started again at once: it forks for each task.

    child = Child(PROGRAM, folder)
    confirmed, last = child.ask({"start": 0, ...})

PROGRAM calls `fork_for_each(work)`; `work` does steps one after the other from the task's "start" on and appends to the
file "said" the number of each that is done, then whatever else it has to say.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


class Child:
    """A program that forks for each task, ready."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._said = folder / "said"
        self._process = subprocess.Popen(
            [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, task: dict[str, Any], *, after_s: float | None = None) -> tuple[int, str]:
        """The first step that is not confirmed after a run that may have been killed, and its last line.

        `after_s`: kill it so long after its start.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._said.unlink(missing_ok=True)
        print(json.dumps(task | {"said": str(self._said)}), file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        if after_s is not None:
            time.sleep(after_s)
            with suppress(ProcessLookupError):  # done before
                os.kill(pid, signal.SIGKILL)
        assert int(self._process.stdout.readline()) in (0, -signal.SIGKILL)
        said = self._said.read_text().splitlines() if self._said.exists() else []
        steps = [int(line) for line in said if line.isdigit()]
        start = int(task["start"])
        assert steps == list(range(start, start + len(steps)))
        return start + len(steps), said[-1] if said else ""

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def fork_for_each(work: Callable[[dict[str, Any]], None]) -> None:
    """Reads a task a line (JSON) and forks for it, so that nobody waits for imports.

    Tells the fork's process id, and how it ended.
    """
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                work(json.loads(line))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _tell(pid)
        _tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def die() -> None:
    """kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def _tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
