"""A challenger counts beside the champion, in a real process of its own."""

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bintally.errors import UsageError
from bintally.registry import shadow
from bintally.registry.place import Registry
from bintally.serving.asked import Asked
from bintally.serving.assembly import build
from bintally.serving.capturing import is_drawn
from bintally.serving.settings import ServeConfig
from bintally.serving.shadow.process import LOWEST
from tests.bundles import bin_photo, make_bundle
from tests.registry.worlds import promoted, registered
from tests.serving.shadow.world import Asker, Following, eventually, here, made, niceness, pairs, shadow_pids, shadows


def test_both_answers_to_each_photo_are_kept_and_only_one_is_given(tmp_path: Path) -> None:
    place = made(tmp_path / "registry")
    with Following(place) as served:
        served.start()
        eventually(lambda: shadow_pids(served.pid), "a process in the shadow")
        [pid] = shadow_pids(served.pid)
        eventually(lambda: niceness(pid) == LOWEST, "it gives way to everybody", 5)
        answers: dict[str, dict[str, Any]] = {}
        for batch in range(6):  # no more at once than may wait
            answers |= served.ask_many([f"{batch}-{number}" for number in range(5)])
            eventually(lambda: len(pairs(place).pairs) == len(answers), "pairs")  # noqa: B023 - called at once
        served.stop()
    kept = pairs(place)
    assert kept.torn == kept.dropped == 0
    assert [pair.request_id for pair in kept.pairs] == list(answers)
    for pair in kept.pairs:
        answer = answers[pair.request_id]
        assert answer["model_version"] == "bintally/1"
        assert pair.champion.count == answer["count"]
        assert pair.champion.expected_count == pytest.approx(answer["expected_count"], abs=1e-3)
        assert pair.challenger.probabilities != pair.champion.probabilities
        assert pair.challenger.error is None
    photo = bin_photo(3, image_format="JPEG", seed=3)
    assert kept.pairs[3].photo_sha256 == sha256(photo).hexdigest()
    files = [path for path in (place / "shadow").rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".jsonl"], "no photo is kept"
    [begun] = kept.begun
    assert (begun.challenger, begun.champion) == ("bintally/2", "bintally/1")
    assert begun.challenger_ms
    assert begun.champion_ms


def test_the_shadow_follows_the_aliases(tmp_path: Path) -> None:
    place = made(tmp_path / "registry", percent=None)
    with Following(place) as served, Registry.open(place) as registry:
        served.start()
        served.ask_many(["before"])
        assert shadow_pids(served.pid) == []
        shadow.start(registry, "2", percent=100, by="rita")
        eventually(lambda: shadow_pids(served.pid), "a process in the shadow")
        [first] = shadow_pids(served.pid)
        served.ask_many(["beside-1"])
        eventually(lambda: pairs(place).pairs, "a pair")

        promoted(registry, "3")
        eventually(lambda: served.health()["model_version"] == "bintally/3", "the new champion")
        served.ask_many(["beside-3"])
        eventually(lambda: pairs(place, 2, 3).pairs, "a pair beside the new champion")
        assert shadow_pids(served.pid) == [first], "the challenger is the same"

        promoted(registry, "2")
        eventually(lambda: shadow_pids(served.pid) == [], "no process: the challenger is the champion")
        served.ask_many(["alone"])
        shadow.start(registry, "1", percent=100, by="rita")
        eventually(lambda: shadow_pids(served.pid), "a process for another challenger")
        served.ask_many(["beside-2"])
        eventually(lambda: pairs(place, 1, 2).pairs, "a pair")
        shadow.stop(registry, by="rita")
        eventually(lambda: shadow_pids(served.pid) == [], "no process: it was ended")
        served.stop()
    told = {
        name: [pair.request_id for pair in pairs(place, *map(int, name.split("-"))).pairs] for name in shadows(place)
    }
    assert told == {"2-1": ["beside-1"], "2-3": ["beside-3"], "1-2": ["beside-2"]}


def test_a_share_is_drawn_by_the_requests_names(tmp_path: Path) -> None:
    place = made(tmp_path / "registry", percent=30)
    names = [f"request-{number}" for number in range(40)]
    drawn = [name for name in names if is_drawn(Asked(photo=b"", request_id=name), 30)]
    assert 4 < len(drawn) < 25
    with here(place) as served:
        eventually(lambda: served.pids, "a process in the shadow")
        for number, name in enumerate(names):
            served.ask(name, seed=number)
            eventually(lambda: served.shadow.kept >= sum(each in drawn for each in names[: number + 1]), name)  # noqa: B023
    assert [pair.request_id for pair in pairs(place).pairs] == drawn


