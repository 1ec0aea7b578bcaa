import csv
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bintally.data.split import SplitReport, parse_fractions, split
from bintally.data.stratify import assign_groups
from bintally.errors import ConfigError, DataError, ManifestError
from bintally.manifest import CHECKED, FETCHED, SPLIT, Manifest
from tests.conftest import run_here, shared_dir
from tests.data.photo_tables import bins_over_time, folder_of, photo


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "data", bins_over_time(400))


def photos_in(report: SplitReport, name: str) -> int:
    return sum(report.sizes[name].values())


@pytest.mark.parametrize("fractions", ["70/20/10", "80/10/10", "80/20", "1/1/1", "7.5/1.5/1"])
def test_bins_stay_whole_and_the_mix_is_kept(data: Path, fractions: str) -> None:
    report = split(data=data, fractions=fractions)
    table = Manifest.read(data, SPLIT).table
    assert table.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    assert not report.leakage.leaks
    for name, share in parse_fractions(fractions).items():
        assert photos_in(report, name) == pytest.approx(share * report.photos, abs=3)
        for key in report.sizes[name]:
            whole = sum(sizes[key] for sizes in report.sizes.values())
            assert report.sizes[name][key] == pytest.approx(share * whole, abs=2)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_groups_are_divided_well(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=1, max_size=60))
    counts_gk = np.array(sizes)
    assume((counts_gk.sum(axis=1) > 0).all())
    parts = np.array(data.draw(st.sampled_from(([7, 2, 1], [8, 1, 1], [8, 2], [1, 1, 1], [6, 1, 3]))))
    shares_s = parts / parts.sum()
    chosen_g = assign_groups(counts_gk, shares_s, np.random.default_rng(data.draw(st.integers(0, 3))))
    assert set(chosen_g) <= set(range(shares_s.size))
    assert len(set(chosen_g)) == min(shares_s.size, len(counts_gk))
    filled_s = np.array([counts_gk[chosen_g == part].sum() for part in range(shares_s.size)])
    assert np.abs(filled_s - shares_s * counts_gk.sum()).max() <= 1.5 * counts_gk.sum(axis=1).max() + 4


def test_single_photos_make_up_for_what_large_bins_left_uneven() -> None:
    counts_gk = np.array([[6], [1], [1], [1], [1]])
    chosen_g = assign_groups(counts_gk, np.array([0.5, 0.5]), np.random.default_rng(0))
    assert sorted(counts_gk[chosen_g == part].sum() for part in (0, 1)) == [4, 6]


def test_the_same_seed_gives_the_same_split_and_another_another(data: Path) -> None:
    first, again, other = (split(data=data, seed=seed).fingerprint for seed in (3, 3, 4))
    assert first == again != other


def test_the_order_of_the_manifest_changes_nothing(data: Path) -> None:
    split(data=data)
    before = Manifest.read(data, SPLIT).table.sort("bin_image_id")
    manifest = Manifest.read(data, CHECKED)
    manifest.with_table(manifest.table.reverse()).write(CHECKED)
    split(data=data)
    assert Manifest.read(data, SPLIT).table.sort("bin_image_id").equals(before)


def test_everything_is_carried_over_and_the_report_lies_beside(data: Path) -> None:
    report = split(data=data)
    before, after = Manifest.read(data, CHECKED).table, Manifest.read(data, SPLIT).table
    assert after.drop("group", "split").equals(before.drop("group", "split"))
    written = json.loads((data / "split.json").read_text())
    assert written["sizes"] == report.sizes
    assert written["leakage"]["groups"]["crossing"] == 0
    assert written["fingerprint"] == Manifest.read(data, SPLIT).fingerprint()


def test_unusable_photos_get_no_split(tmp_path: Path) -> None:
    rows = [*bins_over_time(20), photo("90001", None), photo("90005", 3, quarantine=["truncated"])]
    report = split(data=folder_of(tmp_path, rows))
    table = Manifest.read(tmp_path, SPLIT).table
    assert table.filter(pl.col("split").is_null())["bin_image_id"].to_list() == ["90001", "90005"]
    assert (report.left_out, report.photos) == (2, len(rows) - 2)


