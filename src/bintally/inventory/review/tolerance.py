"""How far off a count may be and the record still stands: the policy's tolerances, for records of the ledger."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from bintally.inventory import schema
from bintally.inventory.policy.cases import CLASSES, Cases
from bintally.inventory.policy.decide import tolerances
from bintally.inventory.policy.settings import PolicySettings


def tolerances_of(
    settings: PolicySettings,
    recorded_n: NDArray[np.integer[Any]],
    abc_n: NDArray[np.uint8],
    unit_value_n: NDArray[np.floating[Any]],
) -> NDArray[np.int64]:
    """[N] items a count of each record may be off; `abc_n` indexes A, B, C, `unit_value_n` nan: unknown."""
    many = len(recorded_n)
    nothing_nk, nothing_n = np.ones((many, 1)), np.zeros(many)
    cases = Cases(
        keys=("0",),
        probabilities_nk=nothing_nk,
        prior_nk=nothing_nk,
        recorded_n=recorded_n,
        kind_n=nothing_n.astype(np.uint8),
        wrong_n=nothing_n,
        unit_value_n=unit_value_n,
        class_n=abc_n,
        derived_n=nothing_n.astype(np.bool_),
        said_n=nothing_n.astype(np.float64),
        bar_n=nothing_n.astype(np.uint8),
        draw_n=nothing_n.astype(np.uint64),
    )
    return tolerances(settings, cases)


def tolerance_of(connection: Connection, settings: PolicySettings, record_id: int, recorded: int) -> int:
    """Items a count of one record may be off; of several products, the strictest class and the dearest item count."""
    line, product = schema.StockLine, schema.Product
    rows = connection.execute(
        select(product.abc, product.unit_value)
        .join(line, line.product_id == product.id)
        .where(line.record_id == record_id)
    ).all()
    abc = min((CLASSES.index(row.abc) for row in rows), default=0)
    values = [float("nan") if row.unit_value is None else float(row.unit_value) for row in rows]
    dearest = max(values) if values and not any(np.isnan(values)) else float("nan")
    found = tolerances_of(settings, np.array([recorded]), np.array([abc], np.uint8), np.array([dearest]))
    return int(found[0])