def test_the_service_may_have_a_share_of_its_own(tmp_path: Path) -> None:
    place = made(tmp_path / "registry", percent=100)
    with here(place, shadow=0) as served:
        served.ask("a")
        assert served.service.parts.shadow is None
    with here(place, shadow=0.001) as served:
        eventually(lambda: served.pids, "a process in the shadow")
        served.ask("a")
        assert served.shadow.photos() == {"kept": 0, "dropped": 0}
    assert shadows(place) == set()


def test_a_challenger_that_can_not_be_loaded_fails_nobody(tmp_path: Path) -> None:
    place = made(tmp_path / "registry")
    with Registry.open(place) as registry, registry.read() as connection:
        running = shadow.under_way(connection)
        assert running is not None
        graph = registry.bundle_of(running.challenger.bundle_sha256) / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + b"\0")
    with here(place) as served:
        failures = served.service.failures
        eventually(lambda: "shadow" in failures, "health says so")
        assert "bintally/2 can't count: The files in" in failures["shadow"]
        assert served.ask("a").model_version == "bintally/1"
        graph.write_bytes(whole)
        eventually(lambda: "shadow" not in failures, "it is tried again")
        served.ask("b")
        eventually(lambda: served.shadow.kept, "a pair")
    assert pairs(place).pairs[-1].request_id == "b"


def test_pairs_take_no_more_room_than_they_may(tmp_path: Path) -> None:
    place = made(tmp_path / "registry")
    folder = place / "shadow" / "2-1"
    folder.mkdir(parents=True)
    (folder / "other.jsonl").write_bytes(b"\n" * 2**20)
    with here(place, shadow_mb=1) as served:
        eventually(lambda: served.pids, "a process in the shadow")
        served.ask("a")
        eventually(lambda: served.shadow.is_full, "no more room")
        served.ask("b")
        assert "shadow" not in served.service.failures, "that is no trouble"
    assert pairs(place).pairs == []


def test_photos_are_dropped_and_counted_while_the_shadow_is_behind(tmp_path: Path) -> None:
    place = made(tmp_path / "registry")
    with Following(place) as served:
        served.start()
        eventually(lambda: shadow_pids(served.pid), "a process in the shadow")
        askers = [Asker(served.address, name, pause_s=0) for name in "abcd"]
        for asker in askers:
            asker.start()
        eventually(lambda: pairs(place).dropped > 50, "some are dropped")
        for asker in askers:
            asker.is_over.set()
            asker.join()
        asked: list[str] = []
        while not asked or pairs(place).pairs[-1].request_id != asked[-1]:  # until one finds room
            assert len(asked) < 100
            asked.append(f"last-{len(asked)}")
            served.ask_many(asked[-1:])
            time.sleep(0.5)
        served.stop()
    assert not any(asker.failures for asker in askers)
    kept = pairs(place)
    answered = sum(len(asker.answers) for asker in askers)
    assert len(kept.pairs) + kept.dropped == answered + len(asked), (
        "each photo that was drawn is paired, or dropped and counted"
    )


def test_a_photo_that_the_challenger_can_not_count_is_told(tmp_path: Path) -> None:
    place = made(tmp_path / "registry", percent=None)
    with Registry.open(place) as registry:
        registered(registry, make_bundle(tmp_path / "few", keys=("1", "2", "3"), name="few"))
        shadow.start(registry, "4", percent=100, by="rita")
    with here(place) as served:
        eventually(lambda: served.pids, "a process in the shadow")
        assert served.ask("a", seed=2, counts="0-5", bin_image_id="00007").count == 2
        eventually(lambda: served.shadow.kept, "a pair")
    [pair] = pairs(place, 4, 1).pairs
    assert (pair.counts, pair.bin_image_id, pair.champion.count) == ("0-5", "00007", 2)
    assert pair.challenger.error is not None
    assert pair.challenger.count is None


def test_a_shadow_needs_a_registry(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a registry says"):
        build(ServeConfig.of({"shadow": 10, "state": tmp_path}))
