"""The largest fleet, of services whose limit is known."""

import asyncio

import msgspec
import pytest

from bintally.simulation.robots.ramp import CLOSE, RampReport, Round, largest
from bintally.simulation.robots.report import FleetReport, Latency
from tests.simulation.robots.test_report import entry, report


def found(limit: int, *, first: int, hiccups: frozenset[int] = frozenset(), cpu: float = 0.1) -> RampReport:
    """The ramp up to a service that carries `limit` robots; the rounds `hiccups` fail whatever it carries."""
    rounds: list[Round] = []

    async def drive(robots: int) -> FleetReport:
        latency_ms = 100.0 if robots <= limit and len(rounds) not in hiccups else 5000.0
        latency = Latency(500, latency_ms, latency_ms, latency_ms, latency_ms)
        return msgspec.structs.replace(report(entry(1, 0.1)), robots=robots, latency_ms=latency, cpu=cpu)

    told = asyncio.run(largest(drive, first=first, limit_ms=1000, on_round=rounds.append))
    assert list(told.rounds) == rounds
    return told


@pytest.mark.parametrize("limit", [1, 2, 37, 50, 51, 700, 1543])
@pytest.mark.parametrize("first", [1, 50])
def test_the_largest_fleet_is_found_to_a_tenth(limit: int, first: int) -> None:
    told = found(limit, first=first)
    assert told.robots <= limit <= max(CLOSE * told.robots, told.robots + 1)
    assert len(told.rounds) < 40


def test_a_service_that_carries_none_has_zero() -> None:
    assert found(0, first=50).robots == 0


def test_one_hiccup_is_no_limit() -> None:
    assert found(100, first=50, hiccups=frozenset({0, 3})).robots >= 91


def test_a_generator_at_its_own_limit_is_named() -> None:
    assert found(100, first=50, cpu=0.95).is_generator_the_limit
    assert not found(100, first=50).is_generator_the_limit


def test_refusals_and_losses_are_no_fleet_that_is_carried() -> None:
    async def drive(robots: int) -> FleetReport:
        return report(entry(1, None)) if robots % 2 else report(entry(1, 0.1, code="overloaded"))

    told = asyncio.run(largest(drive, first=2, limit_ms=1000, on_round=lambda _: None))
    assert told.robots == 0
    assert {each.why for each in told.rounds} == {"1 lost", "1 refused"}


def test_an_answer_to_a_ramp_that_was_doubled_is_told() -> None:
    async def drive(robots: int) -> FleetReport:
        return msgspec.structs.replace(report(entry(1, 0.1)), robots=robots, doubled=int(robots > 8))

    assert not asyncio.run(largest(drive, first=1, limit_ms=1000, on_round=lambda _: None)).is_exact
