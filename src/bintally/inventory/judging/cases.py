"""Bins, records and beliefs as the policy takes them: arrays of cases of one kind of keys."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.inventory.judging.beliefs import Believed
from bintally.inventory.judging.facts import UNCOUNTABLE, BinFacts, Look, Record
from bintally.inventory.judging.how import How
from bintally.inventory.policy.cases import CLASSES, KINDS, Bar, Cases, Decisions, draw_of
from bintally.inventory.policy.rates import rates
from bintally.records import key_of

_SCHEMA: Final = {"abc_class": pl.String, "product": pl.Int64, "bin": pl.Int64}


@dataclass(frozen=True)
class Case:
    """A record to judge, and what is known of its bin."""

    believed: Believed
    record: Record
    last: Look  # the last photo

    @property
    def facts(self) -> BinFacts:
        """Of the bin."""
        return self.believed.facts


def cases_of(believed: Iterable[Believed]) -> Iterator[Case]:
    """Bins with a record, a photo, and no count by a person since that photo: who has counted needs no verdict."""
    for each in believed:
        facts = each.facts
        if facts.record is not None and facts.looks:
            last = facts.looks[-1]
            if not any(told.counted_at >= last.taken_at for told in facts.told):
                yield Case(each, facts.record, last)


def decide(cases: Sequence[Case], how: How, outcomes: pl.DataFrame) -> Iterator[tuple[Decisions, list[Case]]]:
    """What the policy says of cases, in groups that know the same counts. `outcomes` as `policy.rates` has them."""
    wrong_n = rates(_records(cases), outcomes, how.policy.settings)["upper"].to_numpy()
    groups: dict[tuple[str, ...], list[int]] = {}
    told = [_told(case, how) for case in cases]
    for row, (keys, _, _) in enumerate(told):
        groups.setdefault(keys, []).append(row)
    for keys, rows in groups.items():
        chosen = [cases[row] for row in rows]
        arrays = Cases(
            keys=keys,
            probabilities_nk=_scaled([told[row][1] for row in rows]),
            prior_nk=_scaled([told[row][2] for row in rows]),
            recorded_n=np.array([case.record.quantity for case in chosen], np.int64),
            kind_n=np.array([KINDS.index(case.believed.kind) for case in chosen], np.uint8),
            wrong_n=wrong_n[rows],
            unit_value_n=np.array([_value(case.record) for case in chosen]),
            class_n=np.array([CLASSES.index(case.record.abc) for case in chosen], np.uint8),
            derived_n=np.array([_derived(case) for case in chosen], np.bool_),
            bar_n=np.array([_bar(case) for case in chosen], np.uint8),
            said_n=np.array([_said(case) for case in chosen]),
            draw_n=np.array([draw_of(f"{case.record.key} {case.last.sha256}") for case in chosen], np.uint64),
        )
        yield how.policy.decide(arrays), chosen


def _told(case: Case, how: How) -> tuple[tuple[str, ...], Sequence[float], Sequence[float]]:
    """Keys, their probabilities, and the same without photos; as the policy's tables were made for each kind."""
    believed = case.believed
    if believed.kind == "photo":
        look = [look for look in case.facts.looks if look.tells][-1]
        shares = look.estimate.probabilities
        return tuple(shares), list(shares.values()), [look.prior[key] for key in shares]
    counts = tuple(map(str, range(len(believed.probabilities_c))))
    if believed.kind != "change":
        return counts, believed.probabilities_c.tolist(), believed.prior_c.tolist()
    keys = how.card.count_keys
    return keys, _by_key(believed.probabilities_c, keys), _by_key(believed.prior_c, keys)


def _by_key(shares_c: NDArray[np.float64], keys: tuple[str, ...]) -> list[float]:
    told = dict.fromkeys(keys, 0.0)
    for count, share in enumerate(shares_c.tolist()):
        if (key := key_of(count, keys)) in told:
            told[key] += share
    return list(told.values())


def _scaled(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    shares_nk = np.array(rows, np.float64)
    return np.asarray(shares_nk / shares_nk.sum(axis=1, keepdims=True))


def _bar(case: Case) -> Bar:
    last = case.last
    moved = any(move.moved_at > last.taken_at for move in case.facts.moves)
    if moved or case.record.effective_at > last.taken_at:
        return Bar.STALE
    if last.estimate.error is not None:
        return Bar.UNREADABLE
    if last.estimate.abstain is not None:
        return Bar.NO_BIN
    return Bar.UNCOUNTABLE if last.said == UNCOUNTABLE else Bar.NONE


def _derived(case: Case) -> bool:
    """Whether a person has counted before: then the history says how likely the record is, and only photos beside it.

    Stock systems go on from what they knew, so that a record is no second witness of it. And what a pair of photos says
    was calibrated without the history that a site has.
    """
    return any(told.counted_at <= case.last.taken_at for told in case.facts.told)


def _said(case: Case) -> float:
    """P(the record's very count) without photos: count keys can't tell counts behind an open top apart, events can."""
    prior_c, count = case.believed.prior_c, case.record.quantity
    return float(prior_c[count]) if count < len(prior_c) - 1 else float("nan")


def _value(record: Record) -> float:
    return float("nan") if record.unit_value is None else record.unit_value


def _records(cases: Sequence[Case]) -> pl.DataFrame:
    """As `review.outcomes` names them: the product is null where the record names several, or none."""
    rows: list[tuple[Any, ...]] = [
        (case.record.abc, case.record.product_ids[0] if len(case.record.product_ids) == 1 else None, case.facts.id)
        for case in cases
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")
