"""`bintally plan`: which bins to photograph or to count by hand, of a ledger's site on a day, in walking order."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import polars as pl
from pydantic import Field

from bintally.config import Config
from bintally.database.types import now
from bintally.errors import UsageError
from bintally.inventory.ledger import Ledger, Site, site_of
from bintally.inventory.planning.candidates import COUNT, PHOTO, checked
from bintally.inventory.planning.choose import choose
from bintally.inventory.planning.known import Known, known_of
from bintally.inventory.planning.places import Place, place_of, read_layout
from bintally.inventory.planning.previous import Previous, read_previous
from bintally.inventory.planning.report import Look, Planned, PlanReport, Rates
from bintally.inventory.planning.settings import Capacity, PlanSettings
from bintally.inventory.planning.walk import Way, way
from bintally.inventory.planning.words import is_kept, reasons_of
from bintally.inventory.planning.worth import scored
from bintally.inventory.planning.written import SUFFIXES, write_plan


class Asked(Config):
    """What a plan is asked for."""

    site: str | None = Field(default=None, description="the site's code; none: the only one")
    counts: int = Field(default=100, ge=0, description="bins that people can count in the day")
    photos: int = Field(default=0, ge=0, description="bins that robots can photograph in the day")
    day: date | None = Field(default=None, description="the day; none: today, in UTC")


def plan_counts(
    *,
    ledger: Ledger | str | Path,
    site: str | None = None,
    counts: int = 100,
    photos: int = 0,
    day: date | str | None = None,
    out: Path | None = None,
    layout: Path | None = None,
    previous: Path | None = None,
    settings: Path | PlanSettings | None = None,
) -> PlanReport:
    """The bins of a site to look at on `day`, as far as `counts` and `photos` reach, and the way to them.

    `out`: a .csv or .parquet file. `layout`: a table of bin, aisle, position, level[, x, y]; else the codes are read.
    `previous`: an earlier plan, whose bins stay if nobody has looked at them. The same ledger, day and files make the
    same plan.

    Raises:
        UsageError: no such ledger or site, a file that can't be read, or one of another kind, or a bin whose code is a
            formula in a .csv.
        ConfigError: a setting or number out of range.
        DataError: a layout or earlier plan that is none.
        StorageError: the ledger can't be read, or the file not written.
    """
    asked = Asked.of({"site": site, "counts": counts, "photos": photos, "day": day})
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{out} is neither .csv nor .parquet.", hint="The suffix says what is written.")
    chosen = PlanSettings.from_toml(settings) if isinstance(settings, Path) else settings or PlanSettings()
    today = asked.day or now().date()
    before = None if previous is None else read_previous(previous)
    if isinstance(ledger, Ledger):
        found, known = _read(ledger, asked.site, today, chosen, before)
    else:
        with Ledger.open(ledger) as opened:
            found, known = _read(opened, asked.site, today, chosen, before)
    report = _plan(found, known, asked, today, layout, out)
    if out is not None:
        write_plan(report.bins, report.day, out)
    return report


def _read(
    ledger: Ledger, code: str | None, today: date, settings: PlanSettings, before: Previous | None
) -> tuple[Site, Known]:
    with ledger.read() as connection:
        found = site_of(connection, code)
        return found, known_of(connection, found, today, settings, before)


def _plan(site: Site, known: Known, asked: Asked, today: date, layout: Path | None, out: Path | None) -> PlanReport:
    settings = known.settings
    every = scored(checked(known.candidates), settings)
    chosen = choose(known.candidates, Capacity(asked.counts, asked.photos), settings)
    places = _places(chosen["bin"].to_list(), layout, settings)
    parts = {look: chosen.filter(pl.col("look") == look) for look in (COUNT, PHOTO)}
    ways = {look: way(part["bin"].to_list(), places, settings.walk) for look, part in parts.items()}
    return PlanReport(
        site=site.code,
        day=today.isoformat(),
        currency=site.currency,
        candidates=len(every),
        wrong=round(float(every["wrong"].sum()), 1),
        overdue=int((every["overdue"] >= 1.0).sum()),
        counts=_look(parts[COUNT], ways[COUNT], asked.counts),
        photos=_look(parts[PHOTO], ways[PHOTO], asked.photos),
        kept=sum(map(is_kept, chosen.select("planned", "look").iter_rows(named=True))),
        rates=_rates(known),
        file=None if out is None else str(out),
        bins=tuple(each for look in parts for each in _planned(parts[look], ways[look], places, site.currency)),
    )


def _places(bins: list[str], layout: Path | None, settings: PlanSettings) -> dict[str, Place]:
    if layout is not None:
        return read_layout(layout, bins)
    pattern = None if settings.walk.code is None else re.compile(settings.walk.code)
    read = {code: place_of(code, pattern) for code in bins}
    return {code: place for code, place in read.items() if place is not None}


def _look(part: pl.DataFrame, path: Way, capacity: int) -> Look:
    return Look(
        capacity=capacity,
        planned=len(part),
        errors=round(float(part["wrong"].sum()), 2),
        worth=round(float(part["worth"].sum()), 2),
        before_m=path.before_m,
        after_m=path.after_m,
        unplaced=path.unplaced,
    )


def _rates(known: Known) -> Rates:
    hazard, rate = known.settings.hazard, known.candidates["rate"].to_numpy()
    return Rates(
        touch=round(hazard.touch, 6),
        day=round(hazard.day, 6),
        never_looked=round(float(rate.mean()), 4) if len(rate) else known.settings.wrong_records,
        counts=known.counts,
    )


def _planned(part: pl.DataFrame, path: Way, places: Mapping[str, Place], currency: str) -> Iterator[Planned]:
    rows = {row["bin"]: row for row in part.iter_rows(named=True)}
    for step, code in enumerate(path.bins, 1):
        row, place = rows[code], places.get(code)
        yield Planned(
            look=row["look"],
            step=step,
            bin=code,
            aisle=None if place is None else place.aisle,
            position=None if place is None else place.position,
            abc=row["abc"],
            units=row["units"],
            unit_value=None if row["unit_value"] is None else round(row["unit_value"], 4),
            wrong=round(row["wrong"], 4),
            at_stake=round(row["at_stake"], 2),
            worth=round(row["worth"], 2),
            why=row["why"],
            reasons=reasons_of(row, currency),
        )
