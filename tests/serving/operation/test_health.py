from pathlib import Path
from typing import Any

import pytest

from bintally.bundle import MODEL
from bintally.counting.counter import Counter
from bintally.errors import ModelError, RequestError, StorageError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.engine.engine import Load
from bintally.serving.operation import health, readiness
from bintally.serving.operation.health import KeptBytes
from bintally.serving.operation.readiness import FAILURES, Readiness
from tests.bundles import bin_photo, make_bundle
from tests.serving.services import client_of


def test_health_says_what_counts_and_how_much_there_is_to_do(counter: Counter, tmp_path: Path) -> None:
    with client_of(counter, state=tmp_path) as client:
        said = client.get("/health").json()
    assert (said["status"], said["problems"], said["model"]) == ("ok", {}, "tiny")
    assert said["model_sha256"] == counter.card.model_sha256
    assert (said["under_way"], said["waiting"], said["working"], said["workers"]) == (0, 0, 0, 1)


def test_a_part_that_does_not_work_is_told_and_counts_go_on(counter: Counter) -> None:
    with client_of(counter) as client:
        client.app.state.reloading._service.failures["capture"] = "The disk is full."  # type: ignore[attr-defined]
        response = client.get("/health")
        assert response.status_code == 200
        assert response.json()["status"] == "degraded"
        assert response.json()["problems"] == {"capture": "The disk is full."}
        assert client.get("/health/ready").status_code == 200


def test_a_service_whose_counts_all_fail_gets_no_requests_for_a_while(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise ModelError("NaN")

    with client_of(counter) as client:
        service = client.app.state.reloading._service  # type: ignore[attr-defined]
        with monkeypatch.context() as broken:
            broken.setattr(service.models.default, "count", fail)
            for _ in range(FAILURES):
                assert client.get("/health/ready").status_code == 200
                sent = client.post("/invocations", content=bin_photo(2), headers={"Content-Type": "image/png"})
                assert sent.status_code == 500
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health").status_code == 503
        assert client.get("/health").json()["status"] == "failing"
        assert client.get("/health/live").status_code == 200
        monkeypatch.setattr(readiness, "RETRY_S", 0.0)
        assert client.get("/health/ready").status_code == 200
        sent = client.post("/invocations", content=bin_photo(2), headers={"Content-Type": "image/png"})
        assert sent.json()["count"] == 2


def test_refusals_are_no_failures_and_one_success_is_enough() -> None:
    watcher, asked = Readiness(), Asked(photo=b"x")
    said = []
    for error in (RequestError("no", status=422, code="invalid_request"), StorageError("full")):
        for _ in range(FAILURES):
            watcher.refused(asked, error, 0.1)
        said.append(watcher.is_failing)
    watcher.answered(asked, CountAnswer(), 0.1)
    assert [*said, watcher.is_failing] == [False, True, False]


def test_an_engine_that_hangs_is_noticed_and_one_that_is_busy_or_idle_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(photos: int, batches: int) -> Load:
        return Load(waiting=photos, working=photos, wait_s=1.0, batches={1: batches})

    watcher = Readiness()
    monkeypatch.setattr(readiness, "STUCK_S", 0.0)
    assert not watcher.is_stuck(load(0, 7))
    assert not watcher.is_stuck(load(0, 7))
    assert watcher.is_stuck(load(1, 7))
    monkeypatch.setattr(readiness, "STUCK_S", 60.0)
    assert not watcher.is_stuck(load(1, 7))
    watcher._busy_since -= 61
    assert watcher.is_stuck(load(1, 7))
    assert not watcher.is_stuck(load(1, 8))


def test_a_service_that_stops_is_not_ready(counter: Counter) -> None:
    with client_of(counter) as client:
        client.app.state.reloading._service.is_stopping = True  # type: ignore[attr-defined]
        response = client.get("/health/ready")
    assert response.status_code == 503
    assert "shutting down" in response.json()["status"]


def test_sizes_of_what_is_kept_are_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptBytes(tmp_path)
    assert kept.get() == {}
    (tmp_path / "capture" / "2026").mkdir(parents=True)
    (tmp_path / "capture" / "2026" / "a.jsonl").write_bytes(bytes(100))
    assert kept.get() == {}  # of a moment ago
    monkeypatch.setattr(health, "SIZES_S", 0.0)
    assert kept.get() == {"capture": 100}


def test_a_reload_takes_the_new_model_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    with client_of(Counter(folder, threads=1)) as client:
        make_bundle(folder, name="newer", created="2026-02-02T00:00:00Z")
        reloaded = client.post("/v1/reload").json()
        assert (reloaded["model"], reloaded["created"]) == ("newer", "2026-02-02T00:00:00Z")

        (folder / MODEL).write_bytes(b"no model")
        refused = client.post("/v1/reload")
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "model_damaged"
        said = client.get("/health").json()
        assert (said["status"], said["model"]) == ("degraded", "newer")
        assert said["problems"]["model"]
        sent = client.post("/invocations", content=bin_photo(2), headers={"Content-Type": "image/png"})
        assert sent.json()["model"] == "newer"

        make_bundle(folder, name="mended")
        assert client.post("/v1/reload").json()["model"] == "mended"
        assert client.get("/health").json()["status"] == "ok"
