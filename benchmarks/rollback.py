"""How long a rollback takes, from the command to the first answer of the older version, while clients ask.

    python benchmarks/rollback.py
    python benchmarks/rollback.py --bundle fast --times 20 --clients 4

A real service follows a registry with two versions of a bundled model. `bintally models rollback` is run again and
again, as a person would: its own start is in the figure. Once with the version before kept loaded, once without.
"""

import argparse
import http.client
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bintally.artifacts import write_bytes
from bintally.bundle import CARD, card_json, find_bundle, read_card
from bintally.data.rendered import render_photo
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from bintally.registry.registration.register import register

KEPT: Final = {"kept loaded": "2048", "loaded again": "0"}
WAIT_S: Final = 120.0
IN_A_ROW: Final = 12
"""Answers of one version, after which no worker answers with another."""


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", default="champion")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    print(f"{asked.bundle}, {asked.times} rollbacks, {asked.clients} clients, {asked.workers} workers, seconds")
    print("| the version before | median | worst | after the command: median | worst | requests | failed |")
    print("|---|---|---|---|---|---|---|")
    for name, keep_mb in KEPT.items():
        with tempfile.TemporaryDirectory() as folder:
            print(_row(name, keep_mb, Path(folder), asked), flush=True)


def _row(name: str, keep_mb: str, folder: Path, asked: argparse.Namespace) -> str:
    place = _registry(folder, find_bundle(asked.bundle))
    with _service(place, folder, keep_mb, asked.workers) as url, _clients(url, asked.clients) as clients:
        told = [_rolled_back(place, clients) for _ in range(asked.times)]
    took_s, after_s = (list(each) for each in zip(*told, strict=True))
    failed = [client.failure for client in clients if client.failure]
    for failure in failed:
        print(failure, file=sys.stderr)
    answered = sum(len(client.answers) for client in clients)
    return (
        f"| {name} | {statistics.median(took_s):.2f} | {max(took_s):.2f} | {statistics.median(after_s):.2f} "
        f"| {max(after_s):.2f} | {answered} | {len(failed)} |"
    )


def _rolled_back(place: Path, clients: list["Client"]) -> tuple[float, float]:
    """Seconds from the command's start, and from its end, to the first answer of the older version."""
    _wait_for(clients, "bintally/2")
    started = time.monotonic()
    command = [sys.executable, "-m", "bintally", "models", "rollback", "--registry", str(place), "--as", "benchmark"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ended = time.monotonic()
    answered = _wait_for(clients, "bintally/1")
    with Registry.open(place) as registry:
        promote(registry, "bintally/2", force_reason="again", by="benchmark")
    return answered - started, answered - ended


def _wait_for(clients: list["Client"], version: str) -> float:
    """When the last of the clients got its first answer of that version, after which there were no others."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if all({told for _, told in client.answers[-IN_A_ROW:]} == {version} for client in clients):
            return max(client.since for client in clients)
        time.sleep(0.002)
    raise SystemExit(f"{version} does not answer: {[client.failure for client in clients]}")


class Client(threading.Thread):
    """Asks one photo after the other, each on a connection of its own, so that it meets every worker."""

    def __init__(self, url: str, photo: bytes) -> None:
        super().__init__(daemon=True)
        self._place, self._photo = urlsplit(url).netloc, photo
        self.is_over = threading.Event()
        self.answers: list[tuple[float, str]] = []  # when, of which version
        self.since = 0.0  # the version that answers now does
        self.failure: str | None = None

    def run(self) -> None:
        """Until it is over, or an answer is none."""
        while not self.is_over.is_set() and self.failure is None:
            try:
                self._ask()
            except (OSError, http.client.HTTPException) as error:
                self.failure = repr(error)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._place, timeout=60)
        connection.request("POST", "/invocations", self._photo, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status != 200:
            self.failure = body.decode()
            return
        version, now = str(json.loads(body)["model_version"]), time.monotonic()
        if not self.answers or self.answers[-1][1] != version:
            self.since = now
        self.answers.append((now, version))


@contextmanager
def _clients(url: str, number: int) -> Iterator[list[Client]]:
    file = io.BytesIO()
    render_photo(3, seed=1).save(file, "JPEG", quality=90)
    clients = [Client(url, file.getvalue()) for _ in range(number)]
    for client in clients:
        client.start()
    yield clients
    for client in clients:
        client.is_over.set()
    for client in clients:
        client.join()


@contextmanager
def _service(place: Path, folder: Path, keep_mb: str, workers: int) -> Iterator[str]:
    command = [sys.executable, "-m", "bintally", "serve", "--json", "--port", "0", "--registry", str(place)]
    command += ["--state", str(folder / "state"), "--workers", str(workers)]
    environment = {**os.environ, "BINTALLY_SERVE_KEEP_MB": keep_mb, "BINTALLY_SERVE_LOG_LEVEL": "error"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.communicate()


def _registry(folder: Path, bundle: Path) -> Path:
    """A registry whose two versions are one model; the second is the champion."""
    place = folder / "registry"
    with Registry.open(place, create=True) as registry:
        for number in (1, 2):
            made = folder / f"bundle-{number}"
            shutil.copytree(bundle, made)
            card = read_card(made / CARD)
            write_bytes(made / CARD, card_json(msgspec.structs.replace(card, created=f"2026-01-0{number}T00:00:00Z")))
            version = register(registry, made, by="benchmark").version
            promote(registry, version.name, force_reason="a benchmark", by="benchmark")
    return place


if __name__ == "__main__":
    main()
