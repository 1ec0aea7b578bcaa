"""Kills on both sides: every photo is answered at least once, and counted once."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.bundles import bin_photo
from tests.serving.conftest import running
from tests.serving.mqtt.brokers import PATIENCE_S, Mosquitto, Robot, wait_until


@contextmanager
def serving(
    bundle: Path, broker: Mosquitto, state: Path, *arguments: str
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BINTALLY_SERVE_MQTT", broker.url)
        patch.setenv("BINTALLY_SERVE_STATE", str(state))
        patch.setenv("OMP_NUM_THREADS", "1")
        with running(bundle, *arguments) as service:
            yield service


def photos(number: int) -> dict[str, tuple[int, bytes]]:
    """Photos by id, each with its count."""
    return {f"scan-{each}": (each % 6, bin_photo(each % 6, image_format="JPEG", seed=each)) for each in range(number)}


def publish_until_answered(robot: Robot, wanted: dict[str, tuple[int, bytes]]) -> None:
    """What a robot does that has not heard of a photo for a while: it publishes it again, with its id."""
    end = time.monotonic() + PATIENCE_S
    while left := [name for name in wanted if name not in robot.answers]:
        assert time.monotonic() < end, f"never answered: {left}"
        for name in left:
            robot.publish(wanted[name][1], told={"id": name})
        pause = time.monotonic() + 5
        while time.monotonic() < pause and any(name not in robot.answers for name in left):
            time.sleep(0.02)


def check(robot: Robot, wanted: dict[str, tuple[int, bytes]]) -> None:
    """Each photo has its count; those that were answered more than once were counted once all the same."""
    for name, (count, _) in wanted.items():
        told: list[dict[str, Any]] = robot.answers[name]
        assert [each["answer"]["count"] for each in told] == [count] * len(told), name
        assert len({each["answer"]["request_id"] for each in told}) == 1, name


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_broker_that_goes_away_in_the_midst_loses_no_photo(
    bundle: Path, tmp_path: Path, broker: Mosquitto, robot: Robot, sign: signal.Signals
) -> None:
    wanted = photos(30)
    with serving(bundle, broker, tmp_path / "state"):
        robot.wait_for_service()
        for name in list(wanted)[:15]:
            robot.publish(wanted[name][1], told={"id": name})
        wait_until(lambda: len(robot.answers) >= 3, "for the first answers")
        broker.stop(sign)
        broker.start()
        publish_until_answered(robot, wanted)
    check(robot, wanted)


def test_photos_that_a_killed_service_had_taken_are_answered_after_its_restart(
    bundle: Path, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    _kill_and_restart(bundle, tmp_path / "state", broker, robot, kills=2, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_twenty_kills(bundle: Path, tmp_path: Path, broker: Mosquitto, robot: Robot, seed: int) -> None:
    _kill_and_restart(bundle, tmp_path / "state", broker, robot, kills=20, seed=seed)


def _kill_and_restart(bundle: Path, state: Path, broker: Mosquitto, robot: Robot, *, kills: int, seed: int) -> None:
    """Nobody publishes anything twice here: the broker alone brings the photos again."""
    random = Random(seed)
    wanted = photos(20 * kills)
    names = iter(wanted)
    left_over = published = 0
    for _ in range(kills):
        robot.statuses.clear()
        with serving(bundle, broker, state) as (_, process):
            robot.wait_for_service()
            answered = len(robot.answers)
            published += 20
            for _ in range(20):
                name = next(names)
                robot.publish(wanted[name][1], told={"id": name})
            wait_until(lambda: len(robot.answers) > answered, "for an answer")  # noqa: B023 - waited for at once
            time.sleep(random.uniform(0, 0.05))
            os.kill(process.pid, signal.SIGKILL)
            process.wait(20)
            left_over += published - len(robot.answers)
    assert left_over > len(wanted) // 10, "the kills came too late to show anything"
    with serving(bundle, broker, state):
        wait_until(lambda: len(robot.answers) == len(wanted), "for all answers")
    check(robot, wanted)


def test_workers_are_clients_that_share_the_photos(
    bundle: Path, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    wanted = photos(12)
    with serving(bundle, broker, tmp_path / "state", "--workers", "2"):
        robot.wait_for_service(2)
        for name, (_, photo) in wanted.items():
            robot.publish(photo, told={"id": name})
        wait_until(lambda: len(robot.answers) == len(wanted), "for all answers")
    check(robot, wanted)
    assert all(len(told) == 1 for told in robot.answers.values())
