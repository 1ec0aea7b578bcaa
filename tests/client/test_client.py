"""The client against the service, in a process of its own."""

import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import bintally
from bintally.client.client import Client
from bintally.client.photo import Photo
from bintally.client.records import Health, ServedModel
from bintally.errors import PhotoError, RequestError, UsageError
from bintally.serving.answer import CountAnswer
from bintally.serving.http.page import ModelSummary
from bintally.serving.operation.health import HealthReport
from tests.bundles import bin_photo, bin_pixels
from tests.client.scripted import COUNTED, Said, overloaded, scripted
from tests.conftest import run_here
from tests.serving.conftest import running

PHOTO = bin_photo(3, image_format="JPEG")


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def test_bytes_paths_and_images_are_counted(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    for photo in (
        PHOTO,
        path,
        str(path),
        Image.fromarray(bin_pixels(3)),
        Image.fromarray(bin_pixels(3)).convert("CMYK"),
        Image.fromarray(np.asarray(Image.fromarray(bin_pixels(3)).convert("L")).astype(np.uint16) * 257),
    ):
        assert client.count(photo).count == 3


def test_what_is_known_of_a_photo_is_told(client: Client) -> None:
    answer = client.count(
        PHOTO, counts="1-3", bin_image_id="00017", recorded_count=3, captured_at=datetime.now(UTC), model="tiny"
    )
    assert set(answer.probabilities) == {"1", "2", "3"}
    assert answer.bin_image_id == "00017"
    assert answer.verdict is not None
    assert answer.verdict.recorded_count == 3


def test_an_answer_says_that_it_was_given_before(client: Client) -> None:
    first = client.count(PHOTO, idempotency_key="scan-17")
    again = client.count(PHOTO, idempotency_key="scan-17")
    assert not first.replayed
    assert again.replayed
    assert again.request_id == first.request_id


def test_two_counts_of_one_photo_are_two(client: Client) -> None:
    assert client.count(PHOTO).request_id != client.count(PHOTO).request_id


def test_a_batch_has_an_answer_or_an_error_for_each_in_its_place(client: Client, tmp_path: Path) -> None:
    photos: list[Photo] = [bin_photo(1), b"no photo", bin_photo(2), tmp_path / "missing.jpg", bin_photo(4)]
    one, broken, two, missing, four = client.count_batch(photos)
    assert [each.count for each in (one, two, four) if isinstance(each, CountAnswer)] == [1, 2, 4]
    assert isinstance(broken, RequestError)
    assert broken.code == "bad_photo"
    assert isinstance(missing, PhotoError)
    assert client.count_batch([]) == []


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        (lambda client: client.count(b"no photo"), 400, "bad_photo"),
        (lambda client: client.count(PHOTO, counts="nine"), 422, "invalid_request"),
        (lambda client: client.count(PHOTO, model="huge"), 404, "no_such_model"),
        (lambda client: client.count(PHOTO, colour="red"), 422, "invalid_request"),
        (lambda client: client.count_url("http://127.0.0.1/photo.jpg"), 403, "url_not_allowed"),
    ],
)
def test_refusals_come_at_once_with_the_services_words(
    client: Client, ask: Callable[[Client], object], status: int, code: str
) -> None:
    with pytest.raises(RequestError) as error:
        ask(client)
    assert (error.value.status, error.value.code) == (status, code)
    assert error.value.hint


def test_what_can_not_be_sent_is_said_before(client: Client, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no photo"):
        client.count(17)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="URL is no path"):
        client.count("http://camera.example/last.jpg")
    with pytest.raises(UsageError, match="no time zone"):
        client.count(PHOTO, captured_at=datetime(2026, 1, 1))
    for key in ("", "Größe", "a\nb", "x" * 256):
        with pytest.raises(UsageError, match="Idempotency-Key"):
            client.count(PHOTO, idempotency_key=key)
    with pytest.raises(PhotoError):
        client.count(tmp_path)


