"""The file: what it allows, and what is refused."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from bintally.bundle import read_card
from bintally.errors import BundleError
from bintally.inventory.policy.acceptance import FILE, THRESHOLDS, Acceptance, Table, Thresholds, upper
from tests.bundles import make_bundle
from tests.inventory.policy.cases import acceptance


def test_upper_bound_is_clopper_and_pearsons() -> None:
    found = upper(np.array([0, 3, 10, 0]), np.array([20, 20, 10, 0]), 0.025)
    assert found.tolist() == pytest.approx([beta.ppf(0.975, 1, 20), beta.ppf(0.975, 4, 17), 1.0, 1.0])


def test_threshold_is_the_lowest_that_keeps_the_promise() -> None:
    [table] = acceptance(kinds=("photo",)).tables[:1]
    ratio = table.ratio(0.95)
    found = Thresholds(THRESHOLDS, table, 0.95).of(np.array([0.01]), np.array([0.05]))[0]
    allowed = 0.01 * 0.95 / (0.05 * 0.99)
    place = THRESHOLDS.index(found)
    assert ratio[place] <= allowed
    assert (ratio[:place] > allowed).all()


def test_few_bins_promise_nothing() -> None:
    tables = acceptance(bins=20, kinds=("photo",)).tables
    assert np.isnan(Thresholds(THRESHOLDS, tables[0], 0.95).of(np.array([0.01]), np.array([0.1]))[0])


@given(st.floats(0.001, 0.3), st.floats(0.001, 0.5), st.floats(1.0, 5.0), st.floats(1.0, 5.0), st.integers(50, 5000))
def test_laxer_promises_and_lower_rates_never_need_more(
    promised: float, wrong: float, laxer: float, lower: float, bins: int
) -> None:
    thresholds = Thresholds(THRESHOLDS, acceptance(bins).tables[0], 0.95)
    rates = np.array([[promised, wrong], [min(promised * laxer, 0.9), wrong], [promised, wrong / lower]])
    found = np.nan_to_num(thresholds.of(rates[:, 0], rates[:, 1]), nan=np.inf)
    assert (found[1:] <= found[0]).all()


@settings(deadline=None, max_examples=20)
@given(st.floats(0.02, 0.3), st.floats(0.2, 0.9), st.integers(0, 1000))
def test_the_bound_is_exceeded_as_rarely_as_promised(wrong: float, right: float, seed: int) -> None:
    """The true ratio lies above the bound of any threshold in at most 5% of draws (here far fewer: Bonferroni)."""
    rng = np.random.default_rng(seed)
    falling = np.exp(-np.arange(4))
    missed, times, bins = 0, 300, 200
    for _ in range(times):
        wrong_at, right_at = rng.random(bins), rng.random(bins)
        reached = [wrong_at[:, None] < wrong * falling, right_at[:, None] < right * np.sqrt(falling)]
        counts = [tuple(part.sum(axis=0).tolist()) for part in (reached[1], reached[0], reached[0] & reached[1])]
        table = Table(
            kind="photo", derived=False, tolerance=0, bins=bins, right=counts[0], wrong=counts[1], both=counts[2]
        )
        missed += bool((table.ratio(0.95) < wrong * falling / (right * np.sqrt(falling))).any())
    assert missed <= 0.05 * times + 3 * np.sqrt(times * 0.05 * 0.95)


def test_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    card = read_card(folder / "card.json")
    assert Acceptance.of_bundle(folder, card) is None
    made = acceptance(model_sha256=card.model_sha256)
    made.write(folder / FILE)
    assert Acceptance.of_bundle(folder, card) == made


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "1" * 64}, "another model"),
        ({"format": 9}, "format 9"),
        ({"thresholds": (0.0, 1.0)}, "no readable"),
    ],
)
def test_another_models_or_damaged_file_is_an_error(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    card = read_card(make_bundle(tmp_path / "bundle") / "card.json")
    plain = msgspec.to_builtins(acceptance(model_sha256=card.model_sha256)) | changes
    path = tmp_path / FILE
    path.write_bytes(msgspec.json.encode(plain))
    with pytest.raises(BundleError, match=said):
        Acceptance.read(path, card)


def test_counts_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    card = read_card(make_bundle(tmp_path / "bundle") / "card.json")
    plain = msgspec.to_builtins(acceptance(model_sha256=card.model_sha256))
    plain["tables"][0]["wrong"] = [10**6, *plain["tables"][0]["wrong"][1:]]
    (tmp_path / FILE).write_bytes(msgspec.json.encode(plain))
    with pytest.raises(BundleError, match="contradict"):
        Acceptance.read(tmp_path / FILE, card)


@pytest.mark.parametrize(("kind", "first"), [("photos", 0.1), ("photo", -5.0)])
def test_kinds_and_thresholds_that_make_no_sense_are_refused(tmp_path: Path, kind: str, first: float) -> None:
    """Once such a file was read, and a reconciliation ended with a traceback."""
    bundle = make_bundle(tmp_path / "tiny")
    plain = msgspec.to_builtins(acceptance(model_sha256=read_card(bundle / "card.json").model_sha256))
    plain["tables"][0]["kind"] = kind
    plain["thresholds"] = (first, *THRESHOLDS[1:])
    (bundle / FILE).write_bytes(msgspec.json.encode(plain))
    with pytest.raises(BundleError, match="no readable acceptance file"):
        Acceptance.read(bundle / FILE, read_card(bundle / "card.json"))


def test_missing_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    card = read_card(make_bundle(tmp_path / "bundle") / "card.json")
    with pytest.raises(BundleError) as caught:
        Acceptance.read(tmp_path / FILE, card)
    assert "bintally policy fit" in caught.value.hint
