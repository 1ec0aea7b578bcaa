"""Routes follow from the seed, keep the rate that was asked for, and mix in what was asked for."""

import statistics
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from bintally.errors import ConfigError
from bintally.simulation.robots.route import LATE_S, Stop, photos_of, route
from bintally.simulation.robots.settings import FleetSettings

NOTHING_WRONG = {"duplicates": 0, "late": 0, "batches": 0, "damaged": 0, "dropouts": 0}


def stops_of(robot: int = 0, **values: Any) -> list[Stop]:
    settings = FleetSettings.of({"seconds": 10_000, "every_s": 5, "mix": NOTHING_WRONG, **values})
    return list(route(robot, settings, pictures=10))


def test_a_route_follows_from_the_seed_and_the_robot() -> None:
    assert stops_of(3, seed=1) == stops_of(3, seed=1)
    assert stops_of(3, seed=1) != stops_of(3, seed=2)
    assert stops_of(3, seed=1) != stops_of(4, seed=1)


def test_random_stops_keep_the_rate_and_come_at_exponential_distances() -> None:
    moments = [stop.due_s for stop in stops_of(seconds=50_000)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert statistics.mean(gaps) == pytest.approx(5, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(5, rel=0.08)  # of an exponential, as large as the mean


def test_fixed_stops_are_equally_far_apart_and_robots_do_not_stop_together() -> None:
    one, other = ([stop.due_s for stop in stops_of(robot, travel="fixed")] for robot in (0, 1))
    assert {round(b - a, 6) for a, b in pairwise(one)} == {5.0}
    assert 0 < one[0] <= 5
    assert abs(one[0] - other[0]) > 0.01


def test_the_mix_has_the_shares_that_were_asked_for() -> None:
    mix = {"duplicates": 0.1, "late": 0.1, "batches": 0.2, "damaged": 0.05, "dropouts": 0.05}
    stops = stops_of(seconds=80_000, mix=mix)
    kinds = Counter[str]()
    for stop in stops:
        kinds[stop.kind] += len(stop.photos)
    total = kinds.total()
    assert total / 80_000 == pytest.approx(0.2, rel=0.03)  # a batch is no more photos, only later
    shares = {"duplicate": 0.1, "late": 0.1, "batch": 0.2, "damaged": 0.05, "dropout": 0.05}
    for kind, share in shares.items():
        assert kinds[kind] / total == pytest.approx(share, rel=0.15), kind


def test_photos_are_taken_before_they_are_sent() -> None:
    for stop in stops_of(mix={**NOTHING_WRONG, "late": 0.5, "batches": 0.5}):
        taken = [photo.taken_s for photo in stop.photos]
        if stop.kind == "late":
            assert taken == [stop.due_s - LATE_S]
        elif stop.kind == "batch":
            assert len(taken) == 5
            assert taken == sorted(taken)
            assert taken[-1] == stop.due_s
        else:
            assert taken == [stop.due_s]


def test_stops_end_with_the_drive() -> None:
    assert max(stop.due_s for stop in stops_of(seconds=100)) < 100
    settings = FleetSettings.of({"seconds": 100, "every_s": 5, "robots": 7})
    assert photos_of(settings, pictures=10) == sum(
        len(stop.photos) for robot in range(7) for stop in route(robot, settings, pictures=10)
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mix": {"late": 0.8, "batches": 0.8}}, "add up to more than 1"),
        ({"warm_up_s": 60}, "nothing is left to measure"),
        ({"every_s": 0}, "every_s"),
        ({"robot": 3}, "robots"),
        ({"travel": "random"}, "travel"),
    ],
)
def test_what_can_not_be_driven_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FleetSettings.of(values)
