"""Is a stock record right? P(record right | photo, record), held against the errors it may hold.

The network tells what it sees: how many items, how many different products, how large and heavy all of it. A record
says the same of itself; so does each record that one error would have made it from: a product too many, one missing,
one or two units more or less. The record is right as far as the photo speaks for it and not for those (Bayes' rule),
and the likeliest of them tells a person what to look for. What a record can't tell (no measures) speaks neither way.

Shapes: K count keys; A attributes: `PRODUCTS`, then `facts.MEASURES`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import VerificationCard
from bintally.counting.facts import MEASURES, Facts, facts_of
from bintally.records import Product, key_of

MOST_PRODUCTS: Final = 5
PRODUCTS: Final = (*(f"products_{number}" for number in range(MOST_PRODUCTS)), f"products_{MOST_PRODUCTS}+")
"""Attributes: how probable each number of different products is; the last stands for all above."""

_LEAST: Final = 2e-3  # of a count's probability: no photo rules a count out
_RAREST: Final = 0.02  # of a count's prior: so a rare one is no sensation
_FURTHEST: Final = 3.0  # deviations: further off is no more wrong

_MISSING: Final = 0.36  # shares of the kinds of error: a product was left out of the record, ...
_EXTRA: Final = 0.36
_QUANTITY: Final = {-2: 0.05, -1: 0.09, 1: 0.09, 2: 0.05}
_LEFT_OUT: Final = {1: 0.55, 2: 0.3, 3: 0.15}  # units of a product that the record lacks
_TYPICAL_CUBIC_INCHES: Final = 120.0  # of one unit, by hand: ABID's products have a median of 78, a mean of 167


_WORDS: Final = {"volume": "total volume", "side": "longest side", "weight": "total weight"}


class Shown(NamedTuple):
    """What a photo shows of a bin."""

    counts: Mapping[str, float]  # probability of each count key the model knows
    prior: Mapping[str, float]  # the same without the photo
    attributes_a: NDArray[np.floating]


class Explanation(NamedTuple):
    """One way the bin may differ from its record: none, or one error. `words` are of the error."""

    share: float
    facts: Facts
    words: str


class Verification(msgspec.Struct, frozen=True):
    """What a photo says of a record. `record_is_right` is a probability; `reasons` are in words, the weightiest first.

    `count` is what the photo (beside an earlier one, where there was one) shows, `recorded_count` what the record says.
    `previous` and `previous_count` are what the photo was held against, `abstain` says why a photo is not taken for a
    bin, `error` why there is no answer.
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
    previous: str | None = None
    previous_count: int | None = None

    def to_json(self) -> str:
        """One line of JSON; probabilities with 4 digits."""
        record = msgspec.to_builtins(self)
        for name in ("record_is_right", "probability"):
            record[name] = None if record[name] is None else round(record[name], 4)
        return msgspec.json.encode(record).decode()


def judged(card: VerificationCard, products: Sequence[Product], shown: Shown) -> tuple[float, tuple[str, ...]]:
    """P(record right), and why in words, the weightiest first."""
    explanations = list(explanations_of(products))
    logs = [math.log(each.share) + log_likelihood(card, each.facts, shown) for each in explanations]
    right = probability(card, beside_errors(np.array(logs)))
    return right, _reasons(card, explanations, logs, shown)


def explanations_of(products: Sequence[Product]) -> Iterator[Explanation]:
    """What the bin may really hold: first what is recorded, then what one error would have made that from."""
    held = [product for product in products if product.quantity > 0]
    facts = facts_of(held)
    yield Explanation(1.0, facts, "")
    yield from _left_out(facts)
    for place, product in enumerate(held):
        others = [*held[:place], *held[place + 1 :]]
        name = product.name[:40] or product.asin
        if others:
            yield Explanation(_EXTRA / len(held), facts_of(others), f"{name} is not in the bin")
        for more, share in _QUANTITY.items():
            quantity = product.quantity + more
            if quantity > 0:
                really = [*others, msgspec.structs.replace(product, quantity=quantity)]
                words = f"there are {quantity} of {name}, not {product.quantity}"
                yield Explanation(share / len(held), facts_of(really), words)


