"""Bins and records judged through the path that serves, on photos whose answers are known in advance."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from PIL import Image

from bintally.counting.bins_report import BinsReport
from bintally.counting.bins_seen import look, neighbours
from bintally.counting.counter import Counter
from bintally.counting.evaluate_bins import evaluate_bins
from bintally.counting.judged_records import Shelf, blind_scores, read_claims, score
from bintally.counting.pair_figures import blind
from bintally.counting.remade import remade
from bintally.counting.stock_record import StockRecord
from bintally.errors import ConfigError, DataError, ModelError, UsageError
from bintally.manifest import SPLIT, Manifest
from bintally.metadata import metadata_json
from bintally.progress import SILENT
from bintally.records import COUNT_KEYS, BinRecord, Product
from tests.bundles import bin_photo, make_bundle
from tests.conftest import run_here

BINS = [(1, 2), (3, 1), (2, 4, 3), (5, 5), (4, 0), (2, 6), (3,), (4, 2), (1, 3), (5, 3, 2)]
"""Counts of the photos of test's bins; the first pair's new record is one too many."""

PAIRS_1_TO_5 = 9


def photo_row(data: Path, name: str, seen: int, recorded: int, **columns: Any) -> dict[str, Any]:
    """Writes a photo that looks like `seen` items and its metadata, as many products of a unit; returns its row."""
    path, metadata = data / "bin-images" / f"{name}.png", data / "metadata" / f"{name}.json"
    for file in (path, metadata):
        file.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(columns.pop("photo", None) or bin_photo(seen, seed=int(name)))
    size = {"height_in": 2.0, "length_in": 3.0, "width_in": 4.0, "weight_lb": 1.0}
    products = tuple(Product(f"B{name}{number}", f"thing {number}", 1, **size) for number in range(seen))
    metadata.write_bytes(metadata_json(BinRecord(name, seen, products)))
    row: dict[str, Any] = {
        "bin_image_id": name,
        "path": f"bin-images/{name}.png",
        "metadata_path": f"metadata/{name}.json",
        "recorded_count": recorded,
        "quarantine": [],
    }
    return row | {"split": "test", "group": f"g{int(name) // 10:02}"} | columns


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten bins of test with one to three photos, one photo that can't be read, and photos of train."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        photo_row(folder, f"{place}{number}".zfill(3), count, count + (place == number - 1 == 0))
        for place, counts in enumerate(BINS)
        for number, count in enumerate(counts)
    ]
    rows += [photo_row(folder, f"{900 + n}", 1 + n % 5, 1 + n % 5, split="train") for n in range(10)]
    rows += [photo_row(folder, "108", 3, 3, photo=b"no photo at all"), photo_row(folder, "109", 2, 2)]
    Manifest.build(folder, rows).write(SPLIT)
    return folder


@pytest.fixture(scope="module")
def claims(data: Path) -> Path:
    """For each photo of test its own record and one with a product too many, or a unit; one of a photo not here."""
    path = data / "verification.csv"
    rows: list[tuple[object, ...]] = []
    for place, counts in enumerate(BINS):
        for number, count in enumerate(counts):
            name = f"{place}{number}".zfill(3)
            record = {f"B{name}{each}": 1 for each in range(count)}
            wrong, error = {**record, "B9010": 2}, "extra product"
            if number and count:
                wrong, error = {**record, f"B{name}0": 3}, "quantity +2"
            rows += [(name, "test", 1, "right", json.dumps(record)), (name, "test", 0, error, json.dumps(wrong))]
    rows += [("777", "test", 1, "right", '{"B1": 1}'), ("900", "val", 1, "right", '{"B9000": 1}')]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split", "record_is_right", "error", "record"), *rows])
    return path


@pytest.fixture(scope="module")
def report(data: Path, claims: Path, telling_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> BinsReport:
    out = tmp_path_factory.mktemp("out")
    return evaluate_bins(bundle=telling_bundle, data=data, out=out, verification=claims, resamples=100, gallery=4)


def test_exactly_the_neighbours_with_the_counts_asked_about_are_judged(report: BinsReport) -> None:
    """Ten bins have eleven pairs of neighbours; two of their new counts, 0 and 6, are not asked about."""
    pairs = report.pairs
    assert pairs is not None
    assert (pairs.pairs, pairs.other_counts, pairs.out_of_reach) == (PAIRS_1_TO_5, 2, 0)
    assert sum(part.pairs for part in pairs.by_change) == PAIRS_1_TO_5
    table = pl.read_parquet(report.table)
    assert table.height == PAIRS_1_TO_5
    assert set(table["new_count"]) <= {1, 2, 3, 4, 5}
    assert table["earlier_id"].to_list()[:3] == ["000", "010", "020"]


def test_figures_of_pairs_are_those_known_in_advance(report: BinsReport) -> None:
    """The tiny model reads every change off the photos; the one mistake is the one wrong record."""
    pairs = report.pairs
    assert pairs is not None
    accuracy = pairs.figures["accuracy"]
    assert accuracy.model.value == pytest.approx(1 - 1 / PAIRS_1_TO_5)
    assert accuracy.blind.value == pytest.approx(1 / PAIRS_1_TO_5)  # it says that nothing changed
    assert accuracy.harder is not None
    assert pairs.figures["auroc"].model.value > 0.9 > pairs.figures["auroc"].blind.value
    assert set(pairs.figures) == {"accuracy", "rmse", "log_loss", "auroc", "accepted"}
    assert [(worst.earlier_id, worst.new_count, worst.told_count) for worst in pairs.worst] == [("000", 3, "2")]
    assert all(surest.new_count == int(surest.told_count) for surest in pairs.surest)


def test_told_counts_are_those_that_the_counter_serves(report: BinsReport, data: Path, telling_bundle: Path) -> None:
    counter = Counter(telling_bundle, counts="1-5")
    for row in pl.read_parquet(report.table).iter_rows(named=True):
        served = counter.count(
            data / row["later_path"], previous=data / row["earlier_path"], previous_count=row["earlier_count"]
        )
        assert {key: row[f"p_{key}"] for key in counter.keys} == pytest.approx(served.probabilities, abs=2e-3)
        assert row["unchanged"] == pytest.approx(served.unchanged, abs=2e-3)


def test_the_blind_table_knows_the_earlier_count_alone(report: BinsReport, telling_bundle: Path) -> None:
    change = Counter(telling_bundle).card.change
    assert change is not None
    [shares] = blind(change, [3], COUNT_KEYS)
    assert shares.argmax() == 3
    assert shares.sum() == pytest.approx(1)
    for row in pl.read_parquet(report.table).iter_rows(named=True):
        expected = blind(change, [row["earlier_count"]], COUNT_KEYS)[0][1:6]
        assert [row[f"blind_{count}"] for count in range(1, 6)] == pytest.approx(list(expected / expected.sum()))


def test_bins_are_followed_over_their_photos(report: BinsReport) -> None:
    """Of ten bins nine have two photos and two have three; the model is nearly sure of each."""
    found = report.over_time
    assert found is not None
    assert found.bins == len(BINS) + 1  # and the one whose first photo can't be read
    of = {(step.how, step.counts, step.of_bins, step.photos): step for step in found.steps}
    assert of["followed", "all", 1, 1].bins == len(BINS) + 1
    assert of["followed", "all", 2, 2].bins == of["confirmed", "all", 2, 2].bins == 9
    assert of["alone", "all", 3, 3].bins == 2
    assert of["followed", "1-5", 2, 2].bins == 7
    assert ("confirmed", "all", 1, 1) not in of  # that would be what was confirmed
    for name in ("alone", "followed", "confirmed"):
        step = of[name, "all", 3, 3]
        assert step.figures["accuracy"].model.value == 1.0
        assert 1.0 <= step.figures["set_size"].model.value <= step.figures["set_size"].blind.value
    first, alone = of["followed", "all", 1, 1].figures, of["alone", "all", 1, 1].figures
    assert first["accuracy"].model.value == alone["accuracy"].model.value  # the first photo is all there is


def test_records_are_judged_with_measures_and_by_quantities_alone(report: BinsReport) -> None:
    """These wrong records give themselves away, each having a product of two units: the blind figure must show it."""
    records = report.records
    assert records is not None
    photos = sum(map(len, BINS))
    assert (records.records, records.right, records.photos) == (2 * photos, photos, photos)
    assert records.without_photo == 1
    assert records.blind.at_card is None
    assert records.with_measures.at_card is not None
    assert records.quantities_alone.auroc.value > 0.8
    assert records.blind.auroc.value > 0.9
    kinds = {part.error: part.records for part in records.with_measures.by_error}
    assert kinds == {"extra product": 11, "quantity +2": photos - 11}
    assert records.blind_source == "train's 10 records"


def test_a_record_is_as_right_as_the_counter_serves(data: Path, claims: Path, telling_bundle: Path) -> None:
    counter = Counter(telling_bundle)
    shelf = Shelf(data, Manifest.read(data).table)
    for claim in read_claims(claims, "test")[:6]:
        path = data / "bin-images" / f"{claim.photo}.png"
        seen = look(counter, {claim.photo: path}, set(), SILENT)
        record = shelf.measured(claim)
        served = counter.verify(path, record).record_is_right
        assert score(counter.card, seen, claim.photo, record) == pytest.approx(served, abs=1e-6)


def test_measures_come_from_the_photos_own_record_then_from_any(data: Path, claims: Path) -> None:
    """An extra product is in no record of its photo; one that nobody knows stays without measures."""
    shelf = Shelf(data, Manifest.read(data).table)
    wrong = next(claim for claim in read_claims(claims, "test") if claim.error == "extra product")
    measured = {product.asin: product for product in shelf.measured(wrong).products}
    assert measured["B9010"].height_in == 2.0
    assert measured["B9010"].quantity == 2
    unknown = msgspec.structs.replace(wrong, record=StockRecord((Product("nobody's", "", 4),)))
    assert shelf.measured(unknown) == unknown.record


def test_a_blind_score_is_how_usual_a_record_is() -> None:
    one, two = (StockRecord((Product("a", "", quantity),)) for quantity in (1, 2))
    usual, odd, never = blind_scores([one, two, StockRecord(())], {(1, 1): 90, (2, 1): 3})
    assert usual > odd > never


def test_a_photo_that_cannot_be_read_is_listed_and_its_pair_left_out(report: BinsReport) -> None:
    assert [photo.bin_image_id for photo in report.unreadable] == ["108"]
    assert "108" not in pl.read_parquet(report.table)["earlier_id"].to_list()


def test_page_and_figures_are_written(report: BinsReport) -> None:
    page = Path(report.report).read_text()
    assert report.pairs is not None
    assert page.count("data:image/jpeg") == 2 * (len(report.pairs.worst) + len(report.pairs.surest))
    assert re.findall(r"""(?:src|href)=["']http""", page) == []
    assert BinsReport.from_json(Path(report.report).with_name("bins.json").read_bytes()) == report