def test_an_unchecked_folder_is_split_and_told_so(tmp_path: Path) -> None:
    report = split(data=folder_of(tmp_path, bins_over_time(20), name=FETCHED))
    assert any("bintally check" in warning for warning in report.warnings)


def test_the_naive_split_leaks_and_says_so(data: Path) -> None:
    report = split(data=data, how="random_that_leaks")
    assert report.leakage.leaks
    assert report.leakage.seen_in_train["test"] > 0.5
    assert report.warnings[0].startswith("THIS SPLIT LEAKS")


def given_rows(*, leaking: bool = False) -> list[dict[str, object]]:
    """Bins over time with a given split by bin, or (leaking) by photo."""
    rows = bins_over_time(60)
    for index, row in enumerate(rows):
        unit = index if leaking else int(str(row["product_ids"])[3:8])
        row["split"] = ("train", "train", "val", "test")[unit % 4]
    return rows


@pytest.mark.parametrize("how", ["given", "auto"])
def test_a_given_split_is_kept(tmp_path: Path, how: str) -> None:
    rows = given_rows()
    report = split(data=folder_of(tmp_path, rows), how=how)  # type: ignore[arg-type]
    assert report.how == "given"
    assert Manifest.read(tmp_path, SPLIT).table["split"].to_list() == [row["split"] for row in rows]
    assert not report.leakage.leaks


def test_a_given_split_that_leaks_is_kept_but_told_loudly(tmp_path: Path) -> None:
    report = split(data=folder_of(tmp_path, given_rows(leaking=True)), how="given")
    assert report.leakage.neighbours.crossing > 20
    assert f"{report.leakage.groups.crossing} bins" in report.warnings[0]


def test_photos_that_came_without_a_split_are_counted(tmp_path: Path) -> None:
    rows = given_rows()
    rows[0]["split"] = rows[1]["split"] = None
    report = split(data=folder_of(tmp_path, rows), how="given")
    assert any(warning.startswith("2 photos came without") for warning in report.warnings)
    assert report.photos == len(rows) - 2


def test_auto_groups_where_many_photos_came_without_a_split(tmp_path: Path) -> None:
    rows = given_rows()
    for row in rows[::10]:
        row["split"] = None
    report = split(data=folder_of(tmp_path, rows), how="auto")
    assert (report.how, report.left_out) == ("grouped", 0)


def test_no_given_split(data: Path) -> None:
    with pytest.raises(DataError, match="has no given split"):
        split(data=data, how="given")
    assert not (data / SPLIT).exists()


def test_a_wanted_count_without_a_photo(tmp_path: Path) -> None:
    rows = [photo(f"{number:05d}", number % 3) for number in range(30)]
    with pytest.raises(DataError, match=r"no photo of count 3, 4, 5 in train \(0 in the other splits\)"):
        split(data=folder_of(tmp_path, rows), counts="1-5")
    assert not (tmp_path / SPLIT).exists()


def test_a_wanted_count_that_stands_only_in_test(tmp_path: Path) -> None:
    rows = [photo(f"{number:05d}", 1, split="train") for number in range(8)] + [photo("x", 3, split="test")]
    folder = folder_of(tmp_path, rows)
    with pytest.raises(DataError, match=r"no photo of count 3 in train \(1 in the other splits\)"):
        split(data=folder, how="given", counts="1,3")
    report = split(data=folder, how="given")
    assert {"val is empty.", "train has no photo of count 3, though another split has."} <= set(report.warnings)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "it is empty"),
        ([photo("1", None), photo("2", None)], "none of 2 has a count"),
        ([photo("1")], "1 photo that can be used"),
        ([photo("1", quarantine=["empty"]), photo("2", quarantine=["no photo"])], "2 of 2 are in quarantine"),
        ([photo("1", None), photo("2", quarantine=["no photo"])], "1 of 2 are in quarantine, the others have no count"),
        ([photo("00001", 1, ["A"]), photo("00002", 2, ["A"])], r"belong to 1 bin\(s\)"),
        ([photo("1"), photo("5")], "too few for 3 splits"),
    ],
)
def test_too_little_to_split(tmp_path: Path, rows: list[dict[str, object]], told: str) -> None:
    with pytest.raises(DataError, match=told) as raised:
        split(data=folder_of(tmp_path, rows))
    assert raised.value.hint
    assert not (tmp_path / SPLIT).exists()


