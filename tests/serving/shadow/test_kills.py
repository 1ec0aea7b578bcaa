"""Service and shadow are killed at random: answers go on, and each pair is kept whole, once, or not at all."""

import json
import os
import random
import signal
import time
from collections import Counter as Tally
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.serving.shadow.world import Asker, Following, eventually, made, pairs, shadow_pids


def campaign(place: Path, rounds: int, seed: int) -> dict[str, dict[str, Any]]:
    """Kills the shadow's process, then the service (its group, or itself alone), again and again; all answers."""
    chance = random.Random(seed)
    answers: dict[str, dict[str, Any]] = {}
    with Following(place) as served:
        for life in range(rounds):
            served.start()
            eventually(lambda: shadow_pids(served.pid), "a process in the shadow")
            [shadow] = shadow_pids(served.pid)
            asker = Asker(served.address, f"life-{life}", pause_s=0.005)
            asker.start()
            eventually(lambda: len(asker.answers) > 5, "answers")  # noqa: B023
            _wait(place, chance)

            os.kill(shadow, signal.SIGKILL)
            before = len(asker.answers)
            eventually(lambda: len(asker.answers) > before + 20 or asker.failures, "answers go on")  # noqa: B023
            assert asker.failures == [], "nobody notices that the shadow is gone"
            eventually(lambda: [pid for pid in shadow_pids(served.pid) if pid != shadow], "another takes its place")  # noqa: B023
            [shadow] = [pid for pid in shadow_pids(served.pid) if pid != shadow]
            _wait(place, chance)

            if chance.random() < 0.5:
                os.kill(served.pid, signal.SIGKILL)
            else:
                os.killpg(served.pid, signal.SIGKILL)
            asker.join()
            eventually(lambda: not Path(f"/proc/{shadow}").exists(), "the shadow ends with its service")  # noqa: B023
            served.kill()
            answers |= asker.answers
    return answers


def _wait(place: Path, chance: random.Random) -> None:
    """Mostly until more is paired, and then a little; else the kill comes while the challenger is loaded."""
    if chance.random() < 0.8:
        before = len(pairs(place).pairs)
        eventually(lambda: len(pairs(place).pairs) > before + chance.randrange(5), "more pairs")
    time.sleep(chance.random() * 0.2)


def check(place: Path, answers: dict[str, dict[str, Any]], kills: int) -> None:
    kept = pairs(place)
    names: Tally[str] = Tally()
    for path in (place / "shadow").rglob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            with suppress(json.JSONDecodeError):
                names[json.loads(line).get("request_id", "")] += 1
    del names[""]
    assert set(names.values()) == {1}, "each request once, as it stands in the files"
    assert kept.torn <= kills
    assert len(kept.pairs) >= kills, "the campaign has paired something"
    for pair in kept.pairs:
        if pair.request_id in answers:  # else the service was killed while it answered
            assert pair.champion.count == answers[pair.request_id]["count"]
    unanswered = [pair.request_id for pair in kept.pairs if pair.request_id not in answers]
    assert len(unanswered) <= kills


def test_kills_at_random_tear_nothing_and_fail_nobody(tmp_path: Path) -> None:
    place = made(tmp_path / "registry")
    check(place, campaign(place, 1, seed=1), kills=2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_kills_at_random_tear_nothing_and_fail_nobody(tmp_path: Path) -> None:
    place = made(tmp_path / "registry")
    check(place, campaign(place, 100, seed=2), kills=200)
