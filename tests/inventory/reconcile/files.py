"""Small files of counts, as `bintally count` writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bintally.records import COUNT_KEYS, CountEstimate


def estimate(bin_id: str, shows: int, /, *, share: float = 0.97, **changes: Any) -> dict[str, Any]:
    """An estimate that is sure of its count."""
    rest = (1 - share) / (len(COUNT_KEYS) - 1)
    shares = {key: share if place == shows else rest for place, key in enumerate(COUNT_KEYS)}
    told = CountEstimate(
        path=f"photos/{bin_id}.png",
        bin_image_id=bin_id,
        count=shows,
        expected_count=float(shows),
        probabilities=shares,
        model="tiny",
    )
    return {**json.loads(told.to_json()), **changes}


def write_lines(path: Path, estimates: Sequence[dict[str, Any] | str]) -> Path:
    """A line each; text stands as it is."""
    path.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in estimates))
    return path
