"""The benchmark's simulation, in small: whose errors arise otherwise than the planner believes."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from tests.conftest import ROOT


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_plan", ROOT / "benchmarks" / "plan.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_plan = _benchmark()


def _found(seeds: int, **size: int) -> dict[str, float]:
    told = dict(_plan.compare(range(seeds), **size))
    return {name: float(np.mean([each.per_100 for each in outcomes])) for name, outcomes in told.items()}


def test_a_plan_with_photos_finds_more_wrong_records_than_counting_at_random() -> None:
    found = _found(2, bins=600, days=40, counts=6, photos=40)
    assert found["plan, 40 photos a day"] > 1.2 * found["at random"]


def test_the_same_seed_tells_the_same() -> None:
    size = {"bins": 100, "days": 10, "counts": 3, "photos": 10}
    assert _found(1, **size) == _found(1, **size)


@pytest.mark.soak
def test_a_plan_with_photos_finds_more_wrong_records_than_the_calendar() -> None:
    found = _found(10, bins=2000, days=180, counts=10, photos=100)
    assert found["plan, 100 photos a day"] > 1.2 * found["ABC calendar"] > 1.2 * found["at random"]
