"""Trials in processes of this machine: one that dies takes no other with it, and none outlives its parent."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from bintally.training.tune.messages import GO, STOP, End, Epoch, Message
from bintally.training.tune.trial import EpochSeen, TrialEnd, TrialSpec

TAIL_BYTES: Final = 4000
TAIL_LINES: Final = 8


class ProcessRunner:
    """Trains each trial in a child process, which a later trial takes over once it is idle.

    A child whose trial failed is not used again. Children are sessions of their own, so Ctrl-C reaches the parent
    alone, which closes the runner.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        """See `Runner.run`."""
        started = time.monotonic()
        child = self._take(spec.threads)
        if child is None:
            return TrialEnd(number=spec.number, status="stopped", best={}, history=[], seconds=0.0)
        try:
            with _killed_at(child, deadline):
                end = child.train(spec, epoch_seen)
        finally:
            self._give_back(child)
        if self._closed and end.status == "failed":
            end = msgspec.structs.replace(end, status="stopped", error="")
        return msgspec.structs.replace(end, seconds=time.monotonic() - started)

    def close(self) -> None:
        """See `Runner.close`."""
        with self._lock:
            self._closed = True
            idle, busy = list(self._idle), list(self._busy)
            self._idle.clear()
        for child in busy:  # its own thread clears up after it
            child.kill()
        for child in idle:
            child.dispose()

    def _take(self, threads: int) -> "_Child | None":
        with self._lock:
            if self._closed:
                return None
            child = next((idle for idle in self._idle if idle.threads == threads), None)
            if child is None:
                child = _Child(threads)
            else:
                self._idle.remove(child)
            self._busy.add(child)
            return child

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            self._busy.discard(child)
            if child.is_sound and not self._closed:
                self._idle.append(child)
                return
        child.dispose()


class _Child:
    """One process of `worker`."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.is_sound = False  # until it has ended a trial
        self.expired = False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bintally.training.tune.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,
        )

    def train(self, spec: TrialSpec, epoch_seen: EpochSeen) -> TrialEnd:
        """The trial's end; its death is one, too."""
        self.is_sound = False
        history: list[dict[str, float]] = []
        best: dict[str, float] = {}
        self._send(msgspec.json.encode(spec) + b"\n")
        for message in self._messages():
            if isinstance(message, End):
                self.is_sound = message.end.status in ("complete", "pruned")
                return message.end
            history.append(message.row)
            best = message.best
            self._send(GO if epoch_seen(int(message.row["epoch"]), message.row) else STOP)
        code = self._process.wait()
        status = "stopped" if self.expired else "failed"
        return TrialEnd(
            number=spec.number,
            status=msgspec.convert(status, TrialEnd.__annotations__["status"]),
            best=best,
            history=history,
            seconds=0.0,
            error="" if self.expired else self._last_words(code),
            died=not self.expired,
        )

    def kill(self) -> None:
        """Ends the process now; its run folder goes on another time."""
        self._process.kill()
        self._process.wait()

    def dispose(self) -> None:
        """Ends the process and closes what it was spoken to through; for the thread that spoke to it."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(OSError):  # stdin: what was not sent to a dead process
                if stream is not None:
                    stream.close()

    def expire(self) -> None:
        """Ends the process because its time is over."""
        self.expired = True
        self._process.kill()

    def _send(self, line: bytes) -> None:
        stdin = self._process.stdin
        try:
            if stdin is not None:
                stdin.write(line)
                stdin.flush()
        except OSError:  # it died; what it said last tells why
            return

    def _messages(self) -> Iterator[Message]:
        decoder = msgspec.json.Decoder(Epoch | End)
        for line in self._process.stdout or ():
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError:  # torn by its death
                return

    def _last_words(self, code: int) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - TAIL_BYTES, 0))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        return f"The trial's process {ended}." + ("\n" + "\n".join(lines) if lines else "")


@contextmanager
def _killed_at(child: _Child, deadline: float | None) -> Iterator[None]:
    if deadline is None:
        yield
        return
    timer = threading.Timer(max(deadline - time.time(), 0), child.expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
