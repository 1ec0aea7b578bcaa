"""Two models on the same photos: what is no difference, what is one, and what can't be compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bintally.counting.compare import COMPARISON, PAGE, common, compare
from bintally.counting.comparison import apart
from bintally.counting.intervals import bootstrap_mean, bootstrap_means
from bintally.counting.predictions import PREDICTIONS, Predictions, predictions_table, read_predictions
from bintally.errors import ConfigError, DataError, UsageError
from tests.conftest import run_here

KEYS = ("1", "2", "3", "4", "5", "6+")
VALUES = np.array([1, 2, 3, 4, 5, 8.0])


def answers(skill: float, photos: int = 300, seed: int = 0) -> tuple[pl.DataFrame, NDArray[np.float64]]:
    """Photos in bins of two, and answers that put `skill` on what is recorded in a part of them that grows with it."""
    labels_n = np.random.default_rng(1).integers(len(KEYS), size=photos)
    rng = np.random.default_rng(seed)
    shares_nk = rng.dirichlet(np.ones(len(KEYS)), size=photos)
    shares_nk[np.arange(photos), labels_n] += skill
    table = pl.DataFrame(
        {
            "bin_image_id": [f"{n:04}" for n in range(photos)],
            "group": [f"bin {n // 2}" if n % 7 else None for n in range(photos)],
            "recorded_count": [int(KEYS[label].rstrip("+")) for label in labels_n],
            "recorded_key": [KEYS[label] for label in labels_n],
        }
    )
    return table, shares_nk / shares_nk.sum(axis=1, keepdims=True)


def run_folder(folder: Path, skill: float, *, seed: int = 0, rows: slice = slice(None), **report: Any) -> Path:
    """A run as `train` leaves it, as far as a comparison reads it."""
    table, shares_nk = answers(skill, seed=seed)
    folder.mkdir(parents=True)
    predictions_table(table[rows], shares_nk[rows], keys=KEYS, values_k=VALUES).write_parquet(folder / PREDICTIONS)
    history = [
        {"epoch": float(epoch), "train_loss": 1.5, "seconds": 60.0, "log_loss": 2 / epoch, "accuracy": 0.1 * epoch}
        for epoch in (1, 2, 3)
    ]
    told = {"recipe": folder.name, "best": history[-1], "history": history, "seconds": 200.0, "photos_per_s": 5.0}
    (folder / "run.json").write_text(json.dumps(told | report))
    (folder / "recipe.json").write_text(json.dumps({"network": {"backbone": "resnet50"}}))
    return folder


def test_a_run_differs_in_nothing_from_itself(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a", 0.3)
    found = compare(runs=[run, run], out=tmp_path / "out")
    (pair,) = found.pairs
    assert (pair.p_exact, pair.p_mid, pair.p_holm) == (1.0, 1.0, 1.0)
    for difference in pair.differences.values():
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert not pair.seen
    assert found.disagreements == ()
    assert len({entrant.label for entrant in found.entrants}) == 2
    assert "No difference in accuracy to be seen" in pair.says


def test_a_better_model_is_seen_and_its_figures_are_its_own(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name, skill) for name, skill in (("good", 0.9), ("poor", 0.1))]
    found = compare(runs=runs, out=tmp_path / "out")
    (pair,) = found.pairs
    good, poor = (entrant.figures for entrant in found.entrants)
    for name, difference in pair.differences.items():
        assert difference.value == pytest.approx(poor[name].value - good[name].value)
        assert difference.low < difference.value < difference.high
    assert pair.seen
    assert pair.differences["accuracy"].value * found.photos == pytest.approx(pair.only_this - pair.only_other)
    assert pair.says.startswith("poor is right on ")
    assert "fewer photos than good" in pair.says
    assert "log loss is" in pair.says
    assert json.loads((tmp_path / "out" / COMPARISON).read_text())["against"] == "good"
    page = (tmp_path / "out" / PAGE).read_text()
    assert "good is right more often than poor" in page
    assert all(outside not in page for outside in ('src="http', 'href="http'))  # self-contained: no other file


def test_the_measure_can_be_chosen_and_more_than_one_pair_is_corrected_for(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name, skill, seed=3) for name, skill in (("a", 0.3), ("b", 0.32), ("c", 0.5))]
    found = compare(runs=runs, out=tmp_path / "out", against=runs[1])
    assert [(pair.label, pair.against) for pair in found.pairs] == [("a", "b"), ("c", "b")]
    assert all(pair.p_holm >= pair.p_exact for pair in found.pairs)
    assert min(pair.p_holm for pair in found.pairs) == pytest.approx(2 * min(pair.p_exact for pair in found.pairs))
    with pytest.raises(UsageError, match="none of the runs"):
        compare(runs=runs[:2], out=tmp_path / "out", against=runs[2])
    with pytest.raises(ConfigError):
        compare(runs=runs[:1], out=tmp_path / "out")


def test_only_photos_that_all_have_are_compared(tmp_path: Path) -> None:
    first = run_folder(tmp_path / "a", 0.3, rows=slice(0, 200))
    second = run_folder(tmp_path / "b", 0.3, rows=slice(100, 300))
    assert compare(runs=[first, second], out=tmp_path / "out").photos == 100
    third = run_folder(tmp_path / "c", 0.3, rows=slice(200, 300))
    with pytest.raises(DataError, match="no photo in common"):
        compare(runs=[first, third], out=tmp_path / "out")


def test_records_that_differ_are_an_error_that_names_a_photo(tmp_path: Path) -> None:
    first, second = (run_folder(tmp_path / name, 0.3) for name in "ab")
    table = pl.read_parquet(second / PREDICTIONS)
    edited = table.with_columns(recorded_count=pl.col("recorded_count") + (pl.col("bin_image_id") == "0007"))
    edited.write_parquet(second / PREDICTIONS)
    with pytest.raises(DataError, match="differ between a and b on 1 of 300 photos, first 0007"):
        compare(runs=[first, second], out=tmp_path / "out")


def test_what_can_not_be_compared_says_what_to_do(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a", 0.3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither a finished run") as caught:
        compare(runs=[run, tmp_path / "empty"], out=tmp_path / "out")
    assert "bintally evaluate" in caught.value.hint
    old = run_folder(tmp_path / "old", 0.3)
    (old / PREDICTIONS).unlink()
    with pytest.raises(DataError, match=r"no predictions\.parquet") as caught:
        compare(runs=[run, old], out=tmp_path / "out")
    assert "--split val" in caught.value.hint
    (old / PREDICTIONS).write_bytes(b"torn")
    with pytest.raises(DataError, match="no readable table"):
        compare(runs=[run, old], out=tmp_path / "out")


def test_counts_that_only_one_was_asked_about_are_left_out_and_the_rest_renormalised(tmp_path: Path) -> None:
    table, shares_nk = answers(0.4)
    path = tmp_path / PREDICTIONS
    predictions_table(table, shares_nk, keys=KEYS, values_k=VALUES).write_parquet(path)
    everything = read_predictions(path)
    some = everything.asked(("2", "3", "4"))
    assert set(some.recorded_n.tolist()) == {2, 3, 4}
    assert some.probabilities_nk.sum(axis=1) == pytest.approx(1.0)
    both = common([everything, some], ["a", "b"])
    assert both[0].keys == both[1].keys == ("2", "3", "4")
    assert both[0].probabilities_nk == pytest.approx(both[1].probabilities_nk)


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(random: Any) -> None:
    table, shares_nk = answers(0.4, photos=40)
    order = np.array(random.sample(range(40), 40))
    labels_n = np.array([KEYS.index(key) for key in table["recorded_key"]])
    ids_n, recorded_n = table["bin_image_id"].to_numpy(), table["recorded_count"].to_numpy()
    straight = Predictions(ids_n, ids_n, recorded_n, KEYS, labels_n, shares_nk)
    first, second = common([straight, straight.of(order)], ["a", "b"])
    assert first.ids_n.tolist() == second.ids_n.tolist() == sorted(ids_n)
    assert (first.probabilities_nk == second.probabilities_nk).all()


def test_interval_of_a_difference_holds_the_truth_as_often_as_it_says() -> None:
    """Two models' squared errors on photos in bins of three; the difference of their RMSEs is known."""
    rng, held = np.random.default_rng(5), 0
    for trial in range(200):
        bins = np.repeat(rng.normal(size=(80, 1)), 3, axis=0)  # what makes photos of a bin alike
        errors = bins + rng.normal(size=(240, 2)) * [1.0, 1.5]
        found = bootstrap_means(
            errors**2,
            lambda means: np.sqrt(means[..., 0]) - np.sqrt(means[..., 1]),
            groups_n=np.repeat(np.arange(80), 3),
            resamples=300,
            seed=trial,
        )
        held += found.low <= np.sqrt(2.0) - np.sqrt(3.25) <= found.high
    assert 180 <= held <= 199  # 190 expected, standard deviation 3.1


def test_difference_of_means_is_the_mean_of_differences() -> None:
    terms = np.random.default_rng(6).random((90, 2))
    paired = bootstrap_means(terms, lambda means: means[..., 0] - means[..., 1], resamples=200, seed=1)
    plain = bootstrap_mean(terms[:, 0] - terms[:, 1], resamples=200, seed=1)
    assert (paired.value, paired.low, paired.high) == pytest.approx((plain.value, plain.low, plain.high))
    assert apart(paired) == (paired.low > 0 or paired.high < 0)


def test_command_line_tells_each_pair_and_gives_one_json(tmp_path: Path) -> None:
    runs = [str(run_folder(tmp_path / name, skill)) for name, skill in (("good", 0.9), ("poor", 0.1))]
    done = run_here("compare", *runs, "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"][0]["label"] == "poor"
    done = run_here("compare", *runs, "--out", str(tmp_path / "out"))
    assert "fewer photos than good" in " ".join(done.stderr.split())
    assert run_here("compare", runs[0], str(tmp_path), "--out", str(tmp_path / "out")).returncode == 3
