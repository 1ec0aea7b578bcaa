"""A decision in words: why a record was accepted, called wrong, or left to a person."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from bintally.inventory.policy.cases import KINDS, Bar, Decisions
from bintally.inventory.policy.scores import top_of
from bintally.inventory.verdict import OUTCOMES, Verdict

_BARS: Final = {
    Bar.NO_BIN: "the photo does not show a bin",
    Bar.UNCOUNTABLE: "the bin's contents can't be counted from outside",
    Bar.UNREADABLE: "the photo can't be read",
    Bar.NO_PHOTO: "there is no photo of this bin",
    Bar.STALE: "stock moved after the photo, so the record is not judged by it",
}
_SEEN: Final = {
    "photo": "the photo shows",
    "change": "the two photos and the confirmed earlier count say",
    "followed": "the bin's history and photos say",
}


def verdict_of(decisions: Decisions, n: int) -> Verdict:
    """The `n`th decision, in words."""
    cases = decisions.cases
    count = int(decisions.count_n[n])
    return Verdict(
        outcome=OUTCOMES[decisions.outcome_n[n]],
        recorded_count=int(cases.recorded_n[n]),
        count=None if count < 0 else count,
        right=_number(decisions.right_n[n]),
        prior_right=_number(decisions.prior_right_n[n]),
        score=_number(decisions.score_n[n]),
        threshold=_number(decisions.threshold_n[n]),
        promised=float(decisions.promised_n[n]),
        kind=KINDS[cases.kind_n[n]],
        reasons=next(reasons_of(decisions, slice(n, n + 1))),
        second_approval=bool(decisions.second_approval_n[n]),
        blind_recount=bool(decisions.blind_recount_n[n]),
    )


def reasons_of(decisions: Decisions, rows: slice) -> Iterator[tuple[str, ...]]:
    """The reasons of many decisions, in their order: some microseconds each."""
    for said in _said(decisions, rows):
        yield tuple(_reasons(said))


class _Said(NamedTuple):
    """A decision as plain values, which are read much faster than those of arrays."""

    bar: int
    kind: int
    recorded: int
    best_key: str
    best_share: float
    recorded_key: str
    recorded_share: float
    outcome: str
    score: float
    threshold: float
    promised: float
    right: float
    prior_right: float
    calibrated: bool
    apart: bool
    last_key: str
    derived: bool
    tolerance: int
    second_approval: bool
    blind_recount: bool


def _said(decisions: Decisions, rows: slice) -> Iterator[_Said]:
    cases = decisions.cases
    shares_nk, recorded_n = cases.probabilities_nk[rows], cases.recorded_n[rows].astype(np.int64)
    keys, top, many = cases.keys, top_of(cases.keys), len(recorded_n)
    best_n = shares_nk.argmax(axis=1)
    names = [str(each) if top is None or each < top else keys[-1] for each in recorded_n.tolist()]
    place = {key: index for index, key in enumerate(keys)}
    column_n = np.array([place.get(name, -1) for name in names], np.int64)
    every = np.arange(many)
    return map(
        _Said._make,
        zip(
            cases.bar_n[rows].tolist(),
            cases.kind_n[rows].tolist(),
            recorded_n.tolist(),
            [keys[best] for best in best_n.tolist()],
            shares_nk[every, best_n].tolist(),
            names,
            np.where(column_n < 0, 0.0, shares_nk[every, column_n]).tolist(),
            [OUTCOMES[outcome] for outcome in decisions.outcome_n[rows].tolist()],
            decisions.score_n[rows].tolist(),
            decisions.threshold_n[rows].tolist(),
            decisions.promised_n[rows].tolist(),
            decisions.right_n[rows].tolist(),
            decisions.prior_right_n[rows].tolist(),
            decisions.calibrated_n[rows].tolist(),
            decisions.apart_n[rows].tolist(),
            [keys[-1]] * many,
            cases.derived_n[rows].tolist(),
            decisions.tolerance_n[rows].tolist(),
            decisions.second_approval_n[rows].tolist(),
            decisions.blind_recount_n[rows].tolist(),
            strict=True,
        ),
    )


def _reasons(said: _Said) -> Iterator[str]:
    if said.bar != Bar.NONE:
        yield _BARS[Bar(said.bar)]
        return
    if KINDS[said.kind] == "none":
        yield "nothing was seen of this bin"
        return
    yield _seen(said)
    yield _decided(said)
    if said.derived:
        yield "the bin was counted before: its history is what the photos are added to"
    if said.tolerance:
        yield f"a difference of up to {said.tolerance} is tolerated"
    if said.second_approval:
        yield "a correction would be worth so much that two people must approve it"
    if said.blind_recount:
        yield "drawn for a recount by a person who does not see the record"


def _seen(said: _Said) -> str:
    words = f"{_SEEN[KINDS[said.kind]]} {said.best_key} ({said.best_share:.0%})"
    if said.recorded_key == said.best_key:
        return f"{words}, {said.recorded} recorded"
    return f"{words}; {said.recorded} recorded ({said.recorded_share:.0%})"


def _decided(said: _Said) -> str:
    promise = f"{said.promised:.3g} wrong among the accepted"
    if said.outcome == "match":
        return f"score {said.score:.2f} reaches {said.threshold:.2f}, which keeps the promise of at most {promise}"
    if said.outcome == "mismatch":
        return f"the record is wrong with {1.0 - said.right:.1%}"
    if not said.calibrated:
        return f"nothing is promised for evidence of the kind {KINDS[said.kind]!r}: make it with `bintally policy fit`"
    if not said.apart:
        return f"{said.recorded} can't be told from other counts of {said.last_key}"
    if math.isnan(said.threshold):
        return (
            f"no score would keep the promise of at most {promise}, "
            f"where {1.0 - said.prior_right:.1%} of such records are wrong"
        )
    return f"score {said.score:.2f} is below {said.threshold:.2f}, which the promise of at most {promise} needs"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
