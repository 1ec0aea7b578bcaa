"""How likely a record is wrong today: what was known at the last look, and what has happened since.

Errors arrive as a Poisson process: each movement is a chance for one (a mis-pick, a mis-stow), and so is each day
(loss, theft, damage), so that after n movements and t days without an error being put right

    P(still right) = exp(-f (touch n + day t)),

the survival function of additive hazards (Cox & Oakes 1984, Analysis of Survival Data); f is how much worse than the
site the bin is (`learn`). It is multiplied with P(right) at the last look: 1 less a person's miscounts after a count,
the verdict's after a photo. A bin nobody has looked at begins with the site's rate. Where a verdict knew nothing of the
bin's past (`prior`), what its photo said (its odds by those it set out from) is put beside what the past says, as Bayes
has it. Errors don't heal, and two that cancel out are none to a count: of the few that do so nothing is said here.
"""

from typing import Final

import polars as pl

from bintally.inventory.planning.settings import PlanSettings

_SURE: Final = 1e-6


def counted_last() -> pl.Expr:
    """Whether the last look was a count by a person, or the photo since told nothing."""
    photo = pl.col("days_since_photo")
    return pl.col("days_since_count").is_not_null() & (
        photo.is_null() | pl.col("right").is_null() | (pl.col("days_since_count") <= photo)
    )


def wrong_today(settings: PlanSettings) -> pl.Expr:
    """P(record wrong) of each row of `candidates.checked`."""
    count, photo = pl.col("days_since_count"), pl.col("days_since_photo")
    seen = pl.col("right").is_not_null() & ~counted_last()
    never = 1.0 - pl.col("rate").fill_null(settings.wrong_records)
    start = pl.when(count.is_not_null()).then(1.0 - settings.miscount).otherwise(never)
    before = start * _kept(settings, pl.col("moves_before").fill_null(0), (count - photo).fill_null(0.0))
    right = pl.when(seen).then(_told(before)).otherwise(start)
    days = pl.when(seen).then(photo).otherwise(count).fill_null(0.0)
    return 1.0 - right * _kept(settings, pl.col("moves_since"), days)


def _kept(settings: PlanSettings, moves: pl.Expr, days: pl.Expr) -> pl.Expr:
    """P(a right record is right still)."""
    hazard = settings.hazard
    return (-pl.col("factor") * (hazard.touch * moves + hazard.day * days)).exp()


def _told(before: pl.Expr) -> pl.Expr:
    """P(right) just after the photo, `before` being what the past says."""
    log_odds = _log_odds(pl.col("right")) - _log_odds(pl.col("prior")) + _log_odds(before)
    return pl.when(pl.col("prior").is_null()).then(pl.col("right")).otherwise(1.0 / (1.0 + (-log_odds).exp()))


def _log_odds(share: pl.Expr) -> pl.Expr:
    kept = share.clip(_SURE, 1.0 - _SURE)
    return kept.log() - (1.0 - kept).log()
