"""A service that can be killed at any moment, and senders that send again until they are answered."""

import base64
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.bundles import bin_photo

PROGRAM = (sys.executable, "-m", "bintally")
WAIT_S = 30.0
MORNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class Served:
    """`bintally serve` as a group of processes, started again and again; `settings` as in `ServeConfig`.

    `bundle` None: they say what is served.
    """

    def __init__(self, bundle: Path | None, *, program: Sequence[str] = PROGRAM, **settings: object) -> None:
        self._command = [*program, "serve", *([] if bundle is None else [str(bundle)]), "--json", "--port", "0"]
        self._environment = {f"BINTALLY_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[str] | None = None
        self.url: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it answers."""
        self._process = process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
            env={**os.environ, **self._environment},
        )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "it did not start"
        self.url = json.loads(line)["url"]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """Process ids of the workers, where there are several."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def kill(self) -> None:
        """kill -9 for all of it."""
        if self._process is None:
            return
        self.url = None
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._end()

    def stop(self) -> None:
        """SIGTERM, as a container's end does."""
        assert self._process is not None
        self.url = None
        self._process.terminate()
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.communicate(timeout=WAIT_S)
        self._process = None

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """One request; its status and body.

        Raises:
            OSError, HTTPException: it is not there, or went.
        """
        if self.url is None:
            raise ConnectionRefusedError
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        """`GET /health`, whatever its status."""
        told: dict[str, Any] = json.loads(self.ask("GET", "/health")[1])
        return told


class Question:
    """A photo that no other question has, of a bin where `bin_id` is given, and the key it is asked with."""

    def __init__(self, name: str, seed: int, *, bin_id: str | None = None) -> None:
        chance = random.Random(seed)
        self.name = name
        self.photo = bin_photo(chance.randrange(6), image_format="JPEG", seed=seed)
        told: dict[str, object] = {"image": base64.b64encode(self.photo).decode(), "bin_image_id": name}
        if bin_id is not None:
            told["bin_id"] = bin_id
        if bin_id is not None and chance.random() < 0.5:
            told["captured_at"] = (MORNING + timedelta(seconds=seed)).isoformat()
        self.body = json.dumps(told).encode()
        self.headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{name}"'}


class Sender(threading.Thread):
    """Asks one question after the other, each until it is answered."""

    def __init__(self, served: Served, name: str, *, seed: int, bin_id: str | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self._served, self._seed, self._bin_id = served, seed, bin_id
        self.is_over = threading.Event()
        self.answered: dict[str, bytes] = {}
        self.photos: dict[str, bytes] = {}
        self.failure: str | None = None
        self.times_sent = 0

    def run(self) -> None:
        for number in range(10_000):
            if self.is_over.is_set() or self.failure is not None:
                return
            question = Question(f"{self.name}-{number}", 100_000 * self._seed + number, bin_id=self._bin_id)
            answer = self._until_answered(question)
            if answer is not None:
                self.photos[question.name] = question.photo
                self.answered[question.name] = answer

    def _until_answered(self, question: Question) -> bytes | None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self.times_sent += 1
            with suppress(OSError, http.client.HTTPException):
                status, body = self._served.ask("POST", "/invocations", question.body, **question.headers)
                if status == 200:
                    return body
                if status not in (409, 503):
                    self.failure = f"{question.name}: {status} {body.decode()}"
                    return None
            time.sleep(0.02)
        self.failure = f"{question.name} was never answered"
        return None
