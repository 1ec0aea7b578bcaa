"""The container's parts, as far as they can be tried without Docker: its files, its entry point as another user."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bintally.serving.environment import PREFIX
from bintally.serving.settings import ServeConfig
from tests.bundles import bin_photo, make_bundle
from tests.conftest import ROOT

CONTAINER = ROOT / "deploy" / "container"
NOBODY = 65534


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = "\n".join(line for line in (CONTAINER / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    joined = text.replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((CONTAINER / "compose.yaml").read_text()))


def test_the_image_runs_as_nobody_in_particular_and_asks_for_keys() -> None:
    said = instructions()
    final = said[max(place for place, (name, _) in enumerate(said) if name == "FROM") :]
    named = dict(final)
    assert named["USER"] == "10001:10001"  # a number: Kubernetes' runAsNonRoot can't look names up
    assert json.loads(named["CMD"]) == ["bintally", "serve"]
    assert named["STOPSIGNAL"] == "SIGTERM"
    assert named["EXPOSE"] == "8080"
    assert "HEALTHCHECK" in named
    assert not any("pip install" in arguments for name, arguments in final if name == "RUN")
    assert "ADD" not in named


def test_what_the_image_copies_and_sets_is_there() -> None:
    ignored = (CONTAINER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "**"  # nothing but what is named comes along: no data, no .venv, no git
    for name, arguments in instructions():
        if name == "COPY" and "--from" not in arguments:
            *sources, _ = [word for word in arguments.split() if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any(source.startswith(line.removeprefix("!")) for line in ignored if line[0] == "!"), source
        if name == "ENV":
            pairs = dict(word.split("=", 1) for word in arguments.split())
            ServeConfig.from_environment({}, {key: value for key, value in pairs.items() if key.startswith(PREFIX)})


def test_every_container_of_the_composition_is_locked_down() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ":latest" not in service["image"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_the_compositions_settings_are_some() -> None:
    told = compose()["services"]["bintally"]["environment"]
    config = ServeConfig.from_environment({}, {key: value for key, value in told.items() if key.startswith(PREFIX)})
    assert config.mqtt and config.ledger and config.capture == 10
    assert config.shutdown_s + 7 < float(compose()["services"]["bintally"]["stop_grace_period"].removesuffix("s"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may look into, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_entry_point_serves_as_another_user_who_can_write_nowhere(open_folder: Path) -> None:
    """As SageMaker starts it: a bundle in /opt/ml/model's place, no home, no state folder that can be written."""
    make_bundle(open_folder / "ml" / "model")
    commands = open_folder / "bin"
    commands.mkdir()
    shutil.copy(CONTAINER / "serve", commands / "serve")
    (commands / "bintally").write_text(f'#!/bin/sh\nexec {python_for_all()} -m bintally "$@"\n')
    (commands / "bintally").chmod(0o755)
    port = free_port()
    environment = {
        "PATH": f"{commands}:/usr/bin:/bin",
        "SAGEMAKER_BASE_DIR": str(open_folder / "ml"),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "HOME": "/nonexistent",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    process = subprocess.Popen(
        ["serve"], executable=commands / "serve", env=environment, cwd="/", user=NOBODY, group=NOBODY, stderr=-1
    )
    try:
        assert until_ready(port, process)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", bin_photo(2), {"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            assert json.load(response)["count"] == 2
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=20) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=25)
        assert process.returncode == 0
        assert all(json.loads(line) for line in log.splitlines())
    finally:
        process.kill()
        process.communicate()


def python_for_all() -> str:
    """This Python, or the system's of the same version where this one lies in a folder of root's."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        tried = subprocess.run(
            ["/bin/sh", "-c", f"exec {python} -c ''"], user=NOBODY, cwd="/", capture_output=True, check=False
        )
        if tried.returncode == 0:
            return python
    pytest.skip("no Python here that another user than root may start")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def until_ready(port: int, process: "subprocess.Popen[bytes]") -> bool:
    """As Docker would find out: by the image's own health check."""
    for _ in range(200):
        check = subprocess.run(
            [sys.executable, CONTAINER / "healthcheck.py"],
            env={"SAGEMAKER_BIND_TO_PORT": str(port)},
            capture_output=True,
            check=False,
        )
        if check.returncode == 0:
            return True
        if process.poll() is not None:
            pytest.fail((process.communicate()[1] or b"").decode())
        time.sleep(0.05)
    return False
