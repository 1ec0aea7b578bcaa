"""`bintally simulate --robots`: a fleet as load for a running service, and the largest fleet that it carries."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.artifacts import write_bytes, write_json, write_text
from bintally.errors import UsageError
from bintally.progress import SILENT, Progress
from bintally.records import to_plain
from bintally.simulation.robots.fleet import drive
from bintally.simulation.robots.pool import Pool
from bintally.simulation.robots.ramp import RampReport, Round, largest
from bintally.simulation.robots.report import FleetReport, report_of
from bintally.simulation.robots.settings import DEFAULT_URL, FleetSettings

PAGE: Final = "robots.html"
FIGURES: Final = "robots.json"
PLOT: Final = "robots.png"

ROUND_S: Final = (5.0, 30.0)
"""Seconds that a round of a ramp takes, besides its warm-up: the shortest and the longest."""

_ROUND_PHOTOS: Final = 500  # so that p99 is not just the slowest
_WARM_UP: Final = 0.2
_RAMP_PATIENCE: Final = 5  # times the limit


def simulate_robots(
    *,
    robots: int = 50,
    url: str | None = None,
    mqtt: str | None = None,
    topic: str = "bintally",
    key: str | None = None,
    photos: Path | None = None,
    minutes: float = 1.0,
    warm_up_s: float = 0.0,
    every_s: float = 5.0,
    travel: str = "exponential",
    bins: Iterable[str] = (),
    site: str | None = None,
    mix: Mapping[str, Any] | None = None,
    patience_s: float = 60.0,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> FleetReport:
    """Lets `robots` robots photograph bins, each every `every_s` seconds on average, and have the photos counted.

    By HTTP at `url`, by MQTT over the broker `mqtt`, by turns where both are given; neither: HTTP on this machine.
    `photos`: a folder (default: rendered ones); `bins`: codes of the service's ledger (none: no bin is named);
    `mix`: shares of `settings.Mix`; `out`: a folder for robots.html, robots.json and robots.png.

    Raises:
        UsageError: a setting out of range, a URL or key that is none, or no photos.
        RequestError: the service or its broker is not there, or refuses.
        MissingExtraError: MQTT without paho-mqtt.
        StorageError: `out` can't be written.
    """
    settings = _settings(
        robots=robots, url=url, mqtt=mqtt, topic=topic, seconds=60 * minutes, warm_up_s=warm_up_s, every_s=every_s,
        travel=travel, bins=tuple(bins), site=site, mix=dict(mix or {}), patience_s=patience_s, seed=seed,
    )  # fmt: skip
    pool = _pool(photos, settings, progress)
    report = report_of(asyncio.run(drive(settings, pool, key=key, progress=progress)), settings)
    return report if out is None else _write(report, out)


def largest_fleet(
    *,
    limit_ms: float = 1000.0,
    robots: int = 50,
    url: str | None = None,
    mqtt: str | None = None,
    topic: str = "bintally",
    key: str | None = None,
    photos: Path | None = None,
    every_s: float = 5.0,
    travel: str = "exponential",
    bins: Iterable[str] = (),
    site: str | None = None,
    mix: Mapping[str, Any] | None = None,
    seed: int = 0,
    round_s: tuple[float, float] = ROUND_S,
    on_round: Callable[[Round], None] = lambda _: None,
    progress: Progress = SILENT,
) -> RampReport:
    """The largest fleet whose p99 stays within `limit_ms`, beginning with `robots`; `on_round` is told of each drive.

    Raises:
        UsageError, RequestError, MissingExtraError: as `simulate_robots`.
    """
    if not limit_ms > 0:
        raise UsageError("--limit-ms must be above 0.", hint="Such as --limit-ms 1000.")
    patience_s = max(_RAMP_PATIENCE * limit_ms / 1000, 5.0)
    settings = _settings(
        robots=robots, url=url, mqtt=mqtt, topic=topic, every_s=every_s, travel=travel, bins=tuple(bins), site=site,
        mix=dict(mix or {}), patience_s=patience_s, seed=seed,
    )  # fmt: skip
    pool = _pool(photos, settings, progress)
    probed: list[int] = []

    async def round_of(robots: int) -> FleetReport:
        one = _round_settings(settings, robots, round_s, seed=settings.seed + len(probed))
        is_probed = bool(probed)
        probed.append(robots)
        return report_of(await drive(one, pool, key=key, progress=progress, is_probed=is_probed), one)

    return asyncio.run(largest(round_of, first=settings.robots, limit_ms=limit_ms, on_round=on_round))


def _settings(**values: Any) -> FleetSettings:
    if values["url"] is None and values["mqtt"] is None:
        values["url"] = DEFAULT_URL
    return FleetSettings.of(values)


def _round_settings(settings: FleetSettings, robots: int, round_s: tuple[float, float], *, seed: int) -> FleetSettings:
    """A drive long enough for a p99, after a warm-up."""
    measured_s = min(max(_ROUND_PHOTOS * settings.every_s / robots, round_s[0]), round_s[1])
    warm_up_s = _WARM_UP * measured_s
    changes = {"robots": robots, "seconds": warm_up_s + measured_s, "warm_up_s": warm_up_s, "seed": seed}
    return settings.model_copy(update=changes)


def _pool(photos: Path | None, settings: FleetSettings, progress: Progress) -> Pool:
    return Pool.rendered(seed=settings.seed, progress=progress) if photos is None else Pool.of_folder(photos)


def _write(report: FleetReport, out: Path) -> FleetReport:
    from bintally.simulation.robots.page import robots_page, robots_png

    report = msgspec.structs.replace(report, page=str(out / PAGE))
    write_text(out / PAGE, robots_page(report))
    write_json(out / FIGURES, to_plain(report))
    write_bytes(out / PLOT, robots_png(report))
    return report
