"""Simulated sites whose truth is known: an imperfect policy accepts some records, people look at a few of those."""

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Truth:
    """What the figures of a simulated site should hold."""

    ira: float
    escape: float
    escape_of_wrong: float
    false_alarms: float
    money: float


def simulated(
    seed: int,
    *,
    records: int = 3000,
    wrong_share: float = 0.05,
    checked_share: float = 0.05,
    mixed_chances: bool = False,
    per_bin: int = 1,
    looked_share: float = 1.0,
) -> tuple[pl.DataFrame, Truth]:
    """Records as `cases.cases_of` tells them, and the truth of all of them. Costs are `Costs()`.

    `checked_share` of the accepted are looked at (`mixed_chances`: of every other one three times that), and
    `looked_share` of the doubtful; `per_bin` records are of one bin, right or wrong together.
    """
    rng = np.random.default_rng(seed)
    place = np.arange(records)
    bins = place // per_bin
    wrong = (rng.random(bins[-1] + 1) < wrong_share)[bins]
    accepted = rng.random(records) < np.where(wrong, 0.2, 0.8)
    outcome = np.where(
        accepted, "match", np.where(rng.random(records) < np.where(wrong, 0.6, 0.1), "mismatch", "uncertain")
    )
    chance = np.where(accepted, checked_share * np.where(mixed_chances & (place % 2 == 1), 3.0, 1.0), 1.0)
    looked = (rng.random(records) < chance) & (accepted | (rng.random(records) < looked_share))
    cases = pl.DataFrame(
        {
            "record_id": place,
            "bin_id": bins,
            "outcome": outcome,
            "promised": 0.02,
            "made_s": 0,
            "decided_s": np.where(looked, 3600, 0),
            "known": looked,
            "wrong": looked & wrong,
            "chance": chance,
            "drawn": looked & accepted,
            "waits": ~looked & ~accepted,
            **dict.fromkeys(("gross", "net", "gross_value", "net_value", "corrections", "unvalued"), 0),
        }
    )
    escaped, alarms = wrong & accepted, ~wrong & ~accepted
    money = 2.5 * (accepted & ~looked).sum() - 40.0 * (escaped & ~looked).sum() - 2.5 * alarms.sum()
    return cases, Truth(
        ira=float(1.0 - wrong.mean()),
        escape=float(wrong[accepted].mean()),
        escape_of_wrong=float(escaped.sum() / max(wrong.sum(), 1)),
        false_alarms=float(alarms.sum() / (~wrong).sum()),
        money=float(money),
    )
