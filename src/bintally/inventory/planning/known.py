"""From a ledger to what `choose` takes: candidates, and settings with this site's rates and the policy in force."""

from datetime import date
from typing import NamedTuple

import msgspec
import polars as pl
from sqlalchemy import Connection, select

from bintally.errors import DataError
from bintally.inventory import schema
from bintally.inventory.ledger import Site
from bintally.inventory.planning.facts import Facts, last_photos, read
from bintally.inventory.planning.learn import factors, learn
from bintally.inventory.planning.power import power_of
from bintally.inventory.planning.previous import Previous, undone
from bintally.inventory.planning.settings import PlanSettings
from bintally.inventory.policy.acceptance import Acceptance
from bintally.inventory.policy.rates import LEVELS, rates
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.review.outcomes import outcomes


class Known(NamedTuple):
    """What a plan is made from: candidates, settings, and how many counts the rates were learnt from."""

    candidates: pl.DataFrame
    settings: PlanSettings
    counts: int


class _InForce(NamedTuple):
    settings: PolicySettings
    acceptance: Acceptance | None


def known_of(
    connection: Connection, site: Site, day: date, settings: PlanSettings, previous: Previous | None = None
) -> Known:
    """What the ledger knows of the site's bins at the end of `day`.

    Costs, errors and the share of wrong records are those of the policy the last verdict was made by, and what a photo
    tells what was measured for it, unless `settings` say otherwise themselves.

    Raises:
        DataError: the ledger's policy can't be read.
    """
    policy = _in_force(connection, site)
    if policy is not None:
        inherited = {name: getattr(policy.settings, name) for name in ("costs", "errors", "wrong_records")}
        settings = _with(settings, **inherited)
    facts = read(connection, site, day)
    found = outcomes(connection, site, settings=None if policy is None else policy.settings)
    learnt = learn(_recounted(facts, found), settings)
    rate = _never_looked(facts, found, policy, settings)
    if policy is not None and {"photo", "photo_by_class"}.isdisjoint(settings.model_fields_set):
        wrong = float(rate["upper"].mean() or settings.wrong_records) if len(rate) else settings.wrong_records  # type: ignore[arg-type]
        settings = settings.model_copy(update={"photo_by_class": power_of(policy.settings, policy.acceptance, wrong)})
    levels = facts.bins.select("abc", "product", bin="id")
    candidates = facts.bins.with_columns(factor=factors(levels, learnt), rate=rate["mean"]).drop("id", "product")
    planned = pl.DataFrame(schema={"bin": pl.String, "planned": pl.String})
    if previous is not None:
        planned = _undone(connection, site, day, facts, previous)
    candidates = candidates.join(planned, on="bin", how="left", maintain_order="left")
    return Known(candidates, settings.model_copy(update={"hazard": learnt.hazard}), learnt.counts)


def _recounted(facts: Facts, found: pl.DataFrame) -> pl.DataFrame:
    """Counts of bins that had been counted before, as `learn` takes them."""
    between = facts.counts.filter(pl.col("before_days").is_not_null()).select(
        "decision_id", "touches", days=pl.col("before_days") - pl.col("days")
    )
    return found.join(between, on="decision_id", how="inner", maintain_order="left").rename({"abc_class": "abc"})


def _never_looked(facts: Facts, found: pl.DataFrame, policy: _InForce | None, settings: PlanSettings) -> pl.DataFrame:
    """How often records are wrong that nobody has looked at: what first counts found."""
    first = facts.counts.filter(pl.col("before_days").is_null()).select("decision_id")
    records = facts.bins.select(pl.col("abc").alias("abc_class"), "product", pl.col("id").alias("bin"))
    reckoned = PolicySettings() if policy is None else policy.settings
    reckoned = reckoned.model_copy(update={"wrong_records": settings.wrong_records})
    return rates(records.select(LEVELS), found.join(first, on="decision_id", how="semi"), reckoned)


def _undone(connection: Connection, site: Site, day: date, facts: Facts, previous: Previous) -> pl.DataFrame:
    named = facts.bins.select("id", "bin").join(previous.looks, on="bin", how="semi")
    counted = facts.counts.join(named, on="id").group_by("bin").agg(pl.col("days").min())
    photographed = last_photos(connection, site, day, previous.looks["bin"].to_list())
    return undone(previous, counted=counted, photographed=photographed, today=day)


def _in_force(connection: Connection, site: Site) -> _InForce | None:
    """The policy of the site's last verdict; None: there is no verdict yet."""
    verdict, policy, place = schema.Verdict, schema.Policy, schema.Bin
    newest = (
        select(verdict.policy_sha256)
        .join(place, place.id == verdict.bin_id)
        .where(place.site_id == site.id)
        .order_by(verdict.id.desc())
        .limit(1)
    )
    body = connection.execute(select(policy.body).where(policy.sha256 == newest.scalar_subquery())).scalar_one_or_none()
    if body is None:
        return None
    plain = msgspec.json.decode(body)
    told = plain.get("acceptance")
    try:
        acceptance = None if told is None else msgspec.convert(told, Acceptance)
    except msgspec.ValidationError as error:
        raise DataError(f"The ledger's policy can't be read: {error}.", hint="Reconcile again.") from error
    return _InForce(PolicySettings.of(plain.get("settings") or {}, where="The ledger's policy"), acceptance)


def _with(settings: PlanSettings, **inherited: object) -> PlanSettings:
    """With what `settings` do not say themselves."""
    update = {name: value for name, value in inherited.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=update)
