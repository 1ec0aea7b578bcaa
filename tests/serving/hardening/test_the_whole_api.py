"""The whole API as OpenAPI tells it, asked by schemathesis for what it says and for what it does not say.

schemathesis makes requests of the schema, valid ones, ones at its edges and wrong ones, and holds each answer against
it: status, type, shape and headers. Never is there a 5xx but those that are meant.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, run_here
from tests.serving.bins.shop import stock
from tests.serving.hardening.watched import Watched

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def place(bundle: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a service that knows bins, keeps what it is asked, and may load other models."""
    folder = tmp_path_factory.mktemp("whole")
    ledger = stock(str(folder / "ledger.sqlite"))
    return {
        "state": folder / "state", "samples": samples, "ledger": ledger, "models": bundle.parent, "capture": 100,
        "threads": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def served(bundle: Path, place: dict[str, Any]) -> Iterator[Watched]:
    with Watched(bundle, **place) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def key(place: dict[str, Any]) -> str:
    scopes = [option for scope in ("count", "read", "admin") for option in ("--scope", scope)]
    made = run_here("keys", "create", "tester", *scopes, env={"BINTALLY_SERVE_STATE": str(place["state"])})
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.fixture(scope="module")
def locked(bundle: Path, place: dict[str, Any], key: str) -> Iterator[Watched]:
    with Watched(bundle, **place, require_keys="always") as made:
        made.start()
        yield made


def check_api(served: Watched, folder: Path, *, examples: int, seed: int = 1, **headers: str) -> int:
    """Has schemathesis look for what is wrong; how many requests it made.

    Raises:
        AssertionError: it found something.
    """
    health = served.health()
    description = folder / "openapi.json"
    with served.client() as client:
        description.write_bytes(client.ask("GET", "/openapi.json", b"", **headers).body)
    shown = [option for name, text in headers.items() for option in ("--header", f"{name}: {text}")]
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(description),
            "--url", str(served.url), "--max-examples", str(examples), "--seed", str(seed), "--no-color", *shown,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert served.health()["status"] == health["status"]
    made = re.search(r"(\d+) generated", done.stdout)
    assert made is not None, done.stdout
    return int(made[1])


def test_the_api_answers_as_it_says(served: Watched, tmp_path: Path) -> None:
    assert check_api(served, tmp_path, examples=3) > 500


def test_the_api_answers_as_it_says_to_who_has_a_key(locked: Watched, key: str, tmp_path: Path) -> None:
    made = check_api(locked, tmp_path, examples=1, seed=2, Authorization=f"Bearer {key}")
    assert made > 200


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3, 6))
def test_the_api_answers_as_it_says_at_length(served: Watched, tmp_path: Path, seed: int) -> None:
    check_api(served, tmp_path, examples=100, seed=seed)
