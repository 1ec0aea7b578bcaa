import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bintally.bundle import MODEL
from bintally.errors import BundleError, ConfigError, UsageError
from bintally.serving.listening import listening
from bintally.serving.server import serve
from tests.bundles import bin_photo, make_bundle
from tests.conftest import run_cli
from tests.serving.conftest import running


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        return bytes(response.read())


def count(url: str, photo: bytes) -> dict[str, object]:
    request = urllib.request.Request(f"{url}/invocations", photo, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return dict(json.load(response))


def half_a_request(url: str, photo: bytes = b"x" * 200) -> http.client.HTTPConnection:
    """A request under way: its photo's first bytes are sent, and the service has seen them."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Type", "image/png")
    connection.putheader("Content-Length", str(len(photo)))
    connection.endheaders(photo[:100])
    get(f"{url}/ping")
    return connection


def health(url: str) -> dict[str, object]:
    return dict(json.loads(get(f"{url}/health")))


def until(holds: Callable[[], bool], *, tries: int = 200) -> bool:
    """Whether it holds in the end."""
    for _ in range(tries):
        if holds():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_the_service_starts_counts_and_stops_in_good_order(bundle: Path, samples: Path, stop: signal.Signals) -> None:
    with running(bundle, "--samples", samples) as (url, process):
        assert json.loads(get(f"{url}/ping"))["model"] == "tiny"
        assert count(url, bin_photo(2))["count"] == 2
        assert b"Drop a bin photo" in get(url)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        log = [json.loads(line) for line in errors.splitlines()]
        assert {line["level"] for line in log} == {"info"}
        assert [line["path"] for line in log if line["message"] == "request"] == ["/invocations", "/"]
        with pytest.raises(OSError, match="refused"):
            get(f"{url}/ping")


def test_a_request_under_way_is_answered_before_the_service_stops(bundle: Path, samples: Path) -> None:
    photo = bin_photo(4)
    with running(bundle, "--samples", samples) as (url, process):
        connection = half_a_request(url, photo)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        with pytest.raises(OSError, match="refused"):
            get(f"{url}/ping")
        connection.send(photo[100:])
        answer = connection.getresponse()
        assert json.load(answer)["count"] == 4
        assert answer.getheader("connection") == "close"
        connection.close()
        assert process.wait(20) == 0


def test_a_second_signal_ends_the_service_at_once(bundle: Path, samples: Path) -> None:
    with running(bundle, "--samples", samples) as (url, process):
        connection = half_a_request(url)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
        connection.close()


def test_a_request_that_never_ends_is_cut_off_in_time(
    bundle: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINTALLY_SERVE_SHUTDOWN_S", "0.5")
    with running(bundle, "--samples", samples) as (url, process):
        connection = half_a_request(url)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["error"]["code"]) == (503, "stopping")
        assert (answer.getheader("connection"), answer.getheader("retry-after")) == ("close", "1")
        assert answer.getheader("x-request-id")
        connection.close()


def test_an_idle_connection_does_not_hold_up_the_end(bundle: Path, samples: Path) -> None:
    with running(bundle, "--samples", samples) as (url, process):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        connection.request("GET", "/ping")
        assert connection.getresponse().read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        connection.close()


def starting(bundle: Path) -> "subprocess.Popen[str]":
    """A service that has begun to start: its port is taken first, so that a test can tell."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bintally", "serve", str(bundle), "--port", str(port), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(2000):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.005)
    return process


def test_a_stop_during_the_start_is_a_stop_in_good_order(bundle: Path) -> None:
    process = starting(bundle)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert out == ""
    assert "Traceback" not in errors


def test_sighup_during_the_start_ends_nothing(bundle: Path) -> None:
    process = starting(bundle)
    process.send_signal(signal.SIGHUP)
    assert process.stdout
    assert json.loads(process.stdout.readline())["model"] == "tiny"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors


def test_sighup_takes_the_model_anew_or_keeps_the_old_one(tmp_path: Path, samples: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    with running(folder, "--samples", samples) as (url, process):
        (folder / MODEL).write_bytes(b"no model")
        process.send_signal(signal.SIGHUP)
        assert until(lambda: health(url)["status"] == "degraded")
        assert count(url, bin_photo(2))["model"] == "tiny"
        make_bundle(folder, name="newer")
        process.send_signal(signal.SIGHUP)
        assert until(lambda: health(url)["model"] == "newer")
        assert health(url)["status"] == "ok"
        assert count(url, bin_photo(2))["model"] == "newer"


def test_a_client_that_sends_too_much_gets_its_413(bundle: Path, samples: Path) -> None:
    with running(bundle, "--samples", samples, "--max-photo-mb", "1") as (url, _):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        chunks = (bytes(2**16) for _ in range(24))  # 1.5 MB, with no length said before
        connection.request("POST", "/invocations", chunks, {"Content-Type": "image/jpeg"}, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 413
        assert "too_large" in json.load(response)["error"]["code"]
        connection.close()


def test_a_port_in_use_is_said_with_the_way_out(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} on 127.0.0.1 is in use") as error:
            serve(bundle=bundle, port=port)
        assert "--port" in error.value.hint
        result = run_cli("serve", bundle, "--port", str(port))
        assert result.returncode == 2
        assert "is in use" in result.stderr
        assert "Traceback" not in result.stderr


def test_what_can_not_be_served_is_refused_before_anything_starts(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        serve(bundle=tmp_path, port=0)
    with pytest.raises(UsageError, match="no address of this machine"):
        serve(bundle=bundle, host="192.0.2.1", port=0)
    with pytest.raises(UsageError, match="no host"):
        serve(bundle=bundle, port=0, allow_url=["https://camera.example"])
    with pytest.raises(UsageError, match="holds no photo"):
        serve(bundle=bundle, port=0, samples=tmp_path)
    with pytest.raises(UsageError, match="needs its key"):
        serve(bundle=bundle, port=0, tls_cert=tmp_path / "cert.pem")
    with pytest.raises(UsageError, match=r"can't be used: No such file"):
        serve(bundle=bundle, port=0, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="max_photo_mb"):
        serve(bundle=bundle, port=0, max_photo_mb=0)


def test_signals_are_as_before_after_a_failed_start(bundle: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UsageError):
        serve(bundle=bundle, port=0, samples=tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    assert threading.current_thread() is threading.main_thread()


def test_an_answer_is_not_held_back_by_nagles_algorithm() -> None:
    """asyncio sets TCP_NODELAY only on sockets that name TCP; without it an answer took 60 ms instead of 3."""
    with listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
