"""Is a stock record right? P(record right | photo, record), from signs a person can follow.

The network tells what it sees: how many items, how many different products, how large and heavy all of it. Each is held
against the record (`signs_of`), and a logistic model weighs the signs. A sign that the record can't give (no measures)
is left out: signs are centred, so that one left out speaks neither way.

Shapes: K count keys; A attributes: `PRODUCTS`, then `facts.MEASURES`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import VerificationCard
from bintally.counting.facts import MEASURES, Facts
from bintally.records import key_of

MOST_PRODUCTS: Final = 5
PRODUCTS: Final = (*(f"products_{number}" for number in range(MOST_PRODUCTS)), f"products_{MOST_PRODUCTS}+")
"""Attributes: how probable each number of different products is; the last stands for all above."""

_LEAST: Final = 1e-3
_FURTHEST: Final = 3.0  # deviations, items: further off is no more wrong
_TOLD: Final = 0.7  # of the log odds: what moves them less is no reason worth telling
_WORDS: Final = {"volume": "volume", "side": "longest side", "weight": "weight"}


class Verdict(msgspec.Struct, frozen=True):
    """What a photo says of a record. `record_is_right` is a probability; `reasons` are in words, the weightiest first.

    `count` is what the photo (beside an earlier one, where there was one) shows, `recorded_count` what the record says.
    `abstain` says why the photo is not taken for a bin, `error` why there is no answer.
    """

    path: str | None = None
    record: str | None = None
    recorded_count: int | None = None
    record_is_right: float | None = None
    reasons: tuple[str, ...] = ()
    count: int | None = None
    probability: float | None = None
    abstain: str | None = None
    error: str | None = None
    model: str | None = None

    def to_json(self) -> str:
        """One line of JSON; probabilities with 4 digits."""
        record = msgspec.to_builtins(self)
        for name in ("record_is_right", "probability"):
            record[name] = None if record[name] is None else round(record[name], 4)
        return msgspec.json.encode(record).decode()


def signs_of(
    facts: Facts, probabilities: Mapping[str, float], prior: Mapping[str, float], attributes_a: NDArray[np.floating]
) -> dict[str, float]:
    """The signs for and against a record; those it can't give are left out.

    `probabilities` are of all counts the model knows, given the photo; `prior` the same without it.
    """
    key = key_of(facts.items, tuple(probabilities))
    share = max(probabilities.get(key, 0.0), _LEAST)
    best = max(max(probabilities.values()), _LEAST)
    products_p = np.maximum(attributes_a[: len(PRODUCTS)], _LEAST)
    recorded_products = min(facts.products, MOST_PRODUCTS)
    more_items = _bounded(facts.items - sum(p * _value(key) for key, p in probabilities.items()))
    more_products = _bounded(facts.products - float(products_p @ np.arange(len(PRODUCTS))) / float(products_p.sum()))
    signs = {
        "count": math.log(share),
        "count_beside_best": math.log(share / best),
        "count_without_photo": math.log(max(prior.get(key, 0.0), _LEAST)),
        "products": math.log(float(products_p[recorded_products])),
        "products_beside_best": math.log(float(products_p[recorded_products] / products_p.max())),
        "more_items": more_items,
        "items_off": more_items**2,
        "more_products": more_products,
        "products_off": more_products**2,
    }
    for name, recorded, seen in zip(MEASURES, facts.measures, attributes_a[len(PRODUCTS) :], strict=True):
        if recorded is not None:
            more = _bounded(recorded - float(seen))
            signs |= {f"more_{name}": more, f"{name}_off": more**2}
    return signs


def probability(card: VerificationCard, signs: Mapping[str, float]) -> float:
    """P(record right) of its signs."""
    odds = card.bias + sum(weight * (signs[name] - card.means[name]) for name, weight in card.weights.items()
                           if name in signs)  # fmt: skip
    return 1.0 / (1.0 + math.exp(-max(min(odds, 30.0), -30.0)))


def standardised(card: VerificationCard, facts: Facts) -> Facts:
    """The facts with measures as the network tells them: in deviations from the mean of its training."""
    measures = [
        None if value is None else (value - card.measures[name][0]) / card.measures[name][1]
        for name, value in zip(MEASURES, facts.measures, strict=True)
    ]
    return msgspec.structs.replace(facts, measures=tuple(measures))


def reasons_of(
    card: VerificationCard,
    facts: Facts,
    signs: Mapping[str, float],
    probabilities: Mapping[str, float],
    attributes_a: NDArray[np.floating],
) -> tuple[str, ...]:
    """What speaks for or against the record, in words, the weightiest first."""
    told: list[tuple[float, str]] = []
    counts = _weight(card, signs, ("count", "count_beside_best", "count_without_photo", "more_items", "items_off"))
    best = max(probabilities, key=lambda key: probabilities[key])
    key = key_of(facts.items, tuple(probabilities))
    if key == best:
        told.append((counts, f"the photo shows {best} too ({probabilities[best]:.0%})"))
    else:
        share = probabilities.get(key, 0.0)
        told.append(
            (counts, f"the photo shows {best} ({probabilities[best]:.0%}) rather than {facts.items} ({share:.0%})")
        )
    products = _weight(card, signs, ("products", "products_beside_best", "more_products", "products_off"))
    likely = int(np.argmax(attributes_a[: len(PRODUCTS)]))
    seen = f"{likely} or more" if likely == MOST_PRODUCTS else f"{likely}"
    told.append((products, f"it looks like {seen} different products; the record has {facts.products}"))
    for name in MEASURES:
        if f"more_{name}" in signs:
            more = signs[f"more_{name}"]
            weight = _weight(card, signs, (f"more_{name}", f"{name}_off"))
            how = "fits" if weight > 0 else "is more than" if more > 0 else "is less than"
            told.append((weight, f"the record's {_WORDS[name]} {how} what the photo shows"))
    told.sort(key=lambda each: -abs(each[0]))
    return tuple(text for weight, text in told if abs(weight) >= _TOLD) or (told[0][1],)


def _weight(card: VerificationCard, signs: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(card.weights[name] * (signs[name] - card.means[name]) for name in names if name in card.weights)


def _value(key: str) -> float:
    return float(key.removesuffix("+"))


def _bounded(value: float) -> float:
    return max(min(value, _FURTHEST), -_FURTHEST)
