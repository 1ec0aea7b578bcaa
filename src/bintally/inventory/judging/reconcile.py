"""`reconcile_ledger`: everything that facts in the ledger ask for and that has not been done yet.

Photos are looked at, bins are followed, records are judged, reviews are opened. Each step is a transaction of its own:
killed between any two, it is run again and ends where it would have ended.
"""

import time
from collections import Counter as Tally
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from bintally.counting.follow_settings import FollowSettings
from bintally.errors import DataError, did_you_mean
from bintally.inventory import schema
from bintally.inventory.judging.beliefs import believe, store_beliefs
from bintally.inventory.judging.facts import BinFacts, changed_bins, read_facts
from bintally.inventory.judging.how import How
from bintally.inventory.judging.judge import judge
from bintally.inventory.judging.looking import compare, look, unpaired
from bintally.inventory.ledger import Ledger, Site, site_of
from bintally.inventory.policy.decide import Policy
from bintally.inventory.review.outcomes import outcomes as known_outcomes
from bintally.inventory.verdict import OUTCOMES
from bintally.progress import SILENT, Progress

AT_ONCE: Final = 2_000
"""Bins in one transaction: more are hardly faster, and others wait for it."""

_SHOWN: Final = 10_000


class ReconcileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did; all 0 where nothing had changed."""

    sites: tuple[str, ...]
    model: str
    policy: str  # SHA-256
    photos: int  # looked at
    unreadable: int  # of them
    pairs: int  # compared
    bins: int  # with facts that were new, or judged in another way before
    outcomes: dict[str, int]  # of new verdicts
    reviews: int  # opened
    seconds: float

    @property
    def verdicts(self) -> int:
        """New ones."""
        return sum(self.outcomes.values())


class Done(msgspec.Struct, frozen=True):
    """What was done at one site."""

    photos: int
    unreadable: int
    pairs: int
    bins: int
    outcomes: dict[str, int]
    reviews: int


def reconcile_ledger(
    *,
    ledger: Ledger | Path | str,
    site: str | None = None,
    bundle: Path | str | None = None,
    policy: Path | str | Policy | None = None,
    follow: Path | str | FollowSettings | None = None,
    bins: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> ReconcileReport:
    """Looks at new photos, judges the records of bins with new facts, and opens the reviews that they need.

    `site` None: all sites; `bins`: only these, by their codes. `bundle`, `policy` and `follow` as in `How.open`. A bin
    of which nothing new is known is judged again only by another model, policy or settings.

    Raises:
        UsageError: no such ledger or site.
        DataError: no such bin.
        BundleError, ConfigError: as `How.open`.
        StorageError: the database can't be reached or written.
    """
    if not isinstance(ledger, Ledger):
        with Ledger.open(ledger) as opened:
            return reconcile_ledger(
                ledger=opened, site=site, bundle=bundle, policy=policy, follow=follow, bins=bins, progress=progress
            )
    started = time.perf_counter()
    how = How.open(bundle, policy, follow)
    with ledger.read() as connection:
        sites = sites_of(connection, site, one=bins is not None)
        chosen = None if bins is None else bin_ids_of(connection, sites[0], bins)
    done = [reconcile_site(ledger, how, each, bin_ids=chosen, progress=progress) for each in sites]
    return ReconcileReport(
        sites=tuple(each.code for each in sites),
        model=how.card.name,
        policy=how.policy_sha256,
        photos=sum(each.photos for each in done),
        unreadable=sum(each.unreadable for each in done),
        pairs=sum(each.pairs for each in done),
        bins=sum(each.bins for each in done),
        outcomes={name: sum(each.outcomes[name] for each in done) for name in OUTCOMES},
        reviews=sum(each.reviews for each in done),
        seconds=round(time.perf_counter() - started, 3),
    )


def reconcile_site(
    ledger: Ledger,
    how: How,
    site: Site,
    *,
    bin_ids: Sequence[int] | None = None,
    at: datetime | None = None,
    progress: Progress = SILENT,
) -> Done:
    """The same for one site, or some of its bins. `at`: what time it is; None: now."""
    looked = look(ledger, how, site, bin_ids=bin_ids, progress=progress)
    with ledger.read() as connection:
        changed = changed_bins(connection, site.id, how.sha256, bin_ids=bin_ids)
        outcomes = known_outcomes(connection, site, settings=how.policy.settings)
    pairs, verdicts, reviews = 0, Tally[str](), 0
    with progress.task("judge", total=len(changed), unit="bins") as task:
        for start in range(0, len(changed), AT_ONCE):
            chunk = changed[start : start + AT_ONCE]
            facts = _facts(ledger, how, chunk)
            if compared := _compare(ledger, how, site, facts, progress):
                pairs += compared
                facts = _facts(ledger, how, chunk)
            seen = [each for each in facts if each.looks]
            believed = believe(seen, how)
            with ledger.write() as connection:
                belief_ids = store_beliefs(connection, site, believed, at=at)
            with ledger.write() as connection:
                judged = judge(connection, site, how, facts, believed, belief_ids, outcomes, at=at)
            verdicts.update(judged.outcomes)
            reviews += judged.opened
            task.advance(len(chunk))
    return Done(
        looked.photos, looked.unreadable, pairs, len(changed), {name: verdicts[name] for name in OUTCOMES}, reviews
    )


def sites_of(connection: Connection, code: str | None, *, one: bool = False) -> list[Site]:
    """The site called `code`; None: all of them, or the only one where `one` is needed.

    Raises:
        UsageError: there is none of that name, or several where one is needed.
    """
    if code is not None or one:
        return [site_of(connection, code)]
    codes = connection.execute(select(schema.Site.code).order_by(schema.Site.code)).scalars().all()
    return [site_of(connection, each) for each in codes] or [site_of(connection)]


def bin_ids_of(connection: Connection, site: Site, codes: Sequence[str]) -> list[int]:
    """The numbers of bins, ascending.

    Raises:
        DataError: the site has no such bin.
    """
    bins = schema.Bin
    found = {
        row.code: row.id
        for start in range(0, len(codes), AT_ONCE)
        for row in connection.execute(
            select(bins.code, bins.id).where(bins.site_id == site.id, bins.code.in_(codes[start : start + AT_ONCE]))
        )
    }
    for code in codes:
        if code not in found:
            near = connection.execute(select(bins.code).where(bins.site_id == site.id).limit(_SHOWN)).scalars()
            raise DataError(f"The site {site.code} has no bin {code!r}.", hint=did_you_mean(code, near))
    return sorted(set(found.values()))


def _facts(ledger: Ledger, how: How, bin_ids: Sequence[int]) -> list[BinFacts]:
    with ledger.read() as connection:
        return read_facts(connection, bin_ids, how.card.model_sha256)


def _compare(ledger: Ledger, how: How, site: Site, bins: Sequence[BinFacts], progress: Progress) -> int:
    """How many pairs of photos were compared."""
    pairs = unpaired(bins, how.card.model_sha256) if how.card.change is not None else []
    return compare(ledger, how, site, pairs, progress=progress) if pairs else 0
