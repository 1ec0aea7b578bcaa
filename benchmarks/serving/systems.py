"""The systems side by side: ours as it starts by default, each rival in the tunings its documentation offers."""

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil
from benchmarks.serving.client import Connection, request_of
from benchmarks.serving.venvs import REPOSITORY, RIVALS, venv_of

from bintally.settings import cpu_count

READY_S: Final = 120.0
MAX_BATCH: Final = 8
_ENDING_S: Final = 20.0


@dataclass(frozen=True)
class System:
    """One server: how it is started, and how it wants its photos."""

    name: str
    rival: str  # the folder of `rivals`, and so the virtual environment; "": ours
    command: tuple[str, ...]  # {port} and {bundle} are filled in
    threads: int  # of an inference while one photo is under way: what its like of a bare loop has
    path: str = "/predict"
    part: str = ""  # the name of a multipart form's part; "": the photo is the body
    environment: Mapping[str, str] = field(default_factory=dict)
    python: Path | None = None  # None: of its own virtual environment
    port: int = 0  # 0: a free one

    @property
    def is_ours(self) -> bool:
        """Whether it is bintally."""
        return not self.rival

    def requests(self, photos: Sequence[bytes], port: int) -> list[bytes]:
        """Requests with these photos."""
        return [request_of(self.path, photo, port, part=self.part) for photo in photos]


@dataclass(frozen=True)
class Running:
    """A system that answers."""

    system: System
    port: int
    process: "subprocess.Popen[bytes]"
    started_s: float

    def cpu_s(self) -> float:
        """CPU seconds that its processes have taken so far; those that have ended are left out."""
        return sum(sum(each.cpu_times()[:2]) for each in self._family())

    def memory_bytes(self) -> int:
        """What its processes hold; a page that several share is shared out among them."""
        return int(sum(each.memory_full_info().pss for each in self._family()))

    def named(self, name: str) -> int:
        """How many of its processes are called so."""
        return sum(any(name in word for word in each.cmdline()) for each in self._family())

    def _family(self) -> Iterator[psutil.Process]:
        for each in (psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)):
            try:
                each.cpu_times()
            except psutil.Error:
                continue
            yield each


def systems(*, ours: Sequence[str]) -> list[System]:
    """All of them. `ours`: arguments of `bintally serve`, each a system of its own."""
    cores = cpu_count()
    ours_all = [
        System(
            f"bintally{f' ({arguments})' if arguments else ''}",
            "",
            ("{python}", "-m", "bintally", "serve", "{bundle}", "--port", "{port}", *shlex.split(arguments)),
            threads=_threads(arguments, cores),
            path="/v1/counts",
            environment={"BINTALLY_STATE": "{scratch}"},
        )
        for arguments in ours
    ]
    fast = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    server, bentoml = ("{python}", "server.py"), ("{bin}/bentoml", "serve", "server:Counting", "--port", "{port}")
    workers, batches = f"{cores} workers", f"batches of up to {MAX_BATCH}"
    alone, together = _tuning(cores, 1, 1), _tuning(1, cores, MAX_BATCH)
    return [
        *ours_all,
        System(f"FastAPI ({workers})", "fastapi_ort", server, 1, environment=alone),
        System(f"LitServe ({workers})", "litserve_ort", server, 1, environment=alone),
        System(f"LitServe ({batches})", "litserve_ort", server, cores, environment=together),
        System(f"BentoML ({workers})", "bentoml_ort", bentoml, 1, environment=alone),
        System(f"BentoML ({batches})", "bentoml_ort", bentoml, cores, environment=together, part="images"),
        System(f"Ray Serve ({workers})", "ray_serve_ort", server, 1, environment=alone | fast),
        System(f"Ray Serve ({batches})", "ray_serve_ort", server, cores, environment=together | fast),
    ]


@contextmanager
def running(system: System, *, bundle: str, photos: Sequence[bytes]) -> Iterator[Running]:
    """A system, started for this and ended after it, that has counted `photos` as it should."""
    port = system.port or free_port()
    started, folder = time.perf_counter(), RIVALS / system.rival if system.rival else REPOSITORY
    with TemporaryDirectory(prefix="bintally-bench-") as scratch, (Path(scratch) / "log").open("wb") as log:
        python = system.python or venv_of(system.rival)
        filled = {"python": python, "bin": python.parent, "port": port, "bundle": bundle, "scratch": scratch}
        process = subprocess.Popen(
            [word.format(**filled) for word in system.command],
            cwd=folder,
            env=_environment(system, filled),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(system, port, process, photos[0], Path(log.name))
            yield Running(system, port, process, time.perf_counter() - started)
        finally:
            _end(process)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def answer_of(running: Running, photo: bytes) -> dict[str, Any]:
    """A whole answer; to hold it against what is right."""
    connection = await Connection.to(running.port)
    [request] = running.system.requests([photo], running.port)
    status, body = await connection.ask(request)
    connection.close()
    if status != 200:
        raise RuntimeError(f"{running.system.name} answered {status}: {body[:300]!r}")
    told = json.loads(body)
    told = told[0] if isinstance(told, list) else told
    answer: dict[str, Any] = json.loads(told) if isinstance(told, str) else told
    return answer


def _tuning(workers: int, threads: int, max_batch: int) -> dict[str, str]:
    return {"WORKERS": str(workers), "THREADS": str(threads), "MAX_BATCH": str(max_batch)}


def _threads(arguments: str, cores: int) -> int:
    words = shlex.split(arguments)
    return int(words[words.index("--threads") + 1]) if "--threads" in words else cores


def _environment(system: System, filled: Mapping[str, Any]) -> dict[str, str]:
    """Rivals take bintally's decoding and network from the checkout; ours is installed in its environment."""
    own = {name: text.format(**filled) for name, text in system.environment.items()}
    ray = {"RAY_AUTH_MODE": "disabled", "BENTOML_DO_NOT_TRACK": "True"}
    rival = {"PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY / "src", REPOSITORY)))} if system.rival else {}
    return {**os.environ, **ray, **rival, "PORT": str(filled["port"]), "BUNDLE": str(filled["bundle"]), **own}


def _wait(system: System, port: int, process: "subprocess.Popen[bytes]", photo: bytes, log: Path) -> None:
    async def answers() -> bool:
        try:
            connection = await Connection.to(port)
        except OSError:
            return False
        status, _ = await connection.ask(system.requests([photo], port)[0])
        connection.close()
        return status == 200

    until = time.monotonic() + READY_S
    while not asyncio.run(answers()):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{system.name} does not answer. Its log ends with:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C, and what is left after that is killed."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(family, timeout=2)
    for each in left:
        each.kill()
