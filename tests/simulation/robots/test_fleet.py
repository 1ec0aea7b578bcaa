"""Fleets against a real service and a real broker: every photo is answered, once, whatever dies in between."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bintally.errors import RequestError, UsageError
from bintally.inventory import schema
from bintally.inventory.intake import take_record
from bintally.inventory.ledger import Ledger, add_site
from bintally.serving.keys.file import KeyFile
from bintally.simulation.robots.report import FleetReport
from bintally.simulation.robots.run import largest_fleet, simulate_robots
from tests.inventory.judging.yard import hour
from tests.serving.killing import Served
from tests.serving.mqtt.brokers import Mosquitto, wait_until
from tests.simulation.robots.liar import lying

EVERYTHING = {"duplicates": 0.1, "late": 0.1, "batches": 0.15, "batch_photos": 2, "damaged": 0.05, "dropouts": 0.05}
BINS = [f"A-{number:03d}" for number in range(100)]
USUAL = {"duplicates": 0.0, "late": 0.0, "batches": 0.0, "damaged": 0.0, "dropouts": 0.0}


class Restartable(Served):
    """A service that can be killed and started again at the same port."""

    def start(self) -> None:
        super().start()
        self._command[-1] = str(self.url).rpartition(":")[2]


@contextmanager
def service(bundle: Path, state: Path, **settings: Any) -> Iterator[Restartable]:
    with Restartable(bundle, state=state, threads=1, **settings) as served:
        served.start()
        yield served


def after(seconds: float, act: Any) -> threading.Thread:
    """Does it in the midst of a drive."""
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def check(report: FleetReport, *, unexpected: int = 0) -> None:
    assert report.is_exact, (report.lost, report.doubled, report.misfits, report.examples, report.tries)
    assert report.unexpected_refusals == unexpected, (report.refused, report.hints)
    assert report.counted + sum(report.refused.values()) == report.photos


def test_fifty_robots_over_both_doors_are_answered_once(
    bundle: Path, photos: Path, tmp_path: Path, broker: Mosquitto
) -> None:
    with service(bundle, tmp_path / "state", mqtt=broker.url) as served:
        report = simulate_robots(
            robots=50, url=served.url, mqtt=broker.url, photos=photos, minutes=3 / 60, every_s=1, mix=EVERYTHING,
            seed=1, out=tmp_path / "out",
        )  # fmt: skip
    check(report)
    assert report.photos > 80
    assert report.doors.keys() == {"http", "mqtt"}
    assert {"usual", "duplicate", "late", "batch", "damaged", "dropout"} == report.kinds.keys()
    assert report.expected_refusals == report.kinds["damaged"] == report.refused["bad_photo"]
    assert report.repeated > 0  # the second answer to a duplicate
    assert report.tries["connection lost"] > 0
    assert sum(report.verdicts.values()) == report.counted  # each came with a record
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"robots.html", "robots.json", "robots.png"}


def test_a_service_that_is_killed_in_the_midst_counts_each_photo_once_in_its_ledger(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    _kill_the_service(bundle, photos, tmp_path, seconds=5, every_s=2, kills=1, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_a_service_that_is_killed_ten_times(bundle: Path, photos: Path, tmp_path: Path, seed: int) -> None:
    _kill_the_service(bundle, photos, tmp_path, seconds=60, every_s=5, kills=10, seed=seed)


def _kill_the_service(
    bundle: Path, photos: Path, folder: Path, *, seconds: float, every_s: float, kills: int, seed: int
) -> None:
    place, state = str(folder / "ledger.sqlite"), folder / "state"
    with service(bundle, state, ledger=_with_bins(place)) as served:
        killing = threading.Thread(target=_kill_and_restart, args=[served, kills, seconds / (kills + 1)])
        address = str(served.url)
        killing.start()
        report = simulate_robots(
            robots=20, url=address, photos=photos, minutes=seconds / 60, every_s=every_s, bins=BINS, mix=EVERYTHING,
            seed=seed, patience_s=120,
        )  # fmt: skip
        killing.join()
        wait_until(lambda: not any((state / "spool" / "waiting").glob("[!.]*")), "for what the ledger was too slow for")
    check(report)
    assert report.tries["503 unreachable"] > 0, "nobody noticed the kill"
    with Ledger.open(place) as ledger, ledger.read() as connection:
        taken = connection.execute(select(schema.Photo.__table__.c.sha256)).scalars().all()
    assert len(taken) == len(set(taken)) == report.counted


def _with_bins(place: str) -> str:
    """A ledger whose bins are so many that none of them has a long history."""
    with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
        site = add_site(connection, code="STR1")
        for code in BINS:
            take_record(connection, site, bin=code, quantity=3, effective_at=hour(0), source="tests", create_bins=True)
    return place


def _kill_and_restart(served: Served, kills: int, every_s: float) -> None:
    for _ in range(kills):
        time.sleep(every_s)
        served.kill()
        served.start()


@pytest.mark.parametrize(
    "sign",
    [pytest.param(signal.SIGTERM, id="stopped", marks=pytest.mark.soak), pytest.param(signal.SIGKILL, id="killed")],
)
def test_a_broker_that_goes_away_in_the_midst_loses_no_photo(
    bundle: Path, photos: Path, tmp_path: Path, broker: Mosquitto, sign: signal.Signals
) -> None:
    def restart() -> None:
        broker.stop(sign)
        time.sleep(0.5)
        broker.start()

    with service(bundle, tmp_path / "state", mqtt=broker.url):
        restarting = after(2.5, restart)
        report = simulate_robots(
            robots=30, mqtt=broker.url, photos=photos, minutes=5 / 60, every_s=2, mix=EVERYTHING, seed=2
        )
        restarting.join()
    check(report)
    assert report.doors.keys() == {"mqtt"}


@pytest.mark.soak
def test_fifty_robots_for_two_minutes_while_the_broker_comes_and_goes(
    bundle: Path, photos: Path, tmp_path: Path, broker: Mosquitto
) -> None:
    ended = threading.Event()

    def restart_again_and_again() -> None:
        for number in range(8):
            if ended.wait(12):
                return
            broker.stop(signal.SIGKILL if number % 2 else signal.SIGTERM)
            broker.start()

    with service(bundle, tmp_path / "state", mqtt=broker.url) as served:
        restarting = after(0, restart_again_and_again)
        report = simulate_robots(
            robots=50, url=served.url, mqtt=broker.url, photos=photos, minutes=2, every_s=3, mix=EVERYTHING, seed=3,
            patience_s=120,
        )  # fmt: skip
        ended.set()
        restarting.join()
    check(report)


def test_robots_that_are_told_to_slow_down_come_back_when_they_were_told_to(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    with service(bundle, tmp_path / "state", rate=20, burst=2) as served:
        report = simulate_robots(robots=10, url=served.url, photos=photos, minutes=1.2 / 60, every_s=0.3, mix=USUAL)
    check(report)
    assert report.tries["429 too_many_requests"] > 0
    assert report.latency_ms.max is not None
    assert report.latency_ms.max > 500  # waiting to be let in is part of what a robot waits


def test_bins_of_no_ledger_are_told_as_refusals(url: str, photos: Path) -> None:
    report = simulate_robots(robots=4, url=url, photos=photos, minutes=1 / 60, every_s=0.3, mix=USUAL, bins=["A"])
    check(report, unexpected=report.photos)
    assert report.refused == {"no_ledger": report.photos}
    assert "--ledger" in report.hints["no_ledger"]


def test_robots_drive_on_while_the_service_stands_still(photos: Path) -> None:
    """An open loop: what a stall delays is all in the latencies, not only the photo that met it."""
    came: list[float] = []

    def stall_s(name: str) -> float:
        """Nobody is answered in the two seconds after the first photo of a robot."""
        if not name:
            return 0.0
        came.append(time.monotonic())
        return max(came[0] + 2 - came[-1], 0)

    with lying(stall_s=stall_s) as url:
        report = simulate_robots(robots=10, url=url, photos=photos, minutes=3 / 60, every_s=1, mix=USUAL, seed=1)
    check(report)
    in_the_stall = sum(moment < came[0] + 2 for moment in came)
    assert in_the_stall > 10  # a closed loop's ten robots would have sent ten
    assert sum(bar.photos for bar in report.histogram if bar.to_ms > 200) >= in_the_stall / 2


def test_a_service_that_counts_a_repetition_again_is_found_out(photos: Path) -> None:
    with lying() as url:
        mix = {**USUAL, "duplicates": 0.5}
        report = simulate_robots(robots=5, url=url, photos=photos, minutes=2 / 60, every_s=0.5, mix=mix)
    assert report.doubled == report.kinds["duplicate"] > 0
    assert not report.is_exact


def test_a_service_that_answers_with_anothers_count_is_found_out(photos: Path) -> None:
    with lying(names=lambda name: f"{name}x") as url:
        report = simulate_robots(robots=2, url=url, photos=photos, minutes=1 / 60, every_s=0.5, mix=USUAL, patience_s=2)
    assert report.misfits == report.photos > 0


def test_a_ramp_goes_down_where_the_first_fleet_is_too_large(url: str, photos: Path) -> None:
    report = largest_fleet(robots=2, url=url, photos=photos, every_s=0.3, limit_ms=0.01, mix=USUAL, round_s=(0.8, 0.8))
    assert report.robots == 0
    assert [each.robots for each in report.rounds] == [2, 2, 1, 1]


@pytest.mark.soak
def test_the_ramp_finds_what_a_service_with_a_limit_lets_in(bundle: Path, photos: Path, tmp_path: Path) -> None:
    """20 photos/s are let in, so 40 robots with a photo in 2 seconds each; some less, for they come at random."""
    with service(bundle, tmp_path / "state", rate=20, burst=10) as served:
        report = largest_fleet(
            robots=5, url=served.url, photos=photos, every_s=2, limit_ms=2000, mix=USUAL, seed=1, round_s=(10.0, 10.0)
        )
    assert 20 <= report.robots <= 48


def test_what_is_missing_is_said_before_anybody_drives(
    photos: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bintally.simulation.robots.probe._PATIENCE_S", 0.5)
    usual: dict[str, Any] = {"robots": 2, "photos": photos, "minutes": 0.1}
    with pytest.raises(RequestError, match=r"127\.0\.0\.1:1 can't be reached"):
        simulate_robots(url="http://127.0.0.1:1", **usual)
    with pytest.raises(UsageError, match="no address of a service"):
        simulate_robots(url="localhost", **usual)
    with pytest.raises(UsageError, match="broker's URL"):
        simulate_robots(mqtt="localhost", **usual)
    with pytest.raises(RequestError, match="No service is online"):
        simulate_robots(mqtt=broker.url, **usual)
    broker.stop()
    with pytest.raises(RequestError, match=r"The broker .* can't be used: Connection refused"):
        simulate_robots(mqtt=broker.url, **usual)


def test_a_service_with_keys_asks_for_one(bundle: Path, photos: Path, tmp_path: Path) -> None:
    _, key = KeyFile(tmp_path / "keys.json").create("robots", scopes=["count"])
    with service(bundle, tmp_path / "state", require_keys="always", keys=tmp_path / "keys.json") as served:
        usual: dict[str, Any] = {"robots": 2, "url": served.url, "photos": photos, "minutes": 1 / 60, "every_s": 0.5}
        with pytest.raises(RequestError, match="--key"):
            simulate_robots(**usual)
        with pytest.raises(RequestError, match="--key"):
            simulate_robots(key="btk_wrong", **usual)
        check(simulate_robots(key=key, **usual))
