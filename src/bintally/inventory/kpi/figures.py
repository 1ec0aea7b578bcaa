"""The KPIs of some records (`cases.cases_of`), by the formulas of `report.DEFINITIONS`."""

from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from bintally.counting.intervals import share
from bintally.inventory.kpi.report import Figures, Measured, NetValue, Resolved, Variance
from bintally.inventory.kpi.shares import Floats, Looked, Wrong, measured, wrong_records
from bintally.inventory.policy.settings import Costs

_HOUR_S: Final = 3600
_MONEY: Final = 10_000  # `types.Money` counts in ten-thousandths
_DOUBTFUL: Final = ("mismatch", "uncertain")

NOTHING: Final = "no record was judged"
NONE_ACCEPTED: Final = "no record was accepted"
NO_CHECKS: Final = (
    "no accepted record was recounted blind yet: set recount_share in the policy and work off the checks "
    "(bintally review)"
)
NOT_LOOKED: Final = "nobody has looked yet at the records called {}: work them off (bintally review)"
NONE_WRONG: Final = "no wrong record was found"
NONE_RIGHT: Final = "no right record was found"
NOT_COUNTED: Final = "no person has counted a judged record: work off the queue (bintally review)"


class _Strata(NamedTuple):
    """The judged records by outcome; wrong ones where enough is known, else why not."""

    looked: dict[str, Looked]
    wrong: dict[str, Wrong]

    def records(self, *outcomes: str) -> int:
        return sum(self.looked[outcome].records for outcome in outcomes)

    def seen(self, *outcomes: str) -> int:
        return sum(len(self.looked[outcome].wrong_n) for outcome in outcomes)

    def why(self, *outcomes: str) -> str:
        """Why it is not known how many are wrong; empty where it is."""
        missing = [outcome for outcome in outcomes if not self.looked[outcome].known]
        if not missing:
            return ""
        return NO_CHECKS if missing[0] == "match" else NOT_LOOKED.format(missing[0])

    def value(self, *outcomes: str) -> float:
        return sum(self.wrong[outcome].value for outcome in outcomes)

    def drawn(self, *outcomes: str) -> Floats:
        return np.sum([self.wrong[outcome].drawn_d for outcome in outcomes], axis=0)  # type: ignore[no-any-return]


def figures_of(
    name: str, cases: pl.DataFrame, *, until_s: int, costs: Costs | None, has_money: bool, seed: int = 0
) -> Figures:
    """All KPIs of `cases`; `costs` None: without a net value."""
    by_outcome = dict(cases["outcome"].value_counts().iter_rows())
    judged = cases.filter(pl.col("outcome") != "stale")
    known = judged.filter("known")
    strata = _strata(judged, seed)
    accepted = strata.records("match")
    wrong = int(known["wrong"].sum())
    promises = judged.filter(pl.col("outcome") == "match")["promised"]
    return Figures(
        name=name,
        judged=len(judged),
        accepted=accepted,
        mismatches=strata.records("mismatch"),
        uncertain=strata.records("uncertain"),
        stale=by_outcome.get("stale", 0),
        counted=len(known),
        wrong=wrong,
        checked=strata.seen("match"),
        coverage=_share(accepted, len(judged), NOTHING),
        ira_counted=_share(len(known) - wrong, len(known), NOT_COUNTED if len(judged) else NOTHING),
        ira=_ira(strata),
        escape=_escape(strata),
        escape_of_wrong=_escape_of_wrong(strata),
        promised=_mean(promises),
        false_alarms=_false_alarms(strata),
        review_yield=_yield(judged),
        variance=_variance(known, has_money=has_money),
        resolved=_resolved(judged, until_s),
        value=None if costs is None else _value(strata, judged, costs),
        if_waiting=_if_waiting(strata),
    )


def _strata(judged: pl.DataFrame, seed: int) -> _Strata:
    rng = np.random.default_rng(seed)
    looked, wrong = {}, {}
    for outcome in ("match", *_DOUBTFUL):
        part = judged.filter(pl.col("outcome") == outcome)
        known = part.filter("known").sort("record_id")
        looked[outcome] = Looked(
            records=len(part),
            wrong_n=known["wrong"].to_numpy().astype(np.bool_),
            chance_n=known["chance"].to_numpy().astype(np.float64),
            bin_n=known["bin_id"].to_numpy(),
        )
        if looked[outcome].known:
            wrong[outcome] = wrong_records(looked[outcome], rng)
    return _Strata(looked, wrong)


def _share(part: int, of: int, why: str) -> Measured:
    if not of:
        return Measured(why=why)
    found = share(part, of)
    return Measured(value=found.value, low=found.low, high=found.high, of=of, seen=of)


def _ira(strata: _Strata) -> Measured:
    everything = ("match", *_DOUBTFUL)
    records = strata.records(*everything)
    why = strata.why(*everything) if records else NOTHING
    if why:
        return Measured(of=records, seen=strata.seen(*everything), why=why)
    return measured(
        1.0 - strata.value(*everything) / records,
        1.0 - strata.drawn(*everything) / records,
        of=records,
        seen=strata.seen(*everything),
    )


