import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.data.split import SplitReport, split
from bintally.data.staying import DRAWN, read_before
from bintally.data.stratify import assign_groups
from bintally.errors import DataError, ManifestError
from bintally.manifest import CHECKED, SPLIT, Manifest
from tests.conftest import run_here
from tests.data.photo_tables import bins_over_time, folder_of, photo

Rows = list[dict[str, object]]


def _splits(data: Path) -> dict[str, str | None]:
    table = Manifest.read(data, SPLIT).table
    return dict(zip(table["bin_image_id"], table["split"], strict=True))


def _now(data: Path, rows: Rows, **how: Any) -> tuple[SplitReport, dict[str, str | None]]:
    report = split(data=folder_of(data, sorted(rows, key=lambda row: str(row["bin_image_id"]))), **how)
    return report, _splits(data)


def test_a_folder_that_grew_keeps_every_photo_where_it_was(tmp_path: Path) -> None:
    """604 of 1,106 test photos once went to train when a folder grew."""
    rows = bins_over_time(400)
    _, before = _now(tmp_path, rows)
    report, after = _now(tmp_path, [*rows, *bins_over_time(200, seed=1, first_id=50_001)])
    assert {known: after[known] for known in before} == before
    assert (report.since.kept, report.since.set_apart, report.since.moved) == (len(rows), 0, 0)
    assert not report.leakage.leaks
    for name, share in report.fractions.items():
        assert sum(report.sizes[name].values()) == pytest.approx(share * report.photos, abs=4)


def test_new_photos_of_a_bin_go_where_the_bin_is(tmp_path: Path) -> None:
    rows = [photo(f"{10 * cell:05d}", cell % 3, [f"B{cell}"]) for cell in range(1, 61)]
    _, before = _now(tmp_path, rows)
    _, after = _now(tmp_path, [*rows, *(photo(f"{10 * cell + 1:05d}", 1, [f"B{cell}"]) for cell in range(1, 61))])
    assert all(after[f"{10 * cell + 1:05d}"] == before[f"{10 * cell:05d}"] for cell in range(1, 61))


def test_a_photo_that_joins_a_test_bin_to_a_train_bin_takes_the_train_bin_out_of_train(tmp_path: Path) -> None:
    rows = [photo(f"{10 * cell + part:05d}", cell % 3, [f"B{cell}{part}"]) for cell in range(1, 61) for part in (0, 2)]
    _, before = _now(tmp_path, rows)
    bins = {before[f"{10 * cell:05d}"] or "": cell for cell in range(1, 61) if _differ(before, cell)}
    bridges = [photo(f"{10 * cell + 1:05d}", 1, [f"B{cell}0", f"B{cell}2"]) for cell in bins.values()]
    report, after = _now(tmp_path, [*rows, *bridges])
    assert bridges
    assert not report.leakage.leaks
    assert report.since.set_apart == len(bridges)
    assert any("left out" in warning for warning in report.warnings)
    for cell in bins.values():
        ends = {before[f"{10 * cell:05d}"], before[f"{10 * cell + 2:05d}"]}
        home = next(name for name in ("test", "val") if name in ends)
        assert after[f"{10 * cell + 1:05d}"] == home
        assert {after[f"{10 * cell:05d}"], after[f"{10 * cell + 2:05d}"]} == {home, None}
    again, later = _now(tmp_path, [*rows, *bridges])
    assert (later, again.since.set_apart) == (after, len(bridges)), "and so it stays"


def _differ(splits: dict[str, str | None], cell: int) -> bool:
    return splits[f"{10 * cell:05d}"] != splits[f"{10 * cell + 2:05d}"]


def test_a_photo_that_was_away_for_a_while_comes_back_to_its_split(tmp_path: Path) -> None:
    rows = bins_over_time(60)
    _, before = _now(tmp_path, rows)
    _now(tmp_path, rows[::2])
    _, after = _now(tmp_path, rows)
    assert after == before


