"""The machine under a training, looked at every half second by a thread of its own: `RUN/log/system.jsonl`."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from bintally.training.profile.cores import CGROUP, allowed_cores, quota, usable_cores
from bintally.training.profile.gpu import Gpus
from bintally.training.run_log import LOG, SYSTEM, Stream, SystemRow

_PRESSURE: Final = (CGROUP / "io.pressure", Path("/proc/pressure/io"))
_CHILDREN_EVERY_S: Final = 10.0  # finding them means reading about every process there is
_MB: Final = 1e6


class SystemSampler:
    """Writes a `SystemRow` every `every_s` seconds, from `start` to `stop`."""

    def __init__(self, run: Path, *, every_s: float) -> None:
        self._every_s = every_s
        self._stream: Stream[SystemRow] = Stream(run / LOG / SYSTEM)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bintally system sampler", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Waits until the last row is written."""
        self._done.set()
        self._thread.join()
        self._stream.close()

    def _run(self) -> None:
        machine = Machine()
        done = False
        while not done:  # a last look at the end, however short the training was
            done = self._done.wait(self._every_s)
            self._stream.write(machine.look())
            self._stream.flush()


class Machine:
    """What the machine does between two looks at it."""

    def __init__(self) -> None:
        self._cores = allowed_cores()
        self._capacity = usable_cores()
        self._me = psutil.Process()
        self._children: list[psutil.Process] = []
        self._children_at = -_CHILDREN_EVERY_S
        self._seen: dict[int, tuple[float, int, int]] = {}
        self._gpus = Gpus()
        self._io_s = _io_clock(self._cores)
        self._at = time.monotonic()
        self._busy_s = self._machine_busy_s()
        self._of_processes()

    def look(self) -> SystemRow:
        """The time since the last look."""
        now = time.monotonic()
        elapsed_s, self._at = max(now - self._at, 1e-9), now
        busy_s, self._busy_s = self._busy_s, self._machine_busy_s()
        io_s, io_before_s = None, None
        if self._io_s is not None:
            io_s, io_before_s = self._io_s()
        cpu_s, read, written, rss = self._of_processes()
        scale = 100 / (elapsed_s * self._capacity)
        return SystemRow(
            at=time.time(),
            cpu_percent=_percent((self._busy_s - busy_s) * scale),
            process_percent=_percent(cpu_s * scale),
            io_percent=None
            if io_s is None or io_before_s is None
            else _percent(100 * (io_s - io_before_s) / elapsed_s),
            read_mb_s=round(read / _MB / elapsed_s, 3),
            written_mb_s=round(written / _MB / elapsed_s, 3),
            rss_mb=round(rss / _MB, 1),
            memory_percent=float(psutil.virtual_memory().percent),
            gpu_percent=self._gpus.busy(),
            gpu_memory_percent=self._gpus.memory(),
        )

    def _machine_busy_s(self) -> float:
        """Seconds that the cores we may use have been busy, whoever used them; where there is a quota, our group's."""
        if quota() is not None:
            with suppress(OSError, ValueError, StopIteration):
                lines = (CGROUP / "cpu.stat").read_text().splitlines()
                return int(next(line for line in lines if line.startswith("usage_usec")).split()[1]) / 1e6
        every = psutil.cpu_times(percpu=True)
        return sum(_busy(every[core]) for core in self._cores if core < len(every))

    def _of_processes(self) -> tuple[float, int, int, int]:
        """Processor seconds, bytes read and written since the last look, and bytes held, of us and our children."""
        if time.monotonic() - self._children_at > _CHILDREN_EVERY_S:
            with suppress(psutil.Error):
                self._children = self._me.children(recursive=True)
            self._children_at = time.monotonic()
        cpu_s, read, written, rss = 0.0, 0, 0, 0
        for process in (self._me, *self._children):
            with suppress(psutil.Error, OSError):
                with process.oneshot():
                    spent, held = process.cpu_times(), process.memory_info().rss
                    disk = process.io_counters() if hasattr(process, "io_counters") else None
                now = (spent.user + spent.system, disk.read_bytes if disk else 0, disk.write_bytes if disk else 0)
                before = self._seen.get(process.pid, now)
                self._seen[process.pid] = now
                cpu_s, rss = cpu_s + now[0] - before[0], rss + held
                read, written = read + now[1] - before[1], written + now[2] - before[2]
        return cpu_s, read, written, rss


def _busy(times: object) -> float:
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _io_clock(cores: list[int]) -> Callable[[], tuple[float, float]] | None:
    """Tells for how many seconds something has waited for the disk: (now, when it was asked before).

    By Linux's pressure stall information (some task waits); without it, by the cores' idle time with a disk request
    under way, which a busy machine hides. None where neither is told.
    """
    pressure = next((path for path in _PRESSURE if _stalled_s(path) is not None), None)
    if pressure is not None:
        return _pairs(lambda: _stalled_s(pressure) or 0.0)
    if hasattr(psutil.cpu_times(), "iowait"):
        return _pairs(lambda: max(times.iowait for i, times in enumerate(psutil.cpu_times(percpu=True)) if i in cores))
    return None


def _stalled_s(pressure: Path) -> float | None:
    try:
        some = pressure.read_text().splitlines()[0]
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError, IndexError):
        return None


def _pairs(now: Callable[[], float]) -> Callable[[], tuple[float, float]]:
    before = now()

    def look() -> tuple[float, float]:
        nonlocal before
        earlier, before = before, now()
        return before, earlier

    return look


def _percent(value: float) -> float:
    return round(min(max(value, 0.0), 100.0), 1)
