import json
import os
import socket
from pathlib import Path

import pytest

from bintally.bundle import MODEL
from bintally.serving.operation.check import Check, check
from tests.bundles import make_bundle
from tests.conftest import run_cli


def found(**settings: object) -> dict[str, Check]:
    report = check(**{"port": 0, **settings})
    assert report.ok == all(each.ok for each in report.checks)
    return {each.name: each for each in report.checks}


def test_what_a_start_needs_is_tried_and_nothing_stays_behind(bundle: Path, tmp_path: Path) -> None:
    checks = found(bundle=bundle, state=tmp_path / "a" / "b")
    assert [name for name, each in checks.items() if each.ok] == ["address", "model", "keys", "state folder"]
    assert "tiny counted" in checks["model"].said
    assert "GB are free" in checks["state folder"].said
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    damaged = make_bundle(tmp_path / "bundle")
    (damaged / MODEL).write_bytes(b"no model")
    (tmp_path / "file").write_text("not a folder")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        checks = found(
            bundle=damaged,
            port=taken.getsockname()[1],
            state=tmp_path / "file" / "state",
            samples=tmp_path / "nowhere",
            allow_url=["https://camera.example"],
            ledger=str(tmp_path / "no.sqlite"),
            follow=tmp_path / "nowhere.toml",
            photos=tmp_path / "file" / "photos",
            models=tmp_path,
            workers=2,
            mqtt="mqtt://127.0.0.1:1",
            tls_cert=tmp_path / "no.pem",
            tls_key=tmp_path / "no.key",
            require_keys="always",
        )
    assert [name for name, each in checks.items() if each.ok] == []
    assert list(checks) == [
        "address",
        "model",
        "models",
        "keys",
        "state folder",
        "samples",
        "certificate",
        "photos by URL",
        "ledger",
        "bins",
        "photos",
        "MQTT broker",
    ]
    assert "is in use" in checks["address"].said
    assert "can't be read" in checks["keys"].said


def test_a_broker_that_answers_is_ok(bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        checks = found(bundle=bundle, state=tmp_path, mqtt=f"mqtt://robot:pass@127.0.0.1:{broker.getsockname()[1]}")
    assert checks["MQTT broker"].ok
    assert "pass" not in checks["MQTT broker"].said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's rights, which only root can take")
def test_a_state_folder_without_permission_is_told(bundle: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        checks = found(bundle=bundle, state=locked / "state")
    finally:
        os.seteuid(0)
    assert not checks["state folder"].ok


def test_the_command_shows_a_table_and_says_by_its_exit_code(bundle: Path, tmp_path: Path) -> None:
    environment = {"BINTALLY_STATE": str(tmp_path)}
    fine = run_cli("serve", bundle, "--port", "0", "--check", env=environment)
    assert fine.returncode == 0, fine.stderr
    assert "The service can start" in fine.stderr
    wrong = run_cli("serve", bundle, "--port", "0", "--check", "--json", "--samples", tmp_path, env=environment)
    assert wrong.returncode == 1
    report = json.loads(wrong.stdout)
    assert [each["name"] for each in report["checks"] if not each["ok"]] == ["samples"]
