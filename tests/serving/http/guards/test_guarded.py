"""The guards around the whole app, as a caller meets them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bintally.counting.counter import Counter
from bintally.errors import UsageError
from bintally.serving.http.app import create_app
from bintally.serving.http.guards.guarded import needs_keys
from bintally.serving.keys.file import KeyFile
from bintally.serving.settings import ServeConfig
from tests.bundles import bin_photo
from tests.serving.services import client_of, service_of

PHOTO = bin_photo(2, image_format="JPEG")
JPEG = {"content-type": "image/jpeg"}


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"] if response.status_code >= 400 else ""


def count(client: TestClient, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return code_of(client.post("/invocations", content=PHOTO, headers=JPEG | named))


@pytest.fixture
def texts(keys: KeyFile) -> dict[str, str]:
    """Keys by their only scope."""
    return {scope: keys.create(f"{scope}er", scopes=[scope])[1] for scope in ("count", "read", "admin")}


@pytest.fixture
def open_to_all(counter: Counter, samples: Path, keys: KeyFile, texts: dict[str, str]) -> Iterator[TestClient]:
    """A service that other machines reach, so that it needs keys."""
    with client_of(counter, samples=samples, host="0.0.0.0", keys=keys.path) as client:
        yield client


def test_without_a_key_only_health_and_the_page_are_answered(open_to_all: TestClient) -> None:
    assert open_to_all.get("/ping").status_code == 200
    assert open_to_all.get("/").status_code == 200
    assert code_of(open_to_all.get("/health"))[0] != 401
    for path in ("/model", "/samples", "/openapi.json", "/metrics", "/nowhere", "/models"):
        assert code_of(open_to_all.get(path)) == (401, "unauthorized"), path
    protocol = open_to_all.get("/v2/models/tiny")
    assert (protocol.status_code, list(protocol.json())) == (401, ["error"]), "in the shape that clients of /v2 know"
    assert count(open_to_all) == (401, "unauthorized")
    response = open_to_all.post("/invocations", content=PHOTO, headers=JPEG)
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert "keys create" in response.json()["error"]["hint"]


def test_a_key_is_taken_from_either_header(open_to_all: TestClient, texts: dict[str, str]) -> None:
    assert count(open_to_all, **bearer(texts["count"])) == (200, "")
    assert count(open_to_all, authorization=f"bearer  {texts['count']}") == (200, "")
    assert count(open_to_all, x_api_key=texts["count"]) == (200, "")
    assert count(open_to_all, x_api_key=texts["count"], **bearer(texts["count"])) == (200, "")
    assert count(open_to_all, x_api_key=texts["count"], **bearer(texts["read"])) == (401, "unauthorized")
    assert count(open_to_all, authorization=f"Basic {texts['count']}") == (401, "unauthorized")
    assert code_of(open_to_all.post(f"/invocations?key={texts['count']}", content=PHOTO, headers=JPEG))[0] == 401
    assert count(open_to_all, x_api_key="") == (401, "unauthorized")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/invocations", "count"),
        ("POST", "/v1/counts", "count"),
        ("POST", "/v1/overlay", "count"),
        ("POST", "/models/a/invoke", "count"),
        ("POST", "/v2/models/a/infer", "count"),
        ("POST", "/v2/models/a/versions/1/infer", "count"),
        ("GET", "/model", "read"),
        ("HEAD", "/samples", "read"),
        ("GET", "/metrics", "read"),
        ("GET", "/models", "read"),
        ("POST", "/models", "admin"),
        ("DELETE", "/models/a", "admin"),
        ("POST", "/v1/reload", "admin"),
        ("POST", "/v1/whatever-comes-next", "admin"),
        ("POST", "//invocations", "admin"),
        ("PUT", "/invocations", "admin"),
        ("POST", "/models/a/b/invoke", "admin"),
    ],
)
def test_each_scope_opens_its_endpoints_only(
    open_to_all: TestClient, texts: dict[str, str], method: str, path: str, scope: str
) -> None:
    for held, text in texts.items():
        response = open_to_all.request(method, path, headers=bearer(text))
        is_refused = response.headers.get("x-request-id") and response.status_code == 403
        assert bool(is_refused) == (held != scope), (held, response.status_code)


def test_every_endpoint_that_changes_something_needs_a_scope(counter: Counter, samples: Path) -> None:
    """A new endpoint that nobody thought of here needs `admin`: the guards' table names those that need less."""
    from bintally.serving.http.guards.needs import scope_of

    config = ServeConfig.of({"bundle": counter.bundle.folder, "samples": samples, "threads": 1})
    api = create_app(service_of(counter, samples=samples), config).openapi()
    needed = {
        (method.upper(), path): scope_of(method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in api["paths"].items()
        for method in methods
    }
    assert {place for place, scope in needed.items() if scope is None} <= {
        ("GET", path)
        for path in (
            "/ping",
            "/health",
            "/health/live",
            "/health/ready",
            "/v2/health/live",
            "/v2/health/ready",
            "/docs",
        )
    }
    assert {path for (method, path), scope in needed.items() if scope == "count"} <= {
        "/invocations",
        "/v1/counts",
        "/v1/overlay",
        "/models/{name}/invoke",
        "/models/{model}/invoke",
        "/models/{model_name}/invoke",
        "/v2/models/{name}/infer",
        "/v2/models/{model}/infer",
        "/v2/models/{model_name}/infer",
        "/v2/models/{name}/versions/{version}/infer",
        "/v2/models/{model}/versions/{version}/infer",
        "/v2/models/{model_name}/versions/{version}/infer",
    }
    assert needed[("POST", "/invocations")] == "count"


def test_a_key_is_needed_unless_only_this_machine_can_ask() -> None:
    def needs(**settings: Any) -> bool:
        return needs_keys(ServeConfig.of(settings))

    assert not any(needs(host=host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"))
    assert all(needs(host=host) for host in ("0.0.0.0", "::", "192.168.0.7", "robot.example", "localhost.example"))
    assert needs(require_keys="always")
    assert not needs(host="0.0.0.0", require_keys="never")
    assert not needs(host="0.0.0.0", sagemaker=True)


def test_a_service_that_needs_keys_does_not_start_without_one(counter: Counter, samples: Path, keys: KeyFile) -> None:
    for settings in ({"host": "0.0.0.0"}, {"require_keys": "always"}):
        config = ServeConfig.of({"samples": samples, "keys": keys.path, **settings})
        with pytest.raises(UsageError, match="need an API key") as error:
            create_app(service_of(counter), config)
        assert "bintally keys create" in error.value.hint
    keys.create("robot-7", scopes=["count"], expires_days=1e-9)
    with pytest.raises(UsageError, match="need an API key"):
        create_app(service_of(counter), ServeConfig.of({"samples": samples, "keys": keys.path, "host": "0.0.0.0"}))


def test_on_loopback_a_key_that_is_shown_is_looked_at_all_the_same(
    counter: Counter, samples: Path, keys: KeyFile, texts: dict[str, str]
) -> None:
    with client_of(counter, samples=samples, keys=keys.path) as client:
        assert count(client) == (200, "")
        assert count(client, **bearer(texts["count"])) == (200, "")
        assert count(client, **bearer(texts["read"])) == (403, "scope_missing")
        assert count(client, **bearer(texts["count"][:-1])) == (401, "unauthorized")
        assert count(client, authorization="Basic dXNlcjpwYXNzd29yZA==") == (200, ""), "not for us"


def test_guards_are_off_in_the_container_of_an_endpoint(counter: Counter, samples: Path) -> None:
    with client_of(counter, samples=samples, sagemaker=True, host="0.0.0.0") as client:
        assert count(client, host="model-container.aws.example", authorization="Bearer whatever") == (200, "")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "[::1]:8080", "LOCALHOST", "a.localhost"]
)
def test_without_keys_a_loopback_name_is_answered(counter: Counter, samples: Path, host: str) -> None:
    with client_of(counter, samples=samples) as client:
        assert client.get("/ping", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.0.7", "0.0.0.0", "", "[::"]
)
def test_a_name_made_to_lead_here_is_not_answered(counter: Counter, samples: Path, host: str) -> None:
    """DNS rebinding: a page of evil.example would read the answers."""
    with client_of(counter, samples=samples) as client:
        assert code_of(client.get("/ping", headers={"host": host})) == (421, "wrong_host")
        assert code_of(client.get("/model", headers={"host": host})) == (421, "wrong_host")
        assert count(client, host=host) == (421, "wrong_host")


def test_the_names_of_a_service_can_be_given(counter: Counter, samples: Path) -> None:
    with client_of(counter, samples=samples, allow_host=["Count.Example"]) as client:
        assert count(client, host="count.example:8080") == (200, "")
        assert count(client, host="127.0.0.1") == (421, "wrong_host")
        assert code_of(client.get("/", headers={"host": "10.0.0.7"})) == (421, "wrong_host")
        for path in ("/health", "/health/ready", "/ping", "/v2/health/live"):  # as a load balancer asks
            assert client.get(path, headers={"host": "10.0.0.7:8080"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "Same-Origin-Not"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://[", "host": "127.0.0.1:8080"},
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "cross-site"},
    ],
)
def test_another_sites_page_can_not_send_photos(counter: Counter, samples: Path, headers: dict[str, str]) -> None:
    with client_of(counter, samples=samples) as client:
        response = client.post("/invocations", content=PHOTO, headers={**JPEG, **headers})
        assert code_of(response) == (403, "cross_site")


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "same-origin"}, {"origin": "http://127.0.0.1:8080"}, {}])
def test_our_own_page_and_programs_can(counter: Counter, samples: Path, headers: dict[str, str]) -> None:
    with client_of(counter, samples=samples) as client:
        assert code_of(client.post("/invocations", content=PHOTO, headers={**JPEG, **headers})) == (200, "")