def log_likelihood(card: VerificationCard, facts: Facts, shown: Shown) -> float:
    """Log P(what the photo shows | these facts), up to a constant."""
    count, products, measures = terms(card, facts, shown)
    return count + card.products_weight * products + card.measures_weight * measures


def terms(card: VerificationCard, facts: Facts, shown: Shown) -> tuple[float, float, float]:
    """Log likelihoods of the number of items, of the number of products, and of the measures."""
    key = key_of(facts.items, tuple(shown.counts))
    count = math.log(max(shown.counts.get(key, 0.0), _LEAST) / max(shown.prior.get(key, 0.0), _RAREST))
    number = min(facts.products, MOST_PRODUCTS)
    share, usual = float(shown.attributes_a[number]), card.products_prior[number]
    products = math.log(max(share, _LEAST) / max(usual, _RAREST))
    return count, products, -sum(min(abs(off), _FURTHEST) ** 2 / 2 for _, off in _measures_off(card, facts, shown))


def beside_errors(logs_e: NDArray[np.float64]) -> float:
    """How much more the photo speaks for a record (the first) than for those that one error made it from, in logs."""
    highest = float(logs_e[1:].max())
    return float(logs_e[0]) - highest - math.log(float(np.exp(logs_e[1:] - highest).sum()))


def probability(card: VerificationCard, log_odds: float) -> float:
    """P(record right) of `beside_errors`."""
    return 1.0 / (1.0 + math.exp(-max(min(card.bias + card.slope * log_odds, 30.0), -30.0)))


def _measures_off(card: VerificationCard, facts: Facts, shown: Shown) -> Iterator[tuple[str, float]]:
    """How far the record's measures are above what the photo shows, in usual distances; only those it has."""
    for name, value, told in zip(MEASURES, facts.measures, shown.attributes_a[len(PRODUCTS) :], strict=True):
        if value is not None:
            mean, deviation = card.measures[name]
            yield name, ((value - mean) / deviation - float(told)) / card.spread[name]


def _left_out(facts: Facts) -> Iterator[Explanation]:
    """A product the record lacks; all that is known of it is what products are usually like."""
    volume, *others = facts.measures
    for units, share in _LEFT_OUT.items():
        more = None if volume is None else math.log(math.exp(volume) + units * _TYPICAL_CUBIC_INCHES)
        measures = (more, others[0], others[1])
        really = Facts(facts.items + units, facts.products + 1, measures)
        yield Explanation(_MISSING * share, really, "a product is missing from the record")


def _reasons(
    card: VerificationCard, explanations: Sequence[Explanation], logs: Sequence[float], shown: Shown
) -> tuple[str, ...]:
    facts = explanations[0].facts
    key = key_of(facts.items, tuple(shown.counts))
    best = max(shown.counts, key=lambda each: shown.counts[each])
    share = shown.counts.get(key, 0.0)
    reasons = [
        f"the photo shows {best}, as recorded ({share:.0%})"
        if key == best
        else f"the photo shows {best} ({shown.counts[best]:.0%}); {facts.items} are recorded ({share:.0%})"
    ]
    number = int(np.argmax(shown.attributes_a[: len(PRODUCTS)]))
    if number != min(facts.products, MOST_PRODUCTS):
        or_more = " or more" if number == MOST_PRODUCTS else ""
        reasons.append(f"it looks like {number}{or_more} different products; {facts.products} are recorded")
    for name, off in _measures_off(card, facts, shown):
        if abs(off) > 1.0:
            reasons.append(f"the record's {_WORDS[name]} is {'larger' if off > 0 else 'smaller'} than the photo's")
    likeliest = max(range(1, len(logs)), key=logs.__getitem__)
    # As if the record were as rare as this error: does the photo itself speak for it?
    if logs[likeliest] > logs[0] + math.log(explanations[likeliest].share):
        reasons.insert(0, f"likelier than the record: {explanations[likeliest].words}")
    return tuple(reasons)
