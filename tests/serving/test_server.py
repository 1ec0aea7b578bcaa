import http.client
import json
import signal
import socket
import subprocess
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bintally.errors import BundleError, ConfigError, UsageError
from bintally.serving.server import _listening, serve
from tests.bundles import bin_photo
from tests.conftest import run_cli
from tests.serving.conftest import running


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        return bytes(response.read())


def count(url: str, photo: bytes) -> dict[str, object]:
    request = urllib.request.Request(f"{url}/invocations", photo, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return dict(json.load(response))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_the_service_starts_counts_and_stops_in_good_order(bundle: Path, samples: Path, stop: signal.Signals) -> None:
    with running(bundle, "--samples", samples) as (url, process):
        assert json.loads(get(f"{url}/ping"))["model"] == "tiny"
        assert count(url, bin_photo(2))["count"] == 2
        assert b"Drop a bin photo" in get(url)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert errors == ""
        with pytest.raises(OSError, match="refused"):
            get(f"{url}/ping")


def test_a_request_under_way_is_answered_before_the_service_stops(bundle: Path, samples: Path) -> None:
    photo = bin_photo(4)
    with running(bundle, "--samples", samples) as (url, process):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        connection.putrequest("POST", "/invocations")
        connection.putheader("Content-Type", "image/png")
        connection.putheader("Content-Length", str(len(photo)))
        connection.endheaders(photo[:100])
        get(f"{url}/ping")  # the service has seen the first half by now
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        connection.send(photo[100:])
        assert json.load(connection.getresponse())["count"] == 4
        connection.close()
        assert process.wait(20) == 0


def test_a_client_that_sends_too_much_gets_its_413(bundle: Path, samples: Path) -> None:
    with running(bundle, "--samples", samples, "--max-photo-mb", "1") as (url, _):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        chunks = (bytes(2**16) for _ in range(24))  # 1.5 MB, with no length said before
        connection.request("POST", "/invocations", chunks, {"Content-Type": "image/jpeg"}, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 413
        assert json.load(response)["error"]["code"] == "photo_too_large"
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
    with _listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