def test_a_new_photo_of_a_bin_whose_photos_are_gone_goes_where_they_were(tmp_path: Path) -> None:
    rows = [photo(f"{10 * cell:05d}", cell % 3, [f"B{cell}"]) for cell in range(1, 61)]
    _, before = _now(tmp_path, rows)
    later = [photo(f"{10 * cell + 1:05d}", cell % 3, [f"B{cell}"]) for cell in range(1, 61)]
    _, after = _now(tmp_path, later)
    assert all(after[f"{10 * cell + 1:05d}"] == before[f"{10 * cell:05d}"] for cell in range(1, 61))


def test_the_same_photo_under_another_name_stays_where_it_was(tmp_path: Path) -> None:
    rows = bins_over_time(60)
    _, before = _now(tmp_path, rows)
    renamed: Rows = [{**row, "bin_image_id": f"again-{row['bin_image_id']}"} for row in rows]
    _, after = _now(tmp_path, renamed)
    assert {known.removeprefix("again-"): name for known, name in after.items()} == before


def test_a_photo_set_aside_for_a_night_comes_back_to_its_split(tmp_path: Path) -> None:
    rows = bins_over_time(60)
    _, before = _now(tmp_path, rows)
    report, between = _now(tmp_path, [{**row, "quarantine": ["truncated"]} for row in rows[:20]] + rows[20:])
    assert all(between[str(row["bin_image_id"])] is None for row in rows[:20])
    assert report.since.set_apart == 0
    assert _now(tmp_path, rows)[1] == before


def test_a_killed_split_of_a_grown_folder_is_done_again_the_same(tmp_path: Path) -> None:
    rows, new = bins_over_time(60), bins_over_time(40, seed=1, first_id=50_001)
    _now(tmp_path, rows)
    _, wanted = _now(tmp_path, [*rows, *new])
    (tmp_path / SPLIT).unlink()  # killed after it remembered, before it wrote
    assert _now(tmp_path, [*rows, *new, *bins_over_time(9, first_id=80_001)])[1].items() >= wanted.items()


def test_another_draw_is_drawn_anew_and_says_what_moved(tmp_path: Path) -> None:
    rows = bins_over_time(100)
    _, before = _now(tmp_path, rows)
    report, after = _now(tmp_path, rows, seed=9)
    moved = sum(before[known] != "train" and after[known] == "train" for known in before)
    assert report.since.moved == moved > 0
    assert any(f"{moved} photos that were in val or test are in train now" in warning for warning in report.warnings)


def test_fresh_draws_as_if_nothing_had_been(tmp_path: Path) -> None:
    rows, new = bins_over_time(60), bins_over_time(60, seed=1, first_id=50_001)
    _now(tmp_path / "grown", rows)
    _, fresh = _now(tmp_path / "grown", [*rows, *new], fresh=True)
    assert fresh == _now(tmp_path / "new", [*rows, *new])[1]


def test_a_folder_split_by_an_older_version_stays_too(tmp_path: Path) -> None:
    rows = bins_over_time(60)
    _, before = _now(tmp_path, rows)
    (tmp_path / DRAWN).unlink()
    told = json.loads((tmp_path / "split.json").read_text())
    del told["since"]
    (tmp_path / "split.json").write_text(json.dumps(told))
    assert (known := read_before(tmp_path)) is not None
    assert known.photos.height == len(rows)
    assert split(data=tmp_path).since.kept == len(rows)
    assert _splits(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"PAR1 half", None])
def test_a_damaged_memory_is_an_error_and_never_a_new_draw(tmp_path: Path, damage: bytes | None) -> None:
    rows = bins_over_time(30)
    _now(tmp_path, rows)
    if damage is None:
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / DRAWN)
    else:
        (tmp_path / DRAWN).write_bytes(damage)
    with pytest.raises(ManifestError, match=r"drawn\.parquet can't be read.*--fresh"):
        split(data=tmp_path)
    assert split(data=tmp_path, fresh=True).since.kept == 0


