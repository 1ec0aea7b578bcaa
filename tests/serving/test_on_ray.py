"""The service on a real, local Ray cluster, started as its documentation says: `serve run CONFIG`."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

pytest.importorskip("ray.serve", reason="Ray Serve is not installed (pip install 'bintally[ray]')")

from ray.serve.config import AutoscalingConfig
from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

from bintally.counting.counter import Counter
from bintally.counting.network import Network
from bintally.errors import BintallyError, ConfigError, UsageError
from bintally.serving import on_ray as on_ray_module
from bintally.serving.on_ray import DEPLOYMENT, ELSEWHERE, CountingReplica, build_app
from bintally.serving.operation import readiness
from bintally.serving.settings import ServeConfig
from tests.bundles import bin_photo
from tests.serving.services import client_of

DEPLOYED = Path(__file__).parents[2] / "deploy" / "ray" / "serve.yaml"
PHOTOS = [bin_photo(count, image_format="JPEG", seed=count) for count in range(6)]
REPLICA = f"ServeReplica:bintally:{DEPLOYMENT}"


def shipped() -> dict[str, Any]:
    """The config file that ships."""
    config = yaml.safe_load(DEPLOYED.read_text())
    assert isinstance(config, dict)
    return config


class OnRay:
    """A running `serve run`: its port, and the processes of its replicas."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port, self.process = port, process

    def post(self, photo: bytes, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of the answer to a photo."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/invocations", photo, {"Content-Type": "image/jpeg", **headers})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def replicas(self) -> list[psutil.Process]:
        """Processes that count."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if any(REPLICA in word for word in process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def answers(self) -> bool:
        try:
            return self.post(PHOTOS[1])[0] == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def on_ray(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """The shipped config with the tiny bundle on a free port, which scales at once instead of after minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, folder = shipped(), tmp_path_factory.mktemp("on_ray")
    config["http_options"]["port"] = port
    [app] = config["applications"]
    app["args"] = {"bundle": str(bundle), "state": str(folder / "state"), "require_keys": "never"}
    [deployment] = app["deployments"]
    deployment["ray_actor_options"] = {"num_cpus": 0.5}
    deployment["health_check_period_s"] = 1
    deployment["autoscaling_config"] |= {"max_replicas": 2, "upscale_delay_s": 0.5, "downscale_delay_s": 2}
    deployment["autoscaling_config"] |= {"metrics_interval_s": 0.5, "look_back_period_s": 1}
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    command = [str(Path(sys.executable).with_name("serve")), "run", "--address", "local", str(path)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        running = OnRay(port, process)
        assert wait_until(running.answers, limit_s=90), (folder / "log").read_text()
        yield running
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the cluster as Ctrl-C does, and whatever of it is left after that."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in family:
        if left.is_running():
            left.kill()


def wait_until(true: Callable[[], bool], *, limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while not (told := true()) and time.monotonic() < until:
        time.sleep(0.1)
    return told


class Load:
    """Clients that each send one photo after the other, and again what was refused; what they were answered."""

    def __init__(self, service: OnRay, *, clients: int) -> None:
        self._service, self._stop = service, threading.Event()
        self.statuses: Tally[int] = Tally()
        self.wrong: list[bytes] = []
        self._threads = [threading.Thread(target=self._send, args=(place,)) for place in range(clients)]

    def _send(self, place: int) -> None:
        while not self._stop.is_set():
            place = (place + 1) % len(PHOTOS)
            try:
                status, _, body = self._service.post(PHOTOS[place])
            except (OSError, http.client.HTTPException):
                status, body = 0, b""  # refused without a word
            self.statuses[status] += 1
            if status == 200 and json.loads(body)["count"] != place:
                self.wrong.append(body)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)


def test_the_config_file_that_ships_has_only_keys_that_ray_and_the_service_know() -> None:
    config = shipped()
    ServeDeploySchema.model_validate(config)
    [app] = config["applications"]
    [deployment] = app["deployments"]
    # Ray takes unknown keys without a word.
    assert config.keys() <= ServeDeploySchema.model_fields.keys()
    assert config["http_options"].keys() <= HTTPOptionsSchema.model_fields.keys()
    assert app.keys() <= ServeApplicationSchema.model_fields.keys()
    assert deployment.keys() <= DeploymentSchema.model_fields.keys()
    assert deployment["autoscaling_config"].keys() <= AutoscalingConfig.model_fields.keys()
    assert deployment["name"] == DEPLOYMENT
    assert app["import_path"] == f"{build_app.__module__}:{build_app.__name__}"
    build_app(app["args"])


@pytest.mark.parametrize("name", ELSEWHERE)
def test_settings_that_ray_decides_are_refused(name: str) -> None:
    values = {"host": "0.0.0.0", "port": 1, "workers": 2, "sagemaker": True, "mqtt": "mqtt://broker"}
    certificate = {"tls_cert": "cert.pem", "tls_key": "key.pem"}
    with pytest.raises(UsageError, match="A replica on Ray has no") as refused:
        build_app(certificate if name in certificate else {name: values[name]})
    assert refused.value.hint in ELSEWHERE.values()


def test_a_wrong_setting_is_refused_before_anything_is_deployed() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'bundel'.*bundle"):
        build_app({"bundel": "fast"})


def test_a_replica_that_can_no_longer_count_is_ill(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    async def ask() -> None:
        replica = CountingReplica(ServeConfig.of({"bundle": bundle, "threads": 1}))
        await replica.check_health()
        monkeypatch.setattr(Network, "see", no_memory)
        with pytest.raises(MemoryError):
            await replica.check_health()
        monkeypatch.undo()
        await replica._service.models.close()

    asyncio.run(ask())


def test_a_replica_that_hangs_is_ill_and_a_busy_one_is_not(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, see = threading.Event(), Network.see

    def hang(*arguments: Any, **named: Any) -> Any:
        go_on.wait(30)
        return see(*arguments, **named)

    async def ask() -> None:
        replica = CountingReplica(ServeConfig.of({"bundle": bundle, "threads": 1}))
        monkeypatch.setattr(on_ray_module, "_ALIVE_S", 0.2)
        monkeypatch.setattr(Network, "see", hang)
        await replica.check_health()
        monkeypatch.setattr(readiness, "STUCK_S", 0.1)
        with pytest.raises(BintallyError, match="Photos wait"):
            await replica.check_health()
        go_on.set()
        await replica._service.models.close()

    asyncio.run(ask())


def test_answers_on_ray_are_those_of_the_plain_service(on_ray: OnRay, counter: Counter) -> None:
    with client_of(counter) as plain:
        for photo in (*PHOTOS, b"no photo", b""):
            headers = {"Content-Type": "image/jpeg"}
            expected = plain.post("/invocations", content=photo, headers=headers)
            status, told, body = on_ray.post(photo, **{"X-Request-Id": "asked-1"})
            assert status == expected.status_code
            assert told.get_all("X-Request-Id") == ["asked-1"]
            assert _lasting(json.loads(body)) == _lasting(expected.json())


@pytest.mark.soak
def test_replicas_come_with_the_load_and_go_with_it_and_no_request_is_lost(on_ray: OnRay) -> None:
    assert wait_until(lambda: len(on_ray.replicas()) == 1, limit_s=60)
    with Load(on_ray, clients=12) as load:
        assert wait_until(lambda: len(on_ray.replicas()) == 2, limit_s=60)
        time.sleep(5)  # both count
    assert wait_until(lambda: len(on_ray.replicas()) == 1, limit_s=60)
    assert load.statuses[200] > 100
    assert set(load.statuses) == {200}
    assert not load.wrong
    assert on_ray.answers()


@pytest.mark.soak
def test_a_killed_replica_is_replaced_and_what_it_had_is_refused_or_answered_right(on_ray: OnRay) -> None:
    with Load(on_ray, clients=4) as load:
        assert wait_until(lambda: load.statuses[200] > 20, limit_s=60)
        killed = {process.pid for process in on_ray.replicas()}
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: any(each.pid not in killed for each in on_ray.replicas()), limit_s=60)
        counted = load.statuses[200]
        assert wait_until(lambda: load.statuses[200] > counted + 50, limit_s=60)
    assert not load.wrong
    assert set(load.statuses) <= {200, 500, 503}
    assert on_ray.answers()


def _lasting(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not change from one asking to the next."""
    return {name: value for name, value in answer.items() if name not in ("timings", "request_id")}