def test_a_photo_is_fetched_by_the_service(bundle: Path, tmp_path: Path) -> None:
    with (
        scripted([Said(200, PHOTO, (("Content-Type", "image/jpeg"),))]) as (camera, _),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("BINTALLY_SERVE_ALLOW_PRIVATE_URL", "true")
        with (
            running(bundle, "--state", tmp_path, "--allow-url", urlsplit(camera).netloc) as (url, _),
            Client(url) as client,
        ):
            answer = client.count_url(f"{camera}/last.jpg", recorded_count=3)
    assert answer.count == 3
    assert answer.path == f"{camera}/last.jpg"


def test_overlay_model_and_health(client: Client) -> None:
    with Image.open(io.BytesIO(client.overlay(PHOTO))) as picture:
        assert picture.format == "PNG"
    model, health = client.model(), client.health()
    assert (model.name, model.counts[-1]) == ("tiny", "6+")
    assert model.metrics["test"].photos == 100
    assert (health.status, health.model, health.version) == ("ok", "tiny", bintally.__version__)


def test_the_clients_records_have_the_services_fields() -> None:
    assert set(ServedModel.__struct_fields__) == set(ModelSummary.__struct_fields__)
    assert set(Health.__struct_fields__) <= set(HealthReport.__struct_fields__)


def test_a_key_lets_in_and_no_other_does(bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = json.loads(run_here("keys", "create", "robot-7", "--keys", keys, "--json").stdout)["key"]
    with running(bundle, "--state", tmp_path / "state", "--keys", keys, "--require-keys", "always") as (url, _):
        with Client(url, key=key) as client:
            assert client.count(PHOTO).count == 3
            assert key not in repr(client)
        for wrong in (None, key[:-1] + ("0" if key[-1] != "0" else "1")):
            with Client(url, key=wrong) as client, pytest.raises(RequestError) as error:
                client.count(PHOTO)
            assert (error.value.status, error.value.code) == (401, "unauthorized")
            assert key not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8080", "ftp://host", "http://", "http://me:secret@host", "http://host?key=secret", "http://host:port"],
)
def test_what_is_no_address_is_said_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Client(url)
    assert "secret" not in str(error.value)


def test_keys_and_limits_that_make_no_sense_are_said() -> None:
    for settings in ({"key": "a b"}, {"key": ""}, {"key": "a\nb"}, {"timeout_s": 0.0}, {"retries": -1}):
        with pytest.raises(UsageError):
            Client("http://127.0.0.1:1", **settings)


def test_an_overloaded_service_is_asked_again_with_the_same_key() -> None:
    with scripted([overloaded(), overloaded(), Said(200, COUNTED)]) as (url, got), Client(url) as client:
        assert client.count(PHOTO).count == 3
    assert len(got) == 3
    assert len({each["idempotency-key"] for each in got}) == 1
    assert all(0 < float(each["request-timeout"]) <= 30 for each in got)


@pytest.mark.parametrize("said", [Said(0), Said(502), Said(504), Said(429)], ids=["cut", "502", "504", "429"])
def test_what_may_pass_is_tried_again(said: Said) -> None:
    with scripted([said, Said(200, COUNTED)]) as (url, got), Client(url) as client:
        assert client.count(PHOTO).count == 3
    assert len(got) == 2


def test_tries_end_with_their_number_and_with_the_time() -> None:
    with scripted([overloaded()]) as (url, got), Client(url, retries=2) as client:
        with pytest.raises(RequestError, match="Too much"):
            client.count(PHOTO)
        assert len(got) == 3
    with scripted([overloaded("60")]) as (url, got), Client(url, timeout_s=5) as client:
        with pytest.raises(RequestError, match="Too much") as error:
            client.count(PHOTO)
        assert error.value.retry_after_s == 60
        assert len(got) == 1  # there is no use in waiting


def test_pages_of_others_are_no_answers() -> None:
    with (
        scripted([Said(200), Said(404), Said(302, b"", (("Location", "http://evil.example/"),))]) as (url, got),
        Client(url, key="btk_1_secret") as client,
    ):
        for status, code in ((200, "not_understood"), (404, "http_404"), (302, "http_302")):
            with pytest.raises(RequestError) as error:
                client.count(PHOTO)
            assert (error.value.status, error.value.code) == (status, code)
            assert "bintally" in error.value.hint
    assert len(got) == 3


def test_nobody_there_is_said_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retries=1) as client:
        for ask in (lambda: client.count(PHOTO), client.health):
            with pytest.raises(RequestError, match=f"127.0.0.1:{port} can't be reached") as error:
                ask()
            assert (error.value.status, error.value.code) == (503, "unreachable")


def test_a_service_that_hangs_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections, never answers
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        with Client(url, timeout_s=0.3) as client, pytest.raises(RequestError, match=r"within 0\.3 seconds") as error:
            client.count(PHOTO)
    assert (error.value.status, error.value.code) == (504, "timeout")


def test_an_answer_that_drips_is_given_up_in_time() -> None:
    with (
        scripted([Said(200, COUNTED, drip_s=0.1)]) as (url, _),
        Client(url, timeout_s=0.3, retries=0) as client,
        pytest.raises(RequestError, match=r"within 0\.3 seconds") as error,
    ):
        client.count(PHOTO)
    assert (error.value.status, error.value.code) == (504, "timeout")


def test_a_closed_client_says_so() -> None:
    client = Client("http://127.0.0.1:1")
    client.close()
    for ask in (lambda: client.count(PHOTO), client.health):
        with pytest.raises(UsageError, match="closed"):
            ask()


def test_a_restart_of_the_service_is_outlived(bundle: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        with running(bundle, "--state", tmp_path) as (url, process):
            client = Client(url, timeout_s=60)
            assert client.count(PHOTO).count == 3
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        waiting = [pool.submit(client.count, PHOTO) for _ in range(2)]
        time.sleep(0.3)
        with running(bundle, "--state", tmp_path, "--port", str(urlsplit(url).port)):
            assert [each.result(60).count for each in waiting] == [3, 3]
        client.close()


def test_more_threads_than_the_service_takes_at_once_are_all_answered(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINTALLY_SERVE_MAX_WAITING", "2")
    with running(bundle, "--state", tmp_path) as (url, _), Client(url, timeout_s=60, retries=50) as client:
        answers = client.count_batch([bin_photo(number % 6) for number in range(24)], at_once=12)
    assert [each.count if isinstance(each, CountAnswer) else each for each in answers] == [n % 6 for n in range(24)]


def test_the_client_starts_without_the_services_libraries() -> None:
    code = (
        "import sys; from bintally import AsyncClient, Client; Client('http://127.0.0.1:1').close(); "
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = (
        "fastapi",
        "starlette",
        "pydantic",
        "polars",
        "numpy",
        "onnxruntime",
        "sqlalchemy",
        "scipy",
        "PIL",
        "typer",
    )
    assert [name for name in heavy if f"'{name}'" in loaded] == []


def test_type_checkers_of_others_are_told_that_there_are_types() -> None:
    """PEP 561: without that file they take every call for right, and every answer for anything."""
    assert Path(bintally.__file__).with_name("py.typed").is_file()
