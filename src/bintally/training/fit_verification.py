"""How much each thing a photo shows says of a record, fitted on val: its own records, and wrong ones made from them.

Wrong records must not give themselves away: a model that never saw a photo would then tell them from right ones (a
published 95% came about so). They are weighed to have the same totals and numbers of products as the right ones.

Shapes: R records; E explanations of one (`counting.verification`); terms_e3 float [E, 3].
"""

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as every
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.bundle import VerificationCard
from bintally.counting.counter import Counter
from bintally.counting.facts import MEASURES, facts_of
from bintally.counting.verification import (
    PRODUCTS,
    Shown,
    beside_errors,
    explanations_of,
    terms,
)
from bintally.records import Product
from bintally.training.attributes import Attributes, recorded_products
from bintally.training.calibrate import Photos

_WRONG_EACH: Final = 4
_WEIGHTS: Final = (0.0, 0.2, 0.35, 0.5, 0.7, 0.9)
_ESCAPING: Final = 0.1
_MOST_WEIGHT: Final = 10.0
_KINDS: Final = ("missing", "extra", -1, 1, -2, 2)
_SHARES: Final = (0.34, 0.34, 0.1, 0.1, 0.06, 0.06)

Floats = NDArray[np.float64]


def unfitted(scales: dict[str, tuple[float, float]]) -> VerificationCard:
    """The card before anything was fitted; `scales` are what training told the measures in."""
    return VerificationCard(
        measures=scales,
        spread=dict.fromkeys(MEASURES, 1.0),
        products_prior=tuple(1 / len(PRODUCTS) for _ in PRODUCTS),
        products_weight=0.0,
        measures_weight=0.0,
        slope=1.0,
        bias=0.0,
        threshold=0.5,
    )


@dataclass(frozen=True)
class _Held:
    """A record, right or wrong, beside a photo."""

    terms_e3: Floats
    log_shares_e: Floats
    right: bool
    kind: tuple[int, int]  # items, products: what a blind model could go by


def fit_verification(
    card: VerificationCard, counter: Counter, data: Any, val: Photos, *, seed: int
) -> VerificationCard:
    """The card fitted on val's photos with records, by the least log loss; as it is where there are none."""
    known = recorded_products(data, val.table)
    rows = [row for row, products in enumerate(known) if products]
    if not rows:
        return card
    seen = counter.network.see(val.cache.read(val.cache.rows(val.table["sha256"].to_list())[rows]), beside=True)
    assert seen.attributes_na is not None  # noqa: S101 - exported with a record head
    records = [known[row] or () for row in rows]
    card = _spread(card, data, val.table[rows], seen.attributes_na)
    shares = seen.raw_nk / seen.raw_nk.sum(axis=1, keepdims=True)
    keys, prior = counter.card.count_keys, counter.card.target_prior
    shown = [
        Shown(dict(zip(keys, row, strict=True)), prior, attributes_a)
        for row, attributes_a in zip(shares.tolist(), seen.attributes_na, strict=True)
    ]
    rng = np.random.default_rng(seed)
    catalogue = [product for products in records for product in products]
    held: list[_Held] = []
    for products, photo in zip(records, shown, strict=True):
        for _ in range(_WRONG_EACH):
            for record, right in ((products, True), (wrong_record(products, catalogue, rng), False)):
                held += [_held(card, each, photo, right=right) for each in (record, _without_measures(record))]
    return _fitted(card, held)


def wrong_record(
    products: Sequence[Product], catalogue: Sequence[Product], rng: np.random.Generator
) -> tuple[Product, ...]:
    """A record with one error: a product missing or extra, or one or two units more or less of one."""
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))]
    chosen = int(rng.integers(len(products)))
    if kind == "missing" and len(products) > 1:
        return (*products[:chosen], *products[chosen + 1 :])
    if isinstance(kind, str):
        held = {product.asin for product in products}
        others = [product for product in catalogue if product.asin not in held]
        extra = others[int(rng.integers(len(others)))] if others else products[chosen]
        return (*products, extra)
    quantity = products[chosen].quantity + kind
    changed = msgspec.structs.replace(products[chosen], quantity=quantity if quantity > 0 else 1 + abs(kind))
    return (*products[:chosen], changed, *products[chosen + 1 :])


def _without_measures(products: Sequence[Product]) -> tuple[Product, ...]:
    return tuple(Product(product.asin, "", product.quantity) for product in products)