def test_same_seed_same_report(
    report: BinsReport, data: Path, claims: Path, telling_bundle: Path, tmp_path: Path
) -> None:
    again = evaluate_bins(bundle=telling_bundle, data=data, out=tmp_path, verification=claims, resamples=100, gallery=4)
    assert msgspec.structs.replace(again, report=report.report, table=report.table) == report


def test_a_bundle_that_tells_neither_is_an_error_with_a_hint(data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither compares photos nor judges records") as caught:
        evaluate_bins(bundle=tiny_bundle, data=data, out=tmp_path)
    assert "tells" in caught.value.hint


def test_with_one_of_the_two_that_part_is_judged(data: Path, claims: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"data": data, "verification": claims, "resamples": 100, "gallery": 0}
    comparing = evaluate_bins(bundle=make_bundle(tmp_path / "a", change=True), out=tmp_path / "out", **how)
    assert comparing.pairs is not None
    assert comparing.records is None
    assert comparing.left_out == ("records: the model does not judge them",)
    judging = evaluate_bins(bundle=make_bundle(tmp_path / "b", verification=True), out=tmp_path / "other", **how)
    assert judging.pairs is None
    assert judging.over_time is None
    assert judging.records is not None
    assert not (tmp_path / "other" / "pairs.parquet").exists()
    assert "Records of test" in (tmp_path / "other" / "bins.html").read_text()


def test_nothing_to_judge_says_why(data: Path, telling_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no two photos of one bin in split 'val'"):
        evaluate_bins(bundle=telling_bundle, data=data, out=tmp_path, split="val")
    with pytest.raises(DataError, match="none were given"):
        evaluate_bins(bundle=make_bundle(tmp_path / "b", verification=True), data=data, out=tmp_path)
    with pytest.raises(ConfigError, match="counts"):
        evaluate_bins(bundle=telling_bundle, data=data, out=tmp_path, counts="1-99")


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        (None, UsageError, "can't be read"),
        ("id,split,record\n1,test,{}\n", DataError, "lacks record_is_right, error"),
        ("id,split,record_is_right,error,record\n1,val,1,right,{}\n", DataError, "no record of split 'test'"),
        ("id,split,record_is_right,error,record\n1,test,maybe,right,{}\n", DataError, "no one can tell"),
        ("id,split,record_is_right,error,record\n1,test,1,right,[]\n", DataError, "no JSON object"),
    ],
)
def test_a_wrong_file_of_records_is_an_error_that_says_what(
    text: str | None, error: type[Exception], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "records.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=told):
        read_claims(path, "test")


def test_neighbours_follow_each_other_by_id_within_a_group() -> None:
    rows = [("3", "a", 1), ("1", "a", 2), ("2", "b", 3), ("4", None, 4), ("5", None, 5), ("2a", "a", 6)]
    table = pl.DataFrame(rows, schema=["bin_image_id", "group", "recorded_count"], orient="row").with_columns(
        path="bin_image_id"
    )
    found = neighbours(table).select("earlier_id", "later_id", "earlier_count", "new_count").rows()
    assert found == [("1", "2a", 2, 6), ("2a", "3", 6, 1)]


def test_a_photo_taken_again_is_another_photo_of_the_same_bin() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8))
    first, second = (remade(image, np.random.default_rng(seed)) for seed in (0, 1))
    assert first != second
    assert first == remade(image, np.random.default_rng(0))
    with Image.open(io.BytesIO(first)) as again:
        assert again.format == "JPEG"
        assert 160 * 0.87 <= again.width <= 160
        assert 120 * 0.87 <= again.height <= 120


def test_command_shows_figures_beside_the_blind_ones(data: Path, telling_bundle: Path, tmp_path: Path) -> None:
    done = run_here("evaluate-bins", telling_bundle, "--data", data, "--out", tmp_path, "--resamples", "100")
    assert done.returncode == 0, done.stderr
    assert "Exactly right" in done.stderr
    assert "Not judged: records: none were given" in done.stderr
    assert (tmp_path / "bins.html").is_file()