def test_a_proxy_in_front_of_loopback_is_noticed(counter: Counter, samples: Path) -> None:
    """To the service everybody behind the proxy comes from 127.0.0.1."""
    with client_of(counter, samples=samples) as client:
        assert count(client, x_forwarded_for="203.0.113.9") == (403, "proxied")
        assert count(client, forwarded="for=203.0.113.9") == (403, "proxied")
        assert count(client, x_real_ip="203.0.113.9") == (403, "proxied")
        assert count(client, via="1.1 proxy") == (403, "proxied")
    with client_of(counter, samples=samples, require_keys="never") as client:
        assert count(client, x_forwarded_for="203.0.113.9") == (200, "")


def test_every_answer_has_its_name_and_the_headers_browsers_obey(open_to_all: TestClient) -> None:
    for path in ("/ping", "/", "/model", "/nowhere"):
        headers = open_to_all.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert len(headers.get_list("content-security-policy")) == 1
        assert len(headers.get_list("x-request-id")) == 1
        assert "strict-transport-security" not in headers
    secure = open_to_all.get("https://127.0.0.1/ping")
    assert "max-age" in secure.headers["strict-transport-security"]


def test_a_callers_name_for_a_request_is_kept_if_it_is_a_plain_word(open_to_all: TestClient) -> None:
    assert open_to_all.get("/ping", headers={"x-request-id": "shift-2.robot_7"}).headers["x-request-id"] == (
        "shift-2.robot_7"
    )
    for wrong in ("a b", "x" * 65, "", "ä", "a\tb", "<b>"):
        headers = {b"x-request-id": wrong.encode("latin-1")}
        given = open_to_all.get("/ping", headers=headers).headers["x-request-id"]
        assert given != wrong
        assert len(given) > 16


