"""Several processes on one or more machines that train one network together, started and watched over by torchrun.

A process that dies takes the others with it; torchrun starts all of them again where `restarts` says so, and a training
goes on from its last checkpoint.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from bintally import errors
from bintally.config import Config
from bintally.errors import BintallyError, ConfigError, TrainingError
from bintally.progress import Progress, Task

_ERRORS: Final = "BINTALLY_TRAINING_ERRORS"  # the folder where a process says what went wrong
_OWN_STORE: Final = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Processes that are started again must not meet where those before them did (pytorch/pytorch#135712)."""
_SHOWN_LINES: Final = 40
GO_ON: Final = "Run the same command again to go on from the last checkpoint."


On = Annotated[
    str,
    Field(
        pattern=r"^$|^ray$|^ray://[^/ ]+:\d+$",
        description="'ray': a Ray cluster ($RAY_ADDRESS, or one on this machine); ray://host:port: that one.",
    ),
]


class Processes(Config):
    """How many processes train together, and where."""

    devices: int = Field(default=1, ge=1, le=256, description="Processes on each machine: one a GPU, or on its CPU.")
    nodes: int = Field(default=1, ge=1, le=4096, description="Machines; the command runs on each of them.")
    node: int = Field(default=0, ge=0, description="Which of the machines this is, from 0.")
    meet: str = Field(
        default="",
        pattern=r"^$|^[^/ ]+:\d+$",
        description="host:port of machine 0, where they meet; the data and run folders must be shared.",
    )
    on: On = ""
    restarts: int = Field(default=0, ge=0, description="How often to start again where a process died.")

    @property
    def total(self) -> int:
        """All processes."""
        return self.devices * self.nodes


def launch(module: str, config: Config, processes: Processes, progress: Progress) -> None:
    """Runs `python -m MODULE CONFIG.json` as so many processes, and waits until all are done.

    Raises:
        BintallyError: what a process raised.
        TrainingError: one died without a word.
        ConfigError: several machines, and no place to meet.
    """
    torchrun = _torchrun(processes)
    with tempfile.TemporaryDirectory(prefix="bintally-") as name:
        folder = Path(name)
        (folder / "config.json").write_text(config.model_dump_json())
        with (
            (folder / "stderr").open("wb") as stderr,
            subprocess.Popen(  # noqa: S603 - this very Python
                [*torchrun, "-m", module, str(folder / "config.json")],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **_OWN_STORE, _ERRORS: name},
                text=True,
            ) as child,
        ):
            try:
                _relay(child, progress)
                failed = child.wait()
            except BaseException:
                child.terminate()  # torchrun ends its processes
                raise
        if failed:
            raise _what_went_wrong(folder)


def _torchrun(processes: Processes) -> list[str]:
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        f"--nproc-per-node={processes.devices}",
        f"--max-restarts={processes.restarts}",
    ]
    if processes.nodes == 1:
        return [*command, "--standalone"]
    host, _, port = processes.meet.rpartition(":")
    if not host:
        raise ConfigError(
            f"{processes.nodes} machines have to meet somewhere.", hint="Name machine 0 on all: --meet HOST:PORT."
        )
    where = [f"--nnodes={processes.nodes}", f"--node-rank={processes.node}", f"--master-addr={host}"]
    return [*command, *where, f"--master-port={port}"]


def _what_went_wrong(folder: Path) -> BintallyError:
    words = list(folder.glob("error-*.json"))
    last_start = max((word.name.split("-")[1] for word in words), default="")
    own = [word for word in words if word.name.split("-")[1] == last_start]
    for said in sorted(own, key=lambda word: word.stat().st_mtime_ns):  # the first: the others follow from it
        return as_error(said.read_text())
    lines = (folder / "stderr").read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
    return TrainingError("A process died: " + "\n".join(lines), hint=GO_ON)


def _relay(child: "subprocess.Popen[str]", progress: Progress) -> None:
    """Shows what the first process says of its progress; what else is printed there is passed by."""
    assert child.stdout is not None  # noqa: S101 - a pipe, as asked above
    with shown_here(progress) as show:
        for line in child.stdout:
            if line.startswith("{"):
                show(json.loads(line))


@contextmanager
def shown_here(progress: Progress) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Shows on `progress` what another process tells of its own (`Told`)."""
    bars: dict[int, ExitStack] = {}
    tasks: dict[int, Task] = {}

    def show(event: dict[str, Any]) -> None:
        match event:
            case {"say": text}:
                progress.say(text)
            case {"task": number, "label": label, "total": total, "unit": unit}:
                bars.pop(number, ExitStack()).close()  # of processes that have been started again
                bars[number] = ExitStack()
                tasks[number] = bars[number].enter_context(progress.task(label, total=total, unit=unit))
            case {"task": number, "advance": amount}:
                tasks[number].advance(amount)
            case {"task": number, "note": text}:
                tasks[number].note(text)
            case {"task": number, "done": True}:
                bars.pop(number).close()

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()


Tell = Callable[[dict[str, Any]], None]


class Told:
    """Progress, told event by event to the process that started this one."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._tasks = 0

    @contextmanager
    def task(self, label: str, *, total: int | None, unit: str = "") -> Iterator[Task]:
        """A bar over there."""
        self._tasks += 1
        number = self._tasks
        self._tell({"task": number, "label": label, "total": total, "unit": unit})
        yield _ToldTask(number, self._tell)
        self._tell({"task": number, "done": True})

    def say(self, text: str) -> None:
        """A line over there."""
        self._tell({"say": text})


class _ToldTask:
    def __init__(self, number: int, tell: Tell) -> None:
        self._number, self._tell = number, tell

    def advance(self, amount: int = 1) -> None:
        self._tell({"task": self._number, "advance": amount})

    def note(self, text: str) -> None:
        self._tell({"task": self._number, "note": text})


def _to_stdout(event: dict[str, Any]) -> None:
    """One line of JSON to whoever started this process; ends this process where nobody listens any more."""
    try:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)


def as_one_of_several(work: Callable[[dict[str, Any], Progress], None]) -> None:
    """What a started process does: `work(config, progress)`; errors of ours go back to where it was started."""
    values = json.loads(Path(sys.argv[1]).read_text())
    try:
        work(values, Told(_to_stdout))
    except BintallyError as error:
        _leave_word(error)
        sys.exit(error.exit_code)
    except Exception:
        _leave_word(TrainingError(f"A process failed:\n{traceback.format_exc()}", hint=GO_ON))
        sys.exit(TrainingError.exit_code)


def as_text(error: BintallyError) -> str:
    """An error of ours on its way to another process."""
    return json.dumps([type(error).__name__, error.message, error.hint])


def as_error(text: str) -> BintallyError:
    """What `as_text` was given.

    Raises:
        ValueError: the text is something else.
    """
    try:
        kind, message, hint = json.loads(text)
        told: BintallyError = getattr(errors, kind)(message, hint=hint)
    except (AttributeError, TypeError) as error:
        raise ValueError(text) from error
    return told


def _leave_word(error: BintallyError) -> None:
    start, rank = (int(os.environ.get(name, "0")) for name in ("TORCHELASTIC_RESTART_COUNT", "RANK"))
    word = Path(os.environ[_ERRORS], f"error-{start:04d}-{rank}.json")
    word.write_text(as_text(error))
