"""Better, or as good and cheaper; and on no slice much worse: on answers drawn with what is true of them in mind."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from bintally.counting.predictions import Predictions
from bintally.registry.gates.case import Case, Pair
from bintally.registry.gates.cost import Times
from bintally.registry.gates.frozen import Answers, Frozen
from bintally.registry.gates.quality import ALL, better, judged_slices, photos_needed, slices
from bintally.registry.gates.settings import PromoteSettings, SlicesSettings
from bintally.registry.registration import register
from bintally.registry.versions import Version
from tests.bundles import make_bundle
from tests.databases import new_registry
from tests.registry.gates.shelves import GOOD, SURE

KEYS = ("1", "2", "3", "4")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, Version]:
    """Two versions, of which only cards and sizes matter here."""
    folder = tmp_path_factory.mktemp("versions")
    with new_registry(folder / "registry") as registry:
        made = [
            register(registry, make_bundle(folder / name, sharpness=sharpness), by="rita").version
            for name, sharpness in (("a", GOOD), ("b", SURE))
        ]
    return made[0], made[1]


def _answers(table: pl.DataFrame, labels_n: np.ndarray, right_n: np.ndarray, sure: float = 0.7) -> Answers:
    """A model that gives `sure` to the recorded count where it is right, else to the next one."""
    told_nk = np.full((len(labels_n), len(KEYS)), (1 - sure) / (len(KEYS) - 1))
    told_nk[np.arange(len(labels_n)), np.where(right_n, labels_n, (labels_n + 1) % len(KEYS))] = sure
    ids_n, groups_n = table["bin_image_id"].to_numpy(), table["group"].to_numpy()
    told = Predictions(ids_n, groups_n, labels_n + 1, KEYS, labels_n.astype(np.intp), told_nk)
    return Answers(table.with_columns(abstain=pl.lit(None, pl.String)), told)


def _case(
    versions: tuple[Version, Version],
    mine_n: np.ndarray,
    champions_n: np.ndarray,
    *,
    sure: float = 0.7,
    bytes_ratio: float = 1.0,
    time_ratio: float = 1.0,
    **settings: Any,
) -> Case:
    """Two models that are right where told; bins of two photos, the brightest third last."""
    photos = len(mine_n)
    rng = np.random.default_rng(1)
    labels_n = rng.permutation(np.arange(photos) % len(KEYS))
    table = pl.DataFrame(
        {
            "bin_image_id": [f"{n:06}" for n in range(photos)],
            "group": [f"bin {n // 2}" for n in range(photos)],
            "brightness": np.linspace(20, 200, photos),
            "metadata_path": pl.Series([None] * photos, dtype=pl.String),
            "product_ids": pl.Series([None] * photos, dtype=pl.List(pl.String)),
            "encoding": pl.Series([None] * photos, dtype=pl.String),
            "width_px": [48] * photos,
            "height_px": [32] * photos,
        }
    )
    frozen = Frozen(Path("data"), "test", table, table)
    size = round(bytes_ratio * versions[1].bundle_bytes)
    took_n = rng.uniform(9, 11, 60)
    return Case(
        settings=PromoteSettings.of({"unseen": {"min_photos": 20}} | settings),
        version=msgspec.structs.replace(versions[0], bundle_bytes=size),
        against=versions[1],
        everything=frozen,
        frozen=frozen,
        unknown=(),
        unknown_of_champion=(),
        answers=_answers(table, labels_n, mine_n, sure),
        answers_of_champion=_answers(table, labels_n, champions_n),
        measure=lambda: Times(took_n * time_ratio, took_n),
    )


def _right(share: float, photos: int = 1200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(photos) < share


def _pair(case: Case) -> Pair:
    return case.pair


@pytest.mark.parametrize("metric", ["log_loss", "accuracy"])
def test_swapping_the_models_turns_the_gain_round(versions: tuple[Version, Version], metric: str) -> None:
    mine_n, theirs_n = _right(0.5, seed=1), _right(0.6, seed=2)
    one, other = _case(versions, mine_n, theirs_n), _case(versions, theirs_n, mine_n)
    assert _pair(one).gains(metric) == pytest.approx(-_pair(other).gains(metric))
    gains = [better(case) for case in (one, other)]
    assert [gate.passed for gate in gains] == [False, True]


@pytest.mark.parametrize("metric", ["log_loss", "accuracy"])
def test_better_is_shown_by_either_metric(versions: tuple[Version, Version], metric: str) -> None:
    case = _case(versions, _right(0.6, seed=1), _right(0.5, seed=2), better={"metric": metric})
    assert better(case).passed
    assert better(case).reason.startswith("Better: ")


def test_a_better_log_loss_does_not_excuse_more_wrong_counts(versions: tuple[Version, Version]) -> None:
    """It is right less often, but so much less sure of itself that its log loss is lower."""
    case = _case(versions, _right(0.35, seed=1), _right(0.42, seed=2), sure=0.4)
    gate = better(case)
    assert not gate.passed
    assert "But it is worse in another way: right on" in gate.reason


@pytest.mark.parametrize(
    ("how", "passed"),
    [
        ({"time_ratio": 0.6}, True),
        ({"bytes_ratio": 0.5}, True),
        ({}, False),
        ({"time_ratio": 0.95}, False),  # hardly faster
        ({"time_ratio": 0.6, "bytes_ratio": 3.0}, False),  # faster, but three times as large
        ({"bytes_ratio": 0.5, "time_ratio": 1.2}, False),  # smaller, but slower
        ({"time_ratio": 0.6, "better": {"cheaper": False}}, False),
    ],
)
def test_as_good_passes_only_where_it_is_cheaper(
    versions: tuple[Version, Version], how: dict[str, Any], passed: bool
) -> None:
    right_n = _right(0.5)
    gate = better(_case(versions, right_n, right_n, **how))
    assert gate.passed is passed
    assert "Not shown to be better" in gate.reason


def test_cheaper_does_not_excuse_many_more_wrong_counts(versions: tuple[Version, Version]) -> None:
    theirs_n = _right(0.5)
    mine_n = theirs_n & _right(0.94, seed=5)  # loses 3 points
    gate = better(_case(versions, mine_n, theirs_n, time_ratio=0.3))
    assert not gate.passed
    assert "nor is it shown to be right on at most 2 points fewer photos" in gate.reason


def test_a_slice_that_got_much_worse_is_named(versions: tuple[Version, Version]) -> None:
    """Better on the whole, but bright photos have become much worse."""
    theirs_n = _right(0.5)
    mine_n = np.where(np.arange(1200) < 900, theirs_n | _right(0.4, seed=3), theirs_n & _right(0.5, seed=4))
    gate = slices(_case(versions, mine_n, theirs_n))
    assert not gate.passed
    assert "brightness above" in gate.reason
    assert [part.name for part in gate.parts if not part.passed] == [gate.parts[0].name]
    assert better(_case(versions, mine_n, theirs_n)).passed


def test_a_model_that_is_as_good_passes_on_all_slices(versions: tuple[Version, Version]) -> None:
    theirs_n = _right(0.5, photos=4000)
    mine_n = theirs_n ^ (_right(0.05, photos=4000, seed=8))  # 5% of photos differ, either way
    gate = slices(_case(versions, mine_n, theirs_n))
    assert gate.passed, gate.reason
    assert {part.name for part in gate.parts} >= {ALL, "recorded count 1", "recorded count 4"}


def test_small_slices_must_only_not_be_shown_to_be_worse(versions: tuple[Version, Version]) -> None:
    theirs_n = _right(0.5, photos=200)
    mine_n = theirs_n ^ _right(0.3, photos=200, seed=9)
    case = _case(versions, mine_n, theirs_n)
    parts = judged_slices(case.pair, SlicesSettings(), 0)
    assert photos_needed(0.3, SlicesSettings()) > 200
    assert all(part.limit is None for part in parts)
    worse = _case(versions, theirs_n & ~_right(0.6, photos=200, seed=9), theirs_n)
    assert any(not part.passed for part in judged_slices(worse.pair, SlicesSettings(), 0))


def test_photos_needed_are_those_of_the_textbook() -> None:
    """Models that differ on 20% of photos, 10 points, 90%: 0.2 (1.645 + 1.282)^2 / 0.01."""
    assert photos_needed(0.2, SlicesSettings()) == 172
    assert photos_needed(0.2, SlicesSettings(margin=0.05)) == 686


def test_answers_that_are_no_distributions_are_not_judged(versions: tuple[Version, Version]) -> None:
    case = _case(versions, _right(0.6), _right(0.5, seed=2))
    case.answers.told.probabilities_nk[7] = np.nan
    assert not better(case).passed
    assert better(case).reason == "Not judged: its answers are no distributions of counts."
