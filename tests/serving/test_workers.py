"""Several real processes behind one port: killed, hung, reloaded, drained."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bintally.bundle import MODEL
from tests.bundles import bin_photo, make_bundle
from tests.conftest import run_cli
from tests.serving.conftest import running
from tests.serving.operation.test_metrics import samples_of


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        return bytes(response.read())


def workers_of(url: str) -> set[int]:
    """The processes that answer; each new connection may meet another one."""
    return {json.loads(get(f"{url}/health"))["worker"] for _ in range(30)}


def until(holds: Callable[[], bool], *, tries: int = 200) -> bool:
    """Whether it holds in the end."""
    for _ in range(tries):
        if holds():
            return True
        time.sleep(0.05)
    return False


def answering(url: str) -> int:
    """How many workers there are, whoever answers."""
    return int(samples_of(get(f"{url}/metrics").decode())["bintally_ready",])


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][0] != "Z"


@contextmanager
def two(bundle: Path, *arguments: str | Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    with running(bundle, "--workers", "2", "--threads", "1", *arguments) as (url, process):
        yield url, process


def test_one_worker_killed_under_load_leaves_the_others_and_is_replaced(bundle: Path) -> None:
    photo, over = bin_photo(3), threading.Event()
    lost: list[str] = []
    answered = 0

    def ask(url: str) -> None:
        nonlocal answered
        while not over.is_set():
            request = urllib.request.Request(f"{url}/invocations", photo, {"Content-Type": "image/png"})
            try:
                with urllib.request.urlopen(request, timeout=20) as response:
                    assert json.load(response)["count"] == 3
                    answered += 1
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))

    with two(bundle) as (url, process):
        assert until(lambda: answering(url) == 2)
        victim = json.loads(get(f"{url}/health"))["worker"]
        clients = [threading.Thread(target=ask, args=(url,)) for _ in range(3)]
        for client in clients:
            client.start()
        assert until(lambda: answered > 20)
        os.kill(victim, signal.SIGKILL)
        before = answered
        assert until(lambda: answered > before + 20)  # the other one goes on
        assert until(lambda: victim not in workers_of(url) and answering(url) == 2)
        over.set()
        for client in clients:
            client.join()
        assert len(lost) <= len(clients)  # those that the killed one was answering
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    log = [json.loads(line) for line in errors.splitlines()]
    [ended] = [line for line in log if line["level"] == "error"]
    assert (ended["worker"], ended["exit_code"]) == (victim, -signal.SIGKILL)


def test_metrics_are_those_of_all_workers_and_never_fall(bundle: Path) -> None:
    photo = bin_photo(2)
    with two(bundle) as (url, _):
        for _ in range(20):
            request = urllib.request.Request(f"{url}/invocations", photo, {"Content-Type": "image/png"})
            urllib.request.urlopen(request, timeout=20).close()
        assert samples_of(get(f"{url}/metrics").decode())["bintally_requests_total", "sagemaker", "ok"] == 20
        os.kill(json.loads(get(f"{url}/health"))["worker"], signal.SIGKILL)
        assert until(lambda: answering(url) == 2)
        found = samples_of(get(f"{url}/metrics").decode())
        assert found["bintally_requests_total", "sagemaker", "ok"] == 20
        assert found["bintally_model_info", "tiny", json.loads(get(f"{url}/health"))["model_sha256"], "0.1.0"] == 1


def test_requests_under_way_are_answered_by_every_worker_before_the_end(bundle: Path) -> None:
    photo = bin_photo(4)
    with two(bundle) as (url, process):
        under_way = []
        for _ in range(6):
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
            connection.putrequest("POST", "/invocations")
            connection.putheader("Content-Type", "image/png")
            connection.putheader("Content-Length", str(len(photo)))
            connection.endheaders(photo[:100])
            under_way.append(connection)
        assert workers_of(url)  # they have seen the first halves by now
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        with pytest.raises(OSError, match="refused"):
            get(f"{url}/ping")
        for connection in under_way:
            connection.send(photo[100:])
            assert json.load(connection.getresponse())["count"] == 4
            connection.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize("how", ["SIGHUP", "POST"])
def test_a_reload_reaches_every_worker(tmp_path: Path, how: str) -> None:
    folder = make_bundle(tmp_path / "bundle")

    def reload() -> None:
        if how == "SIGHUP":
            process.send_signal(signal.SIGHUP)
            return
        try:
            urllib.request.urlopen(urllib.request.Request(f"{url}/v1/reload", b""), timeout=20).close()
        except urllib.error.HTTPError as error:
            assert error.code == 409
            error.close()

    def told(key: str) -> set[str]:
        return {json.loads(get(f"{url}/health"))[key] for _ in range(20)}

    with two(folder) as (url, process):
        make_bundle(folder, name="newer")
        reload()
        assert until(lambda: told("model") == {"newer"})
        (folder / MODEL).write_bytes(b"no model")
        reload()
        assert until(lambda: told("status") == {"degraded"})
        assert told("model") == {"newer"}


@contextmanager
def changed(bundle: Path, script: Path, change: str) -> Iterator[str]:
    """The address of a service with two workers whose parent runs `change` first: for what is no setting."""
    main = "if __name__ == '__main__':\n    from bintally.cli import main\n    main()\n"
    script.write_text(f"from bintally.serving import workers\n{change}\n{main}")
    command = [sys.executable, str(script), "serve", str(bundle), "--port", "0", "--json", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_a_worker_that_hangs_is_replaced(bundle: Path, tmp_path: Path) -> None:
    with changed(bundle, tmp_path / "impatient.py", "workers.HUNG_S = 1.5") as url:
        victim = json.loads(get(f"{url}/health"))["worker"]
        os.kill(victim, signal.SIGSTOP)
        assert until(lambda: not is_alive(victim), tries=400)
        assert until(lambda: answering(url) == 2)


_NO_PROCESS = """
class Unlucky(workers.Worker):
    starts = 0

    def __init__(self, *arguments):
        Unlucky.starts += 1
        if Unlucky.starts in (3, 4):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        super().__init__(*arguments)

