"""Tables of candidates for tests."""

from typing import Any

import polars as pl
from hypothesis import strategies as st

from bintally.inventory.planning.candidates import OPTIONAL, REQUIRED

_USUAL: dict[str, Any] = {
    "abc": "B",
    "units": 4,
    "unit_value": 10.0,
    "right": None,
    "days_since_count": 30.0,
    "days_since_photo": None,
    "moves_since": 0,
}


def bins(*rows: dict[str, Any]) -> pl.DataFrame:
    """Candidates: bins A-1, A-2 .. of a usual kind, but for what each row says."""
    told = [{"bin": f"A-{at}"} | _USUAL | row for at, row in enumerate(rows, 1)]
    return pl.DataFrame(told, schema=REQUIRED | (OPTIONAL if any(set(row) & set(OPTIONAL) for row in rows) else {}))


_DAYS = st.none() | st.integers(0, 800).map(float)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "abc": st.sampled_from("ABC"),
            "units": st.integers(0, 300),
            "unit_value": st.none() | st.integers(0, 500).map(lambda value: value / 4),
            "right": st.none() | st.integers(0, 100).map(lambda share: share / 100),
            "days_since_count": _DAYS,
            "days_since_photo": _DAYS,
            "moves_since": st.integers(0, 200),
            "factor": st.none() | st.integers(0, 12).map(lambda factor: factor / 4),
            "planned": st.sampled_from([None, None, "count", "photo", "overdue"]),
        }
    ),
    max_size=14,
)
"""Rows of candidates of all kinds."""