def _held(card: VerificationCard, products: Sequence[Product], shown: Shown, *, right: bool) -> _Held:
    explanations = list(explanations_of(products))
    facts = facts_of(products)
    return _Held(
        np.array([terms(card, each.facts, shown) for each in explanations]),
        np.log([each.share for each in explanations]),
        right,
        (facts.items, facts.products),
    )


def _spread(
    card: VerificationCard, data: Any, table: pl.DataFrame, attributes_na: NDArray[np.float32]
) -> VerificationCard:
    """How far measures are usually off, and how usual each number of products is."""
    recorded = Attributes.read(data, table, card.measures)
    off_nm = recorded.measures_nm - attributes_na[:, len(PRODUCTS) :]
    spread = {}
    for name, off_n in zip(MEASURES, off_nm.T, strict=True):
        off_known = off_n[~np.isnan(off_n)]
        spread[name] = max(float(np.sqrt(np.mean(off_known**2))), 0.05) if len(off_known) else 1.0
    found = np.bincount(recorded.products_n[recorded.products_n >= 0], minlength=len(PRODUCTS)) + 1.0
    return msgspec.structs.replace(card, spread=spread, products_prior=tuple((found / found.sum()).tolist()))


def _fitted(card: VerificationCard, held: Sequence[_Held]) -> VerificationCard:
    right_r = np.array([record.right for record in held])
    weights_r = _matched([record.kind for record in held], right_r)
    best: tuple[float, VerificationCard, Floats] | None = None
    for products_weight, measures_weight in every(_WEIGHTS, _WEIGHTS):
        trust = np.array([1.0, products_weight, measures_weight])
        odds_r = np.array([beside_errors(record.log_shares_e + record.terms_e3 @ trust) for record in held])
        slope, bias, loss = _logistic(odds_r, right_r, weights_r)
        if best is None or loss < best[0]:
            tried = msgspec.structs.replace(
                card, products_weight=products_weight, measures_weight=measures_weight, slope=slope, bias=bias
            )
            best = (loss, tried, 1 / (1 + np.exp(-(slope * odds_r + bias))))
    assert best is not None  # noqa: S101 - there are weights to try
    _, fitted, shares_r = best
    wrong_r = ~right_r
    order = np.argsort(-shares_r[wrong_r])
    escaped = np.cumsum(weights_r[wrong_r][order]) / weights_r[wrong_r].sum()
    threshold = float(shares_r[wrong_r][order][min(int((escaped <= _ESCAPING).sum()), len(order) - 1)])
    return msgspec.structs.replace(fitted, threshold=threshold)


def _matched(kinds: Sequence[tuple[int, int]], right_r: NDArray[np.bool_]) -> Floats:
    """Weights of records, so that wrong ones have right ones' totals and numbers of products."""
    right = Tally(kind for kind, is_right in zip(kinds, right_r, strict=True) if is_right)
    wrong = Tally(kind for kind, is_right in zip(kinds, right_r, strict=True) if not is_right)
    weights = [
        1.0 if is_right else min(right[kind] / wrong[kind], _MOST_WEIGHT)
        for kind, is_right in zip(kinds, right_r, strict=True)
    ]
    return np.array(weights)


def _logistic(odds_r: Floats, right_r: NDArray[np.bool_], weights_r: Floats) -> tuple[float, float, float]:
    """Slope and bias of the least weighted log loss, and that; by Newton's method.

    A slope below 0 would call a record wrong because the photo speaks for it: then nothing was learnt, and it is 0.
    """
    design_r2 = np.stack([odds_r, np.ones_like(odds_r)], axis=1)
    beta = np.array([0.5, 0.0])
    for _ in range(25):
        shares_r = 1 / (1 + np.exp(-np.clip(design_r2 @ beta, -30, 30)))
        gradient = design_r2.T @ (weights_r * (shares_r - right_r))
        curvature = (design_r2 * (weights_r * shares_r * (1 - shares_r))[:, None]).T @ design_r2
        beta = beta - np.linalg.solve(curvature + 1e-6 * np.eye(2), gradient)
    if beta[0] < 0:
        right = float(weights_r[right_r].sum() / weights_r.sum())
        beta = np.array([0.0, np.log(right / (1 - right))])
    shares_r = np.clip(1 / (1 + np.exp(-np.clip(design_r2 @ beta, -30, 30))), 1e-9, 1 - 1e-9)
    losses_r = -np.where(right_r, np.log(shares_r), np.log(1 - shares_r))
    return float(beta[0]), float(beta[1]), float((weights_r * losses_r).sum() / weights_r.sum())
