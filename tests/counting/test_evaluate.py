"""Evaluation through the serving path, on photos whose right answers are known in advance (tests/bundles.py)."""

import io
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from bintally.artifacts import sha256_of
from bintally.counting.counter import Counter
from bintally.counting.evaluate import METRICS, PREDICTIONS, REPORT, evaluate
from bintally.counting.report import EvaluationReport, summary
from bintally.errors import BundleError, ConfigError, DataError, ManifestError, StorageError, UsageError
from bintally.manifest import SPLIT, Manifest
from tests.bundles import bin_photo, make_bundle, no_bin_pixels
from tests.conftest import run_here

WRONG = 6  # photos of the fixture whose record differs from what the tiny network sees


def photo_row(data: Path, name: str, seen: float, recorded: int | None, **columns: Any) -> dict[str, Any]:
    """Writes a photo that the tiny network takes for `seen` items, recorded as `recorded`; returns its row."""
    path = data / "bin-images" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(columns.pop("photo", None) or bin_photo(seen, seed=int(name)))
    row: dict[str, Any] = {
        "bin_image_id": name,
        "path": f"bin-images/{name}.png",
        "recorded_count": recorded,
        "quarantine": [],
    }
    return row | {"split": "test", "group": f"g{int(name) // 2}"} | columns


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 test photos with counts 1-5 (6 of their records wrong by one), and one of each thing that can be odd."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(60):
        seen = 1 + number % 5
        recorded = seen + 1 if number % 10 == 3 else seen
        known = {"encoding": "png" if number % 3 else "jpeg", "brightness": float(number), "sharpness": 7.0}
        rows.append(photo_row(folder, f"{number:03}", seen, recorded, width_px=80, height_px=60, **known))
    red = io.BytesIO()
    Image.fromarray(no_bin_pixels()).save(red, "PNG")
    rows += [
        photo_row(folder, "100", 3, 3, photo=b"no photo at all"),
        photo_row(folder, "101", 3, 3, photo=red.getvalue()),
        photo_row(folder, "102", 3, 17),
        photo_row(folder, "103", 3, 0),
        photo_row(folder, "104", 3, 3, quarantine=["dark"]),
        photo_row(folder, "105", 3, None),
        photo_row(folder, "106", 3, 2, split="train"),
        photo_row(folder, "107", 3, 2, split="train"),
        photo_row(folder, "108", 3, 4, split="train"),
    ]
    Manifest.build(folder, rows).write(SPLIT)
    return folder