def test_three_bins_fill_three_splits(tmp_path: Path) -> None:
    rows = [photo(f"{start + number:05d}", 2, ["A"]) for start in (10, 50, 90) for number in range(5)]
    assert {photos_in(split(data=folder_of(tmp_path, rows)), name) for name in ("train", "val", "test")} == {5}


@pytest.mark.parametrize("fractions", ["70", "70/20/5/5", "a/b", "0/50/50", "-1/2/3", "nan/1", "inf/1", ""])
def test_fractions_that_make_no_sense(data: Path, fractions: str) -> None:
    with pytest.raises(ConfigError, match="fractions"):
        split(data=data, fractions=fractions)


def test_two_parts_are_train_and_val() -> None:
    assert parse_fractions("80/20") == {"train": 0.8, "val": 0.2}
    assert parse_fractions("9/0/1") == {"train": 0.9, "test": 0.1}


def test_a_folder_without_photos(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"There is no checked\.parquet"):
        split(data=tmp_path)


def test_ctrl_c_leaves_nothing_half_written(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = {path.name for path in data.iterdir()}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pl.DataFrame, "write_parquet", interrupted)
        split(data=data)
    assert {path.name for path in data.iterdir()} == before


def test_the_command_prints_json_for_machines_and_a_table_for_people(data: Path) -> None:
    machine = run_here("split", data, "--fractions", "80/20", "--json")
    assert machine.returncode == 0, machine.stderr
    assert set(json.loads(machine.stdout)["leakage"]["seen_in_train"]) == {"val"}
    person = run_here("split", data, "--how", "random_that_leaks")
    assert (person.returncode, person.stdout) == (0, "")
    assert "THIS SPLIT LEAKS" in " ".join(person.stderr.split())


def test_the_command_refuses_an_unknown_way(data: Path) -> None:
    refused = run_here("split", data, "--how", "random")
    assert refused.returncode == 2
    assert "'how'" in refused.stderr
    assert not (data / SPLIT).exists()


def test_the_benchmark_split_does_not_leak(tmp_path: Path) -> None:
    """Of the real benchmark split: no bin, no neighbours with a common product and no copies cross.

    107 next-door pairs cross of which one bin is empty, so has no product to share: 168 empty bins in 13,822 photos.
    """
    abid = shared_dir("abid")
    with zipfile.ZipFile(abid / "metadata.zip") as records:
        products = {
            Path(name).stem: sorted(json.loads(records.read(name))["BIN_FCSKU_DATA"])
            for name in records.namelist()
            if name.endswith(".json")
        }
    with (abid / "labels.csv").open() as file:
        rows = [
            photo(
                row["id"],
                int(row["count"]),
                products.get(row["id"]),
                group=row["group"],
                split=row["split"],
                sha256=hashlib.sha256((abid / "bin-images" / f"{row['id']}.jpg").read_bytes()).hexdigest(),
            )
            for row in csv.DictReader(file)
        ]
    report = split(data=folder_of(tmp_path, rows), how="auto", counts="1-5")
    assert report.how == "given"
    assert not report.leakage.leaks
    assert report.leakage.neighbours.checked > 5000
    assert report.leakage.seen_in_train == {"val": 0.0, "test": 0.0}
    empty = {row["bin_image_id"] for row in rows if row["product_ids"] == []}
    assert all(empty & set(pair) for pair in report.leakage.unknown_neighbours.found)

    ours = [{**row, "group": None, "split": None} for row in rows]
    report = split(data=folder_of(tmp_path, ours), counts="1-5")
    assert not report.leakage.leaks
    for name, share in report.fractions.items():
        for key, photos in report.sizes[name].items():
            whole = sum(sizes[key] for sizes in report.sizes.values())
            assert photos == pytest.approx(share * whole, abs=2)