def _escape(strata: _Strata) -> Measured:
    accepted = strata.records("match")
    why = strata.why("match") if accepted else NONE_ACCEPTED
    if why:
        return Measured(of=accepted, why=why)
    return measured(
        strata.value("match") / accepted, strata.drawn("match") / accepted, of=accepted, seen=strata.seen("match")
    )


def _escape_of_wrong(strata: _Strata) -> Measured:
    everything = ("match", *_DOUBTFUL)
    why = strata.why(*everything)
    seen = strata.seen(*everything)
    wrong = 0.0 if why else strata.value(*everything)
    if why or not wrong:
        return Measured(of=round(wrong), seen=seen, why=why or NONE_WRONG)
    return _ratio(strata.value("match"), wrong, strata.drawn("match"), strata.drawn(*everything), seen)


def _false_alarms(strata: _Strata) -> Measured:
    everything = ("match", *_DOUBTFUL)
    why = strata.why(*everything)
    seen = strata.seen(*everything)
    records, sent = strata.records(*everything), strata.records(*_DOUBTFUL)
    right = 0.0 if why else records - strata.value(*everything)
    if why or not right:
        return Measured(of=round(right), seen=seen, why=why or NONE_RIGHT)
    return _ratio(
        sent - strata.value(*_DOUBTFUL),
        right,
        sent - strata.drawn(*_DOUBTFUL),
        records - strata.drawn(*everything),
        seen,
    )


def _ratio(part: float, whole: float, part_d: Floats, whole_d: Floats, seen: int) -> Measured:
    share_d = np.divide(part_d, whole_d, out=np.full(len(part_d), np.nan), where=whole_d > 0)
    return measured(part / whole, share_d, of=round(whole), seen=seen)


def _yield(judged: pl.DataFrame) -> Measured:
    decided = judged.filter(pl.col("decided_s").is_not_null())
    return _share(
        int(decided["wrong"].sum()), len(decided), "no review was decided: work off the queue (bintally review)"
    )


def _variance(known: pl.DataFrame, *, has_money: bool) -> Variance:
    sums = {name: int(known[name].sum()) for name in ("gross", "net", "gross_value", "net_value")}
    corrections, unvalued = (int(known[name].sum()) for name in ("corrections", "unvalued"))
    has_money = has_money and (corrections == 0 or unvalued < corrections)
    return Variance(
        gross_units=sums["gross"],
        net_units=sums["net"],
        gross_money=sums["gross_value"] / _MONEY if has_money else None,
        net_money=sums["net_value"] / _MONEY if has_money else None,
        records=len(known),
        corrections=corrections,
        unvalued=unvalued,
    )


def _resolved(judged: pl.DataFrame, until_s: int) -> Resolved:
    hours = (judged["decided_s"] - judged["made_s"]).drop_nulls() / _HOUR_S
    waiting = judged.filter("waits")["made_s"].to_numpy()
    return Resolved(
        records=len(hours),
        median_h=_quantile(hours, 0.5),
        p90_h=_quantile(hours, 0.9),
        waiting=len(waiting),
        oldest_waiting_h=float(until_s - waiting.min()) / _HOUR_S if len(waiting) else None,
    )


def _value(strata: _Strata, judged: pl.DataFrame, costs: Costs) -> NetValue:
    everything = ("match", *_DOUBTFUL)
    accepted, sent = strata.records("match"), strata.records(*_DOUBTFUL)
    avoided = accepted - int(judged["drawn"].sum())
    why = strata.why(*everything) if len(judged) else NOTHING
    told: dict[str, Any] = {
        "avoided": avoided,
        "cost_per_count": costs.count,
        "cost_per_escape": costs.escape,
        "cost_per_recount": costs.recount,
    }
    if why:
        money = Measured(of=len(judged), seen=strata.seen(*everything), why=why)
        return NetValue(escapes=None, false_alarms=None, money=money, **told)
    caught = int(strata.looked["match"].wrong_n.sum())

    def worth(escapes: Any, alarms: Any) -> Any:
        return avoided * costs.count - escapes * costs.escape - alarms * costs.recount

    escapes, alarms = strata.value("match") - caught, sent - strata.value(*_DOUBTFUL)
    drawn_d = worth(strata.drawn("match") - caught, sent - strata.drawn(*_DOUBTFUL))
    money = measured(worth(escapes, alarms), drawn_d, of=len(judged), seen=strata.seen(*everything))
    return NetValue(escapes=escapes, false_alarms=alarms, money=money, **told)


def _if_waiting(strata: _Strata) -> tuple[float, float] | None:
    """IRA of all records if all doubtful ones that nobody knows were wrong, and if they were right."""
    waiting = strata.records(*_DOUBTFUL) - strata.seen(*_DOUBTFUL)
    if strata.why("match") or not waiting:
        return None
    found = sum(int(strata.looked[outcome].wrong_n.sum()) for outcome in _DOUBTFUL)
    records = strata.records("match", *_DOUBTFUL)
    wrong = strata.value("match") + found
    return 1.0 - (wrong + waiting) / records, 1.0 - wrong / records


def _mean(values: pl.Series) -> float | None:
    values = values.drop_nulls()
    return float(np.sort(values.to_numpy()).mean()) if len(values) else None


def _quantile(values: pl.Series, share: float) -> float | None:
    return float(np.quantile(values.to_numpy(), share)) if len(values) else None