@pytest.fixture(scope="module")
def report(data: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationReport:
    out = tmp_path_factory.mktemp("out")
    return evaluate(bundle=tiny_bundle, data=data, out=out, counts="1-5", resamples=200)


def test_figures_are_those_known_in_advance(report: EvaluationReport) -> None:
    """61 of 62 photos are judged, one can't be read; every mistake is one of the wrong records."""
    right = report.population.judged - WRONG - report.population.abstained
    red_one_is_right = sum(row.recall.value * row.photos for row in report.per_count if row.recall) - right
    assert report.figures["accuracy"].value == pytest.approx((right + red_one_is_right) / 61)
    assert report.figures["within_one"].value >= 60 / 61
    assert report.figures["accuracy"].low < report.figures["accuracy"].value < report.figures["accuracy"].high
    assert sum(map(sum, report.confusion)) == 61
    assert sum(report.confusion[k][k - 1] for k in range(1, 5)) >= WRONG


def test_every_photo_of_the_split_is_accounted_for(report: EvaluationReport) -> None:
    people = report.population
    assert (people.judged, people.unreadable, people.other_counts) == (61, 1, 2)
    assert (people.set_aside, people.without_count, people.abstained) == (1, 1, 1)
    assert people.groups == 31
    assert report.abstained == {"does not look like a bin": 1}
    [lost] = report.unreadable
    assert lost.bin_image_id == "100"
    assert lost.error


def test_blind_answers_are_fitted_on_train_and_in_hindsight(report: EvaluationReport) -> None:
    train, hindsight = report.blind
    assert train.count == "2"
    assert train.source == "train's 3 photos"
    recorded = {row.key: row.photos for row in report.per_count}
    assert train.figures["accuracy"] == pytest.approx(recorded["2"] / 61)
    assert hindsight.figures["accuracy"] == pytest.approx(max(recorded.values()) / 61)


def test_without_train_photos_the_blind_answer_is_fitted_on_the_cards_mix(data: Path, tmp_path: Path) -> None:
    prior = {"0": 0.9, "1": 0.0, "2": 0.0, "3": 0.0, "4": 0.1, "5": 0.0, "6+": 0.0}
    bundle = make_bundle(tmp_path / "bundle", train_prior=prior)
    manifest = Manifest.read(data)
    Manifest.build(tmp_path, manifest.table.filter(pl.col("split") == "test").to_dicts()).write(SPLIT)
    (tmp_path / "bin-images").symlink_to(data / "bin-images")
    report = evaluate(bundle=bundle, data=tmp_path, out=tmp_path / "out", counts="1-5", resamples=100)
    assert report.blind[0].count == "4"  # of 1-5; "0" is not asked about
    assert "trained on" in report.blind[0].source


def test_predictions_are_what_the_counter_says_of_each_photo(
    report: EvaluationReport, data: Path, tiny_bundle: Path
) -> None:
    table = pl.read_parquet(report.predictions)
    assert table["bin_image_id"].to_list()[:2] == ["000", "001"]  # zeros kept
    assert table.height == 62
    counter = Counter(tiny_bundle, counts="1-5", threads=1)
    for row in table.head(5).iter_rows(named=True):
        estimate = counter.count(data / "bin-images" / f"{row['bin_image_id']}.png")
        assert row["count"] == estimate.count
        assert row["expected_count"] == pytest.approx(estimate.expected_count, abs=1e-4)
        told = {key: row[f"p_{key}"] for key in counter.keys}
        assert told == pytest.approx(estimate.probabilities, abs=1e-4)
        assert tuple(row["count_set"]) == estimate.count_set
    lost = table.row(by_predicate=pl.col("bin_image_id") == "100", named=True)
    assert lost["error"]
    assert lost["count"] is None
    assert lost["p_3"] is None


def test_worst_mistakes_come_first_and_are_mistakes(report: EvaluationReport) -> None:
    assert len(report.worst) >= WRONG
    distances = [abs(shown.count - shown.recorded_count) for shown in report.worst]
    assert distances == sorted(distances, reverse=True)
    assert min(distances) >= 1
    assert all(shown.count == shown.recorded_count for shown in report.surest)
    assert {shown.count for shown in report.surest} == {1, 2, 3, 4, 5}


def test_slices_cut_what_is_known_and_say_what_is_not(report: EvaluationReport) -> None:
    cuts = {part.by for part in report.slices}
    assert cuts == {"encoding", "brightness", "sharpness", "short side"}  # the odd photos' are not known
    for by in cuts:
        assert sum(part.photos for part in report.slices if part.by == by) == report.population.judged
    assert report.not_sliced == {"distinct products": "no photo has metadata"}
    lone = [part for part in report.slices if part.value == "not known"]
    assert lone
    assert all(part.photos == 1 and part.accuracy is None for part in lone)


def test_metrics_json_is_the_report(report: EvaluationReport) -> None:
    path = Path(report.report).with_name(METRICS)
    assert EvaluationReport.from_json(path.read_bytes()) == report


def test_summary_is_what_a_card_holds(report: EvaluationReport) -> None:
    compact = summary(report)
    assert compact.photos == 61
    assert compact.counts == "1-5"
    assert compact.figures["accuracy"] == report.figures["accuracy"]
    assert compact.blind["accuracy"] == report.blind[0].figures["accuracy"]
    assert compact.blind["accuracy_in_hindsight"] == report.blind[1].figures["accuracy"]


def test_same_seed_same_figures_and_another_seed_other_intervals(
    report: EvaluationReport, data: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    again = evaluate(bundle=tiny_bundle, data=data, out=tmp_path / "a", counts="1-5", resamples=200)
    other = evaluate(bundle=tiny_bundle, data=data, out=tmp_path / "b", counts="1-5", resamples=200, seed=1)
    assert again.figures == report.figures
    assert again.worst == report.worst
    assert sha256_of(tmp_path / "a" / PREDICTIONS) == sha256_of(Path(report.predictions))
    assert other.figures["accuracy"].value == report.figures["accuracy"].value
    assert other.figures["log_loss"].low != report.figures["log_loss"].low


def test_all_counts_judge_the_open_top_by_its_value(data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    report = evaluate(bundle=tiny_bundle, data=data, out=tmp_path, resamples=100)
    assert report.subject.counts == "0-6+"
    assert report.population.other_counts == 0
    assert report.population.judged == 63
    top = report.per_count[-1]
    assert (top.key, top.photos, top.counted) == ("6+", 1, 0)
    assert top.recall is not None
    assert top.recall.value == 0
    assert top.precision is None
    assert report.worst[0].recorded_count == 17  # counted 3, and 6+ stands for 7.5: nothing is further off


def test_one_photo_is_enough_for_a_report(tiny_bundle: Path, tmp_path: Path) -> None:
    Manifest.build(tmp_path, [photo_row(tmp_path, "001", 2, 2, group=None)]).write(SPLIT)
    report = evaluate(bundle=tiny_bundle, data=tmp_path, out=tmp_path / "out", resamples=100, gallery=0)
    assert report.figures["accuracy"].value == 1.0
    page = (tmp_path / "out" / REPORT).read_text()
    assert "Right on 100.0% of 1 photos" not in page
    assert "Right on 100.0% of 1 photo" in page
    assert "data:image/jpeg" not in page  # gallery=0: a page without photos
    assert all(not math.isnan(figure.value) for figure in report.figures.values())


def test_a_split_without_photos_says_how_to_get_one(data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 of split 'val'"):
        evaluate(bundle=tiny_bundle, data=data, out=tmp_path / "out", split="val")
    with pytest.raises(DataError, match="none with a count of 5"):
        evaluate(bundle=tiny_bundle, data=data, out=tmp_path / "out", split="train", counts="5")
    Manifest.build(tmp_path, [photo_row(tmp_path, "001", 2, 2, split=None)]).write("manifest.parquet")
    with pytest.raises(DataError) as caught:
        evaluate(bundle=tiny_bundle, data=tmp_path, out=tmp_path / "out")
    assert "bintally split" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_only_unreadable_photos_are_an_error_not_an_empty_report(tiny_bundle: Path, tmp_path: Path) -> None:
    Manifest.build(tmp_path, [photo_row(tmp_path, "001", 2, 2, photo=b"\xff\xd8 torn")]).write(SPLIT)
    with pytest.raises(DataError, match="None of the 1 photos could be read"):
        evaluate(bundle=tiny_bundle, data=tmp_path, out=tmp_path / "out")


def test_settings_out_of_range_and_missing_parts(data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="split"):
        evaluate(bundle=tiny_bundle, data=data, out=tmp_path, split="tets")
    with pytest.raises(ConfigError, match="resamples"):
        evaluate(bundle=tiny_bundle, data=data, out=tmp_path, resamples=0)
    with pytest.raises(UsageError):
        evaluate(bundle=tiny_bundle, data=data, out=tmp_path, counts="1-9")
    with pytest.raises(BundleError):
        evaluate(bundle=tmp_path / "none", data=data, out=tmp_path)
    with pytest.raises(ManifestError):
        evaluate(bundle=tiny_bundle, data=tmp_path, out=tmp_path)


def test_a_full_disk_leaves_no_half_report(
    data: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bintally.artifacts.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        evaluate(bundle=tiny_bundle, data=data, out=tmp_path / "out", resamples=100)
    assert list((tmp_path / "out").iterdir()) == []


class StoppedBySomeone:
    """A progress that is interrupted at the tenth photo, as by Ctrl-C."""

    photos = 0

    def task(self, label: str, *, total: int | None, unit: str = "") -> Any:
        return self

    def __enter__(self) -> "StoppedBySomeone":
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, amount: int = 1) -> None:
        self.photos += amount
        if self.photos == 10:
            raise KeyboardInterrupt

    def note(self, text: str) -> None: ...

    def say(self, text: str) -> None: ...


def test_ctrl_c_leaves_nothing(data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(bundle=tiny_bundle, data=data, out=tmp_path / "out", progress=StoppedBySomeone())
    assert not (tmp_path / "out").exists()


def test_command_line_prints_the_report_as_json(data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "evaluate",
        tiny_bundle,
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--counts",
        "1-5",
    ]
    ran = run_here(*arguments, "--resamples", "100", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["population"]["judged"] == 61
    ran = run_here(*arguments, "--resamples", "100")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert "Exactly right" in ran.stderr
    assert "could not be read" in ran.stderr
    ran = run_here(*arguments, "--split", "val")
    assert ran.returncode == 3
    assert "No photo to judge" in ran.stderr