def test_a_given_split_stays_the_sources_word(tmp_path: Path) -> None:
    rows: Rows = [photo(f"{10 * cell:05d}", 1, split=("train", "val", "test")[cell % 3]) for cell in range(30)]
    _now(tmp_path, rows, how="given")
    rows[2]["split"] = "train"
    report, after = _now(tmp_path, rows, how="given")
    assert after["00020"] == "train"
    assert report.since.moved == 1
    assert any("1 photos that were in val or test" in warning for warning in report.warnings)


def test_the_command_says_what_stayed_and_draws_anew_when_asked(tmp_path: Path) -> None:
    rows = bins_over_time(60)
    folder_of(tmp_path, rows)
    assert "stayed" not in run_here("split", tmp_path).stderr
    assert f"{len(rows)} of them stayed where they were" in run_here("split", tmp_path).stderr
    assert json.loads(run_here("split", tmp_path, "--fresh", "--json").stdout)["since"]["moved"] == 0


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_however_a_folder_grows_no_photo_moves_and_nothing_leaks(data: st.DataObject) -> None:
    """Photos come and go; chains of products, copies and likeness join bins that were apart."""
    number = st.integers(0, 8)
    universe: Rows = []
    for place in range(data.draw(st.integers(24, 50))):
        products = data.draw(st.lists(number, max_size=2, unique=True))
        likes = data.draw(st.integers(0, place * 4))  # seldom one that exists
        warnings = [f"near_duplicate:{universe[likes]['bin_image_id']}"] if likes < len(universe) else []
        universe.append(
            photo(f"{place:05d}", data.draw(number), [f"B{each}" for each in products], warnings=warnings)
            | {"sha256": f"{data.draw(st.integers(0, 150))}"}
        )
    folder = Path(tempfile.mkdtemp())
    try:
        _grow(folder, universe, data)
    finally:
        shutil.rmtree(folder)


def _grow(folder: Path, universe: Rows, data: st.DataObject) -> None:
    known: dict[str, str] = {}
    for step in range(4):
        chosen = [row for row in universe if data.draw(st.integers(0, 3)) <= step]
        folder_of(folder, chosen)
        bins = Manifest.read(folder, CHECKED).usable().height
        if bins < 20:
            continue
        try:
            report = split(data=folder, fractions="60/20/20")
        except DataError as error:
            if "too few" in str(error) and not known:
                return
            raise
        assert not report.leakage.leaks
        now = _splits(folder)
        for photo_id, name in now.items():
            was = known.get(photo_id)
            assert was is None or name in (was, None), f"{photo_id} moved from {was} to {name}"
            assert was != "test" or name == "test", "what was in test stays there"
            known.update({photo_id: name} if name is not None else {})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_new_groups_fill_what_splits_lack(data: st.DataObject) -> None:
    seven = st.lists(st.integers(0, 4), min_size=7, max_size=7)
    counts_gk = np.array([[*row[:-1], row[-1] + 1] for row in data.draw(st.lists(seven, min_size=1, max_size=60))])
    held_sk = np.array(data.draw(st.lists(seven, min_size=3, max_size=3)))
    shares_s = np.array([0.7, 0.2, 0.1])
    chosen_g = assign_groups(counts_gk, shares_s, np.random.default_rng(0), held_sk=held_sk)
    whole = counts_gk.sum() + held_sk.sum()
    filled_s = np.array([counts_gk[chosen_g == part].sum() for part in range(3)]) + held_sk.sum(axis=1)
    over_s = np.maximum(held_sk.sum(axis=1) - shares_s * whole, 0)
    slack = 1.5 * counts_gk.sum(axis=1).max() + 6 + over_s.sum()
    assert np.abs(filled_s - shares_s * whole).max() <= slack + held_sk.sum(axis=1).max()