workers.Worker = Unlucky
"""


def test_a_worker_that_finds_no_process_is_tried_again_and_health_says_that_one_is_missing(
    bundle: Path, tmp_path: Path
) -> None:
    def problems() -> dict[str, str]:
        return dict(json.loads(get(f"{url}/health"))["problems"])

    with changed(bundle, tmp_path / "unlucky.py", _NO_PROCESS) as url:
        assert problems() == {}
        os.kill(json.loads(get(f"{url}/health"))["worker"], signal.SIGKILL)
        assert until(lambda: problems() == {"workers": "1 of 2 workers answer; the log says why."})
        assert until(lambda: answering(url) == 2)
        assert until(lambda: problems() == {})


def test_workers_end_when_their_parent_is_killed(bundle: Path) -> None:
    with two(bundle) as (url, process):
        assert until(lambda: len(workers_of(url)) == 2)
        orphans = workers_of(url)
        process.kill()
        assert until(lambda: not any(map(is_alive, orphans)))


def test_ctrl_c_reaches_parent_and_workers_and_ends_them_in_good_order(bundle: Path) -> None:
    command = [sys.executable, "-m", "bintally", "serve", str(bundle), "--port", "0", "--json", "--workers", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "cut off" not in errors


def test_a_second_signal_ends_all_at_once(bundle: Path) -> None:
    with two(bundle) as (url, process):
        workers = workers_of(url)
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        connection.putrequest("POST", "/invocations")
        connection.putheader("Content-Length", "100")
        connection.putheader("Content-Type", "image/png")
        connection.endheaders(b"x")
        get(f"{url}/ping")
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
        assert until(lambda: not any(map(is_alive, workers)))
        connection.close()


def test_what_keeps_workers_from_starting_is_said_like_with_one(tmp_path: Path) -> None:
    damaged = make_bundle(tmp_path / "bundle")
    (damaged / MODEL).write_bytes(b"no model")
    alone = run_cli("serve", damaged, "--port", "0")
    several = run_cli("serve", damaged, "--port", "0", "--workers", "2")
    assert alone.returncode == several.returncode == 4
    sentence = [line for line in alone.stderr.splitlines() if line.startswith("error:")]
    assert sentence == [line for line in several.stderr.splitlines() if line.startswith("error:")]
    assert "Traceback" not in several.stderr
