"""The receiver, started; and what the tests ask of it, past the connector."""

import base64
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from bintally.inventory.erp.conformance import Bench
from bintally.inventory.erp.webhook import WebhookConnector, WebhookSettings

PROGRAM = Path(__file__).parent / "receiver.py"


def secret_of(letter: str) -> str:
    """A secret that is no other letter's."""
    return f"whsec_{base64.b64encode(letter.encode() * 32).decode()}"


SECRET = secret_of("s")


@contextmanager
def listening(*files: Path, secret: str = SECRET) -> Iterator[int]:
    """A receiver's port."""
    command = [sys.executable, str(PROGRAM), secret, *map(str, files)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


class WebhookBench(Bench):
    """A receiver that many tests share."""

    keeps_drafts = False

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._http = httpx2.Client(base_url=self.url, timeout=30)
        self._bins = 0

    def close(self) -> None:
        self._http.close()

    def connect(self, secret: str = SECRET, **settings: Any) -> WebhookConnector:
        return WebhookConnector(WebhookSettings(url=f"{self.url}/stock", **settings), secret)

    def unreachable(self) -> WebhookConnector:
        return WebhookConnector(WebhookSettings(url="http://127.0.0.1:9/stock"), SECRET)

    def locked_out(self) -> WebhookConnector:
        return self.connect(secret_of("x"))

    def new_bin(self) -> str:
        self._bins += 1
        return f"W-{self._bins}"

    def put(self, code: str, product: str, quantity: int) -> None:
        self._http.post("/put", json=[code, {product: quantity}]).raise_for_status()

    def held(self, code: str) -> Mapping[str, int]:
        held: Mapping[str, int] = self.state()["stock"].get(code, {})
        return held

    def faults(self, *faults: str) -> None:
        """How the next events are answered."""
        self._http.post("/faults", json=faults).raise_for_status()

    def state(self) -> dict[str, Any]:
        """All it knows."""
        state: dict[str, Any] = self._http.get("/").json()
        return state

    def told(self, key: str) -> list[dict[str, Any]]:
        """The events of a key, as often as they came."""
        return [event for event in self.state()["events"] if event["id"] == key]
