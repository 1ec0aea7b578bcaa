"""The largest fleet that a service carries: doubling until it doesn't, then halving the gap.

A fleet is carried where no photo was lost or refused, and p99 of the latencies, from the moment each photo was due, is
within the limit. Rounds are short, and a round that fails is driven once more: one hiccup of a machine is no limit.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from bintally.simulation.robots.report import MAX_CPU, FleetReport
from bintally.simulation.robots.settings import MAX_ROBOTS

CLOSE: Final = 1.1
"""How near the smallest fleet that failed comes to the largest that was carried, before that is the answer."""


class Round(msgspec.Struct, frozen=True):
    """One fleet's drive."""

    robots: int
    is_carried: bool
    why: str  # it was not carried
    p50_ms: float | None
    p99_ms: float | None
    counted_per_s: float
    lag_p99_ms: float | None
    cpu: float


class RampReport(msgspec.Struct, frozen=True, kw_only=True):
    """The largest fleet that was carried (0: none was), and the rounds that led to it."""

    robots: int
    limit_ms: float
    rounds: tuple[Round, ...]
    is_generator_the_limit: bool  # the service may carry more than this generator can ask
    is_exact: bool = True  # no answer was doubled or of another photo; of those lost, the rounds tell


async def largest(
    drive: Callable[[int], Awaitable[FleetReport]], *, first: int, limit_ms: float, on_round: Callable[[Round], None]
) -> RampReport:
    """The largest fleet whose drive is carried; `drive` lets so many robots drive."""
    rounds: list[Round] = []
    is_exact = True

    async def carries(robots: int) -> bool:
        nonlocal is_exact
        for _ in range(2):
            report = await drive(robots)
            is_exact &= not (report.doubled or report.misfits)
            rounds.append(_round(report, limit_ms))
            on_round(rounds[-1])
            if rounds[-1].is_carried:
                return True
        return False

    carried, failed = 0, None
    robots = first
    while failed is None and carried < MAX_ROBOTS:
        if await carries(robots):
            carried, robots = robots, min(2 * robots, MAX_ROBOTS)
        else:
            failed = robots
    while failed is not None and failed > max(carried + 1, CLOSE * carried):
        robots = (carried + failed) // 2
        if await carries(robots):
            carried = robots
        else:
            failed = robots
    return RampReport(
        robots=carried,
        limit_ms=limit_ms,
        rounds=tuple(rounds),
        is_generator_the_limit=any(each.robots == failed and each.cpu > MAX_CPU for each in rounds),
        is_exact=is_exact,
    )


def _round(report: FleetReport, limit_ms: float) -> Round:
    why = _why(report, limit_ms)
    return Round(
        robots=report.robots,
        is_carried=not why,
        why=why,
        p50_ms=report.latency_ms.p50,
        p99_ms=report.latency_ms.p99,
        counted_per_s=report.counted_per_s,
        lag_p99_ms=report.lag_ms.p99,
        cpu=report.cpu,
    )


def _why(report: FleetReport, limit_ms: float) -> str:
    if report.lost:
        return f"{report.lost:,} lost"
    if report.unexpected_refusals:
        return f"{report.unexpected_refusals:,} refused"
    if report.latency_ms.p99 is None or report.latency_ms.p99 > limit_ms:
        return f"p99 above {limit_ms:,.0f} ms"
    return ""