def test_a_bug_is_answered_with_a_name_and_headers_too(counter: Counter, samples: Path) -> None:
    service = service_of(counter, samples=samples)
    app = create_app(service, ServeConfig.of({"samples": samples}))
    app.add_api_route("/broken", lambda: 1 / 0)
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    response = client.get("/broken", headers={"x-request-id": "abc"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "abc"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError" not in response.text


def test_headers_that_hide_a_second_request_or_fill_memory_are_refused(counter: Counter, samples: Path) -> None:
    def code(*headers: tuple[str, str]) -> tuple[int, str]:
        return code_of(client.get("/ping", headers=[("host", "127.0.0.1"), *headers]))

    with client_of(counter, samples=samples) as client:
        assert code(("host", "evil.example")) == (400, "invalid_request")
        assert code(("content-length", "0"), ("transfer-encoding", "chunked")) == (400, "invalid_request")
        assert code(("content-length", "0"), ("content-length", "5")) == (400, "invalid_request")
        assert code(("authorization", "Bearer a"), ("authorization", "Bearer b")) == (400, "invalid_request")
        assert code(*((f"x-{number}", "1") for number in range(101))) == (431, "headers_too_large")
        assert code(("x", "y" * 33_000)) == (431, "headers_too_large")


def test_a_rate_holds_for_each_key_and_tells_when_to_come_again(
    counter: Counter, samples: Path, keys: KeyFile, texts: dict[str, str]
) -> None:
    _, unlimited = keys.create("unlimited", scopes=["count"], rate=0)
    _, slow = keys.create("slow", scopes=["count"], rate=0.01)
    settings = {"host": "0.0.0.0", "keys": keys.path, "rate": 0.1, "burst": 2, "samples": samples}
    with client_of(counter, **settings) as client:
        first = client.post("/invocations", content=PHOTO, headers=JPEG | bearer(texts["count"]))
        assert first.status_code == 200
        assert first.headers["ratelimit-policy"] == '"photos";q=2;w=20'
        assert first.headers["ratelimit"] == '"photos";r=1;t=10'
        assert count(client, **bearer(texts["count"])) == (200, "")
        third = client.post("/invocations", content=PHOTO, headers=JPEG | bearer(texts["count"]))
        assert code_of(third) == (429, "too_many_requests")
        assert 0 < int(third.headers["retry-after"]) <= 10
        assert third.headers["ratelimit"].startswith('"photos";r=0')
        assert [count(client, **bearer(unlimited))[0] for _ in range(4)] == [200] * 4
        assert [count(client, **bearer(slow))[0] for _ in range(2)] == [200, 429]
        assert client.get("/ping").status_code == 200, "health costs nothing"


def test_a_batch_of_more_than_the_burst_is_counted_and_owed(counter: Counter, samples: Path) -> None:
    """It was refused for good: what its first photo had taken was missing when the rest wanted the whole bucket."""
    batch = [("photo", PHOTO)] * 5
    with client_of(counter, samples=samples, rate=0.1, burst=2) as client:
        statuses = [client.post("/v1/counts", files=batch).status_code for _ in range(2)]
    assert statuses == [200, 429]


def test_without_keys_a_rate_holds_for_each_address(counter: Counter, samples: Path) -> None:
    with client_of(counter, samples=samples, rate=0.1, burst=2) as client:
        assert [count(client)[0] for _ in range(3)] == [200, 200, 429]


def test_workers_share_a_rate_until_the_service_is_started_anew(
    counter: Counter, samples: Path, tmp_path: Path
) -> None:
    """The clock counts from the machine's start: moments that outlive it lock everybody out."""
    config = ServeConfig.of({"samples": samples, "rate": 0.1, "burst": 2, "workers": 2, "state": tmp_path / "state"})

    def asked(folder: str) -> list[int]:
        (tmp_path / folder).mkdir(exist_ok=True)
        app = create_app(service_of(counter, samples=samples), config, shared=tmp_path / folder)
        client = TestClient(app, base_url="http://127.0.0.1")
        return [count(client)[0] for _ in range(3)]

    assert asked("first start") == [200, 200, 429]
    assert asked("first start") == [429, 429, 429]
    assert asked("second start") == [200, 200, 429]
    assert not (tmp_path / "state").exists()


def test_wrong_keys_are_slowed_down_and_right_ones_are_not(open_to_all: TestClient, texts: dict[str, str]) -> None:
    wrong = bearer(f"btk_{'0' * 12}_{'x' * 43}")
    statuses = [count(open_to_all, **wrong)[0] for _ in range(30)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert count(open_to_all, **bearer(texts["count"])) == (200, "")


def test_a_key_that_is_revoked_while_the_service_runs_is_refused(
    open_to_all: TestClient, keys: KeyFile, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bintally.serving.keys.keyring.LOOKED_AT_EVERY_S", 0.0)
    assert count(open_to_all, **bearer(texts["count"])) == (200, "")
    keys.revoke("counter")
    assert count(open_to_all, **bearer(texts["count"])) == (401, "unauthorized")


def test_a_damaged_file_of_keys_is_told_in_health_and_the_last_keys_stay(
    counter: Counter, samples: Path, keys: KeyFile, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bintally.serving.keys.keyring.LOOKED_AT_EVERY_S", 0.0)
    config = ServeConfig.of({"samples": samples, "keys": keys.path, "host": "0.0.0.0"})
    service = service_of(counter, samples=samples)
    client = TestClient(create_app(service, config))
    good = keys.path.read_bytes()
    keys.path.write_text("{")
    assert count(client, **bearer(texts["count"])) == (200, "")
    assert "keys" in service.failures
    keys.path.write_bytes(good)
    client.get("/ping")
    assert "keys" not in service.failures
