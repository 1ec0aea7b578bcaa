"""A service as it is exposed to others: https, keys, limits, and commands that change its keys while it runs."""

import http.client
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests.bundles import bin_photo
from tests.conftest import run_cli, run_here
from tests.serving.conftest import running

PHOTO = bin_photo(2, image_format="JPEG")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BINTALLY_STATE", str(tmp_path))
    return tmp_path


def key_of(name: str, *options: str) -> str:
    made = run_here("keys", "create", name, "--scope", "count", *options)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def asker(url: str, tls: ssl.SSLContext | None = None) -> Callable[[str], http.client.HTTPResponse]:
    """Asks for one count with a key, on a connection of its own each time."""

    def ask(key: str) -> http.client.HTTPResponse:
        place = urlsplit(url)
        connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection(place.netloc, timeout=30, context=tls)
            if tls
            else http.client.HTTPConnection(place.netloc, timeout=30)
        )
        headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {key}", "Connection": "close"}
        connection.request("POST", "/invocations", PHOTO, headers)
        response = connection.getresponse()
        response.read()
        return response

    return ask


def test_a_service_for_others_does_not_start_without_keys(bundle: Path) -> None:
    refused = run_cli("serve", bundle, "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "need an API key" in refused.stderr
    assert "bintally keys create" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_keys_are_made_renewed_and_revoked_while_a_service_runs_over_https(
    bundle: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(tls)
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    monkeypatch.setenv("BINTALLY_SERVE_TLS_CERT", str(tmp_path / "both.pem"))
    monkeypatch.setenv("BINTALLY_SERVE_TLS_KEY", str(tmp_path / "both.pem"))
    key = key_of("robot-7")
    with running(bundle, "--samples", samples, "--require-keys", "always") as (url, _):
        assert url.startswith("https://")
        ask = asker(url, tls)
        answer = ask(key)
        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"]
        assert ask(f"{key}x").status == 401
        renewed = run_here("keys", "rotate", "robot-7", "--grace", "0").stdout.strip()
        other = key_of("robot-8")
        assert _soon(lambda: ask(other).status == 200)
        assert (ask(renewed).status, ask(key).status) == (200, 401)
        run_here("keys", "revoke", "robot-8")
        assert _soon(lambda: ask(other).status == 401)
        assert (ask(renewed).status, ask(key).status) == (200, 401)


def _soon(so: Callable[[], bool]) -> bool:
    """Whether it is so within 10 s."""
    ends = time.monotonic() + 10
    while not (is_so := so()) and time.monotonic() < ends:
        time.sleep(0.1)
    return is_so


def test_a_limit_holds_for_all_workers_together(bundle: Path, samples: Path) -> None:
    key = key_of("robot-7", "--rate", "0.1")  # 1 at once
    other = key_of("robot-8")
    with running(bundle, "--samples", samples, "--require-keys", "always", "--workers", "2") as (url, _):
        ask = asker(url)
        assert sorted(ask(key).status for _ in range(12)) == [200] + [429] * 11
        assert ask(other).status == 200
