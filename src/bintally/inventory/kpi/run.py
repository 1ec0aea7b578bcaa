"""`bintally kpi`: what accepting records, and looking at the doubtful, is worth."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
from pydantic import Field
from sqlalchemy import Connection, select

from bintally.artifacts import write_json, write_text
from bintally.config import Config
from bintally.database.types import now
from bintally.errors import UsageError
from bintally.inventory import schema
from bintally.inventory.erp.status import not_posted
from bintally.inventory.kpi.cases import cases_of, lines_of, queue_of, week_of
from bintally.inventory.kpi.facts import Facts, read
from bintally.inventory.kpi.figures import figures_of
from bintally.inventory.kpi.report import CUTS, DEFINITIONS, Cut, Figures, KpiReport, QueueAt
from bintally.inventory.ledger import Ledger, Site, site_of
from bintally.inventory.policy.settings import Costs, PolicySettings
from bintally.records import to_plain

PAGE: Final = "kpi.html"
FIGURES: Final = "kpi.json"

_HOUR_S: Final = 3600
_WEEK_S: Final = 7 * 24 * _HOUR_S
_MONDAY_S: Final = 4 * 24 * _HOUR_S  # 1970-01-05 was one


class KpiSettings(Config):
    """What figures are asked for."""

    site: str | None = Field(default=None, description="the site's code; none: all sites")
    by: tuple[Cut, ...] = Field(default=(), description="site, class, product or week; a page has all of them")
    since: datetime | None = Field(default=None, description="verdicts made from then on; without offset UTC")
    until: datetime | None = Field(default=None, description="what was known before; none: now")
    top: int = Field(default=50, ge=1, description="products shown, those with the most gross variance")
    seed: int = Field(default=0, ge=0, description="of the intervals")
    cost_count: float | None = Field(default=None, ge=0.0, description="a count by a person that an acceptance saves")
    cost_recount: float | None = Field(default=None, ge=0.0, description="a right record sent to a person")
    cost_escape: float | None = Field(default=None, ge=0.0, description="a wrong record that was accepted")


def kpi(
    *,
    ledger: Ledger | str | Path,
    site: str | None = None,
    by: Sequence[Cut] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    policy: Path | None = None,
    cost_count: float | None = None,
    cost_recount: float | None = None,
    cost_escape: float | None = None,
    out: Path | None = None,
    top: int = 50,
    seed: int = 0,
) -> KpiReport:
    """The KPIs of a ledger's judged records: those whose verdict was made since `since`, as known before `until`.

    Costs are those given, else the file's `policy`, else those of the policy the last verdict was made by. `out`: a
    folder for kpi.html and kpi.json, both with all cuts.

    Raises:
        UsageError: no such ledger or site, or a period without time in it.
        ConfigError: a setting out of range, or a policy file that is none.
        StorageError: the ledger can't be read, or the folder not written.
    """
    settings = KpiSettings.of(
        {
            "site": site,
            "by": CUTS if out is not None else tuple(by),
            "since": since,
            "until": until,
            "top": top,
            "seed": seed,
            "cost_count": cost_count,
            "cost_recount": cost_recount,
            "cost_escape": cost_escape,
        }
    )
    costs = PolicySettings.from_toml(policy).costs if policy is not None else None
    if isinstance(ledger, Ledger):
        report = _kpi(ledger, settings, costs)
    else:
        with Ledger.open(ledger) as opened:
            report = _kpi(opened, settings, costs)
    return report if out is None else _write(report, out)


def _write(report: KpiReport, out: Path) -> KpiReport:
    from bintally.inventory.kpi.page import kpi_page

    report = msgspec.structs.replace(report, page=str(out / PAGE))
    write_text(out / PAGE, kpi_page(report))
    write_json(out / FIGURES, to_plain(report))
    return report


def _kpi(ledger: Ledger, settings: KpiSettings, costs: Costs | None) -> KpiReport:
    since_s, until_s = _period(settings)
    with ledger.read() as connection:
        sites = _sites(connection, settings.site)
        facts = read(
            connection,
            [site.id for site in sites],
            until_s=until_s,
            by_product=not {"class", "product"}.isdisjoint(settings.by),
        )
        costs = costs or _costs_of_last_verdict(connection, facts)
        waiting = not_posted(connection, [site.id for site in sites])
    cases = cases_of(facts, since_s=since_s)
    currencies = {site.currency for site in sites}
    how: dict[str, Any] = {
        "until_s": until_s,
        "costs": _costs(settings, costs) if len(currencies) == 1 else None,
        "has_money": len(currencies) == 1,
        "seed": settings.seed,
    }
    by, left_out = _by(cases, facts, sites, settings, how)
    return KpiReport(
        sites=tuple(site.code for site in sites),
        currency=currencies.pop() if len(currencies) == 1 else None,
        since=None if since_s is None else _iso(since_s),
        until=_iso(until_s),
        total=figures_of("all", cases, **how),
        by=by,
        queue=tuple(_queue(cases, queue_of(facts), until_s)) if "week" in settings.by else (),
        definitions={name: f"{title}: {formula}." for name, (title, formula) in DEFINITIONS.items()},
        without_product=left_out["without_product"],
        untold=left_out["untold"],
        more_products=left_out["more_products"],
        not_posted=sum(waiting.values()),
    )


def _by(
    cases: pl.DataFrame, facts: Facts, sites: Sequence[Site], settings: KpiSettings, how: dict[str, Any]
) -> tuple[dict[Cut, tuple[Figures, ...]], dict[str, int]]:
    """Figures by each cut that is asked for, and what has no row by product."""
    by: dict[Cut, tuple[Figures, ...]] = {}
    left_out = {"without_product": 0, "untold": 0, "more_products": 0}
    for cut in (cut for cut in CUTS if cut in settings.by):
        if cut == "site":
            by[cut] = tuple(_of_site(site, cases, how) for site in sites)
        elif cut == "product":
            lines, left_out["without_product"], left_out["untold"] = lines_of(facts, cases)
            shown, left_out["more_products"] = _most(lines, settings.top)
            rows = {key: lines.filter(pl.col("product_id") == key) for key in shown}
            by[cut] = tuple(figures_of(part["sku"][0], part, **{**how, "costs": None}) for part in rows.values())
        else:
            parts = cases.partition_by(cut, as_dict=True)
            by[cut] = tuple(figures_of(str(key[0]), parts[key], **how) for key in sorted(parts))
    return by, left_out


def _of_site(site: Site, cases: pl.DataFrame, how: dict[str, Any]) -> Figures:
    """One site has one currency, so that its variance has money even where that of all sites has none."""
    return figures_of(site.code, cases.filter(pl.col("site_id") == site.id), **{**how, "has_money": True})


def _most(lines: pl.DataFrame, top: int) -> tuple[list[int], int]:
    """The products with the most gross variance, and how many more there are."""
    sums = lines.group_by("product_id").agg(
        pl.col("gross_value").sum(), pl.col("gross").sum(), pl.len().alias("records")
    )
    order = sums.sort("gross_value", "gross", "records", "product_id", descending=[True, True, True, False])
    return order["product_id"].head(top).to_list(), max(len(order) - top, 0)


def _queue(cases: pl.DataFrame, reviews: pl.DataFrame, until_s: int) -> Iterator[QueueAt]:
    """The queue at the end of each week since the first verdict, or at `until_s` in the last."""
    if not len(cases):
        return
    first = int(cases["made_s"].min())  # type: ignore[arg-type]
    week_ends = range(first - (first - _MONDAY_S) % _WEEK_S + _WEEK_S, until_s + _WEEK_S, _WEEK_S)
    opened_n = reviews["opened_s"].to_numpy()
    closed_n = reviews["closed_s"].fill_null(until_s + 1).to_numpy()
    names = pl.DataFrame({"end": [end - 1 for end in week_ends]}).select(week_of(pl.col("end"))).to_series()
    for week, end in zip(names, week_ends, strict=True):
        at = min(end, until_s)
        ages = pl.Series((at - opened_n[(opened_n < at) & (closed_n >= at)]) / _HOUR_S)
        yield QueueAt(
            week=week,
            waiting=len(ages),
            median_age_h=float(ages.median()) if len(ages) else None,  # type: ignore[arg-type]
            oldest_h=float(ages.max()) if len(ages) else None,  # type: ignore[arg-type]
        )


def _period(settings: KpiSettings) -> tuple[int | None, int]:
    since_s = None if settings.since is None else math.ceil(_utc(settings.since).timestamp())
    until_s = int(now().timestamp()) + 1 if settings.until is None else math.ceil(_utc(settings.until).timestamp())
    if since_s is not None and since_s >= until_s:
        raise UsageError("The period ends before it begins.", hint="Say --since an earlier moment than --until.")
    return since_s, until_s


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _sites(connection: Connection, code: str | None) -> list[Site]:
    if code is not None:
        return [site_of(connection, code)]
    codes = connection.execute(select(schema.Site.code).order_by(schema.Site.code)).scalars().all()
    return [site_of(connection, each) for each in codes] or [site_of(connection)]


def _costs(settings: KpiSettings, costs: Costs) -> Costs:
    given = {"count": settings.cost_count, "recount": settings.cost_recount, "escape": settings.cost_escape}
    return costs.model_copy(update={name: cost for name, cost in given.items() if cost is not None})


def _costs_of_last_verdict(connection: Connection, facts: Facts) -> Costs:
    """The costs of the policy that the last verdict was made by; defaults where there is none."""
    if not len(facts.verdicts):
        return Costs()
    verdict, policy = schema.Verdict, schema.Policy
    last = select(verdict.policy_sha256).where(verdict.id == facts.verdicts["id"].max()).scalar_subquery()
    body = connection.execute(select(policy.body).where(policy.sha256 == last)).scalar_one()
    settings = msgspec.json.decode(body).get("settings") or {}
    return Costs.of(settings.get("costs") or {}, where="the policy's costs")
