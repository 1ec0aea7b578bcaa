import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from bintally.data.check import CheckReport, CheckSettings, check
from bintally.data.reasons import QUARANTINE, WARNINGS, code, detail, tally
from bintally.errors import ConfigError, DataError, ManifestError
from bintally.manifest import CHECKED, FETCHED, Manifest
from tests.conftest import run_here
from tests.data.bin_folder import BinFolder, draw_photo, encoded, record
from tests.test_photos import png_claiming

Findings = dict[str, list[str]]


@pytest.fixture
def bins(tmp_path: Path) -> BinFolder:
    """A folder with one sound photo, so that check always has something to keep."""
    return BinFolder(tmp_path / "data").add("sound", draw_photo(99), count=1)


def findings(bins: BinFolder, **settings: float) -> tuple[Findings, Findings, CheckReport]:
    """Quarantine and warnings by id, after a check."""
    report = check(data=bins.write(), workers=1, settings=CheckSettings.of(settings))
    table = Manifest.read(bins.folder).table
    quarantine, warnings = (
        dict(table.select("bin_image_id", column).iter_rows()) for column in ("quarantine", "warnings")
    )
    assert quarantine["sound"] == []
    return quarantine, warnings, report


def test_sound_photos_are_measured_and_kept(bins: BinFolder) -> None:
    bins.add("00001", draw_photo(1), metadata=record("00001", [1, 2])).add("1", draw_photo(2), count=0)
    quarantine, warnings, report = findings(bins)
    assert not any(quarantine.values())
    assert not any(warnings.values())
    assert (report.photos, report.usable, report.quarantined, report.warned, report.without_record) == (3, 3, 0, 0, 2)
    table = Manifest.read(bins.folder, CHECKED).table
    assert table.select("width_px", "height_px").unique().rows() == [(320, 288)]
    assert table["dhash"].n_unique() == 3
    assert table["recorded_count"].to_list() == [1, 3, 0]


def test_each_kind_of_broken_photo_is_set_aside_with_its_own_reason(bins: BinFolder) -> None:
    jpeg = encoded(draw_photo(3))
    bins.add("empty", b"").add("text", b"hello").add("pdf", b"%PDF-1.7").add("page", b"<!doctype html>")
    bins.add("cut", jpeg[: len(jpeg) // 2]).add("bomb", png_claiming(30_000, 30_000), suffix=".png")
    bins.add("header", b"\xff\xd8\xff" + b"\0" * 300)
    bins.add("tiny", draw_photo(4, size_px=(100, 20))).add("long", draw_photo(5, size_px=(900, 90)))
    quarantine, _, report = findings(bins)
    assert {name: [code(reason) for reason in reasons] for name, reasons in quarantine.items()} == {
        "sound": [],
        "empty": ["empty"],
        "text": ["not_a_photo"],
        "pdf": ["not_a_photo"],
        "page": ["not_a_photo"],
        "cut": ["truncated"],
        "bomb": ["too_large"],
        "header": ["undecodable"],
        "tiny": ["absurd_size"],
        "long": ["absurd_size"],
    }
    assert [detail(quarantine[name][0]) for name in ("text", "pdf", "page", "tiny")] == [
        "text",
        "a PDF",
        "a web page or XML",
        "100 x 20 px",
    ]
    assert (report.usable, report.quarantined) == (1, 9)
    assert report.reasons["not_a_photo"] == 3
    assert all((bins.folder / str(row["path"])).is_file() for row in bins.rows)


def test_a_file_that_changed_or_went_since_fetch_is_told_apart(bins: BinFolder) -> None:
    bins.add("changed", draw_photo(1)).add("gone", draw_photo(2)).write()
    (bins.folder / "bin-images/changed.jpg").write_bytes(encoded(draw_photo(3)))
    (bins.folder / "bin-images/gone.jpg").unlink()
    quarantine, _, _ = findings(bins)
    assert quarantine["changed"] == ["changed"]
    assert quarantine["gone"] == ["missing"]


def test_a_folder_in_a_photos_place_is_missing_and_a_huge_file_is_not_read(bins: BinFolder) -> None:
    bins.add("folder", draw_photo(1)).add("huge", b"\0" * 200_000)
    (bins.folder / "bin-images/folder.jpg").unlink()
    (bins.folder / "bin-images/folder.jpg").mkdir()
    quarantine, _, _ = findings(bins, max_megabytes=0.1)
    assert quarantine["folder"] == ["missing"]
    assert quarantine["huge"] == ["too_large:200000 bytes"]


def test_a_png_named_jpg_is_kept_with_a_warning(bins: BinFolder) -> None:
    bins.add("png", encoded(draw_photo(1), "PNG")).add("jpeg", draw_photo(2), suffix=".jpeg")
    quarantine, warnings, _ = findings(bins)
    assert quarantine["png"] == []
    assert warnings["png"] == ["wrong_extension:PNG named .jpg"]
    assert warnings["jpeg"] == []


def test_dark_and_blurred_photos_are_kept_with_a_warning(bins: BinFolder) -> None:
    photo = draw_photo(1)
    bins.add("dark", ImageEnhance.Brightness(photo).enhance(0.15)).add("black", Image.new("RGB", (300, 300)))
    bins.add("blurred", photo.filter(ImageFilter.GaussianBlur(12)))
    quarantine, warnings, report = findings(bins)
    assert not any(quarantine.values())
    codes = {name: [code(warning) for warning in told] for name, told in warnings.items()}
    assert (codes["dark"], codes["black"]) == (["dark"], ["dark"])
    assert "blurred" in codes["blurred"]
    assert report.warned == 3


def test_limits_are_settings(bins: BinFolder) -> None:
    _, warnings, _ = findings(bins, dark_below=250)
    assert [code(warning) for warning in warnings["sound"]] == ["dark"]
    with pytest.raises(ConfigError, match="near_duplicate_bits"):
        CheckSettings.of({"near_duplicate_bits": 40})


def test_a_photo_nobody_counted_is_set_aside(bins: BinFolder) -> None:
    quarantine, _, _ = findings(bins.add("uncounted", draw_photo(1), count=None))
    assert quarantine["uncounted"] == ["no_count"]


def test_quantities_that_contradict_the_count_are_a_warning_with_both_numbers(bins: BinFolder) -> None:
    bins.add("short", draw_photo(1), metadata=record("short", [1, 2], expected=5))
    bins.add("none", draw_photo(2), metadata=record("none", [], expected=4))
    quarantine, warnings, _ = findings(bins)
    assert not any(quarantine.values())
    assert warnings["short"] == ["quantities_contradict:3 against 5 expected"]
    assert warnings["none"] == ["quantities_contradict:0 against 4 expected"]


def test_a_count_from_elsewhere_that_differs_from_the_record_is_a_warning(bins: BinFolder) -> None:
    bins.add("other", draw_photo(1), metadata=record("other", [2, 2]), recorded_count=3, count_source="labels")
    _, warnings, _ = findings(bins)
    assert warnings["other"] == ["count_differs:3 against 4 in the record"]


SENSELESS = (
    b"",
    b"[]",
    b"{broken",
    b"\xff\xfe{}",
    b'{"BIN_FCSKU_DATA": {}}',
    b'{"EXPECTED_QUANTITY": 2}',
    b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": -2}',
    b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 2.5}',
    b'{"BIN_FCSKU_DATA": {"A": {"quantity": -2}}, "EXPECTED_QUANTITY": 2}',
    b'{"BIN_FCSKU_DATA": {"A": {"quantity": 1.5}}, "EXPECTED_QUANTITY": 2}',
    b'{"BIN_FCSKU_DATA": {"A": 3}, "EXPECTED_QUANTITY": 3}',
)


def test_a_record_that_makes_no_sense_is_grave_only_where_the_count_hangs_on_it(bins: BinFolder) -> None:
    for number, document in enumerate(SENSELESS):
        bins.add(f"own{number}", draw_photo(number), metadata=document, count=2)
        bins.add(f"listed{number}", draw_photo(number + 50), metadata=document, count=2, count_source="list")
    quarantine, warnings, _ = findings(bins)
    for number, document in enumerate(SENSELESS):
        assert [code(reason) for reason in quarantine[f"own{number}"]] == ["record_malformed"], document
        assert quarantine[f"listed{number}"] == []
        assert [code(warning) for warning in warnings[f"listed{number}"]] == ["record_malformed"], document


def test_a_record_that_went_since_fetch_is_a_warning_for_its_count_is_known(bins: BinFolder) -> None:
    bins.add("1", draw_photo(1), metadata=record("1", [2])).write()
    (bins.folder / "metadata/1.json").unlink()
    quarantine, warnings, _ = findings(bins)
    assert (quarantine["1"], warnings["1"]) == ([], ["record_missing"])


def test_copies_of_a_photo_stay_once_unless_their_counts_contradict(bins: BinFolder) -> None:
    same, doubtful = draw_photo(1), draw_photo(2)
    bins.add("a", same, count=2).add("b", same, count=2).add("c", doubtful, count=3).add("d", doubtful, count=4)
    quarantine, warnings, report = findings(bins)
    assert quarantine == {
        "sound": [],
        "a": [],
        "b": ["duplicate:a"],
        "c": ["contradicting_duplicate:d"],
        "d": ["contradicting_duplicate:c"],
    }
    assert not any(warnings.values())
    assert report.reasons == {"contradicting_duplicate": 2, "duplicate": 1}


def test_a_copy_stays_in_where_the_first_is_set_aside_for_another_reason(bins: BinFolder) -> None:
    bins.add("a", draw_photo(1), metadata=b"no record", count=2).add("b", draw_photo(1), count=2)
    quarantine, _, _ = findings(bins)
    assert [code(reason) for reason in quarantine["a"]] == ["record_malformed"]
    assert quarantine["b"] == []


def test_near_duplicates_name_each_other_and_say_when_the_products_differ(bins: BinFolder) -> None:
    mine, other = draw_photo(1), draw_photo(2)
    bins.add("a", mine, metadata=record("a", [2], prefix="X")).add("b", other, metadata=record("b", [1], prefix="Y"))
    bins.add("a2", encoded(mine, quality=60), metadata=record("a", [1], prefix="X"))
    bins.add("b2", encoded(other, quality=60), metadata=record("b2", [1], prefix="Z"))
    quarantine, warnings, _ = findings(bins)
    assert not any(quarantine.values())
    assert warnings == {
        "sound": [],
        "a": [],
        "b": [],
        "a2": ["near_duplicate:a"],
        "b2": ["near_duplicate:b", "near_duplicate_other_products:b"],
    }


def test_the_json_report_says_what_the_function_returns_and_every_code_is_explained(bins: BinFolder) -> None:
    bins.add("empty", b"").add("uncounted", encoded(draw_photo(1), "PNG"), count=None)
    _, _, report = findings(bins)
    written = json.loads((bins.folder / "check.json").read_text())
    assert written["reasons"] == report.reasons == {"empty": 1, "no_count": 1}
    assert written["warnings"] == report.warnings == {"wrong_extension": 1}
    assert written["examples"] == {"empty": ["empty"], "no_count": ["uncounted"], "wrong_extension": ["uncounted"]}
    assert written["settings"]["dark_below"] == 40
    assert set(report.reasons) <= set(QUARANTINE)
    assert set(report.warnings) <= set(WARNINGS)


def test_one_photo_is_enough(tmp_path: Path) -> None:
    folder = BinFolder(tmp_path).add("only", draw_photo(1)).write()
    assert check(data=folder).usable == 1


def test_where_nothing_can_be_used_the_reasons_are_written_and_the_stage_fails(tmp_path: Path) -> None:
    folder = BinFolder(tmp_path).add("a", b"").add("b", b"text").write()
    with pytest.raises(DataError, match="None of the 2 photo") as caught:
        check(data=folder)
    assert "empty (1)" in caught.value.message
    assert "check.json" in caught.value.hint
    assert Manifest.read(folder, CHECKED).table["quarantine"].list.len().to_list() == [1, 1]


def test_an_empty_manifest_and_none_at_all_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest"):
        check(data=tmp_path)
    Manifest.build(tmp_path, []).write(FETCHED)
    with pytest.raises(DataError, match="lists no photo") as caught:
        check(data=tmp_path)
    assert "bintally fetch" in caught.value.hint


def test_checking_twice_gives_the_same_table(bins: BinFolder) -> None:
    findings(bins.add("a", draw_photo(1)).add("b", b"text"))
    before = (bins.folder / CHECKED).read_bytes()
    check(data=bins.folder, workers=2)
    assert (bins.folder / CHECKED).read_bytes() == before


def test_tally_counts_photos_and_not_findings() -> None:
    column = pl.Series([["dark:3", "dark:4"], ["dark:9", "blurred"], [], None], dtype=pl.List(pl.String))
    assert tally(column) == {"dark": 2, "blurred": 1}


def test_the_command_prints_a_table_for_people_and_json_for_machines(bins: BinFolder) -> None:
    bins.add("cut", encoded(draw_photo(1))[:900]).write()
    people = run_here("check", bins.folder)
    assert people.returncode == 0, people.stderr
    assert people.stdout == ""
    assert "1 of 2 photos can be used" in people.stderr
    assert "truncated" in people.stderr
    machine = run_here("check", bins.folder, "--json")
    assert machine.returncode == 0
    assert json.loads(machine.stdout)["reasons"] == {"truncated": 1}


def test_ctrl_c_ends_with_130_and_leaves_no_table_and_no_worker(bins: BinFolder) -> None:
    rng = np.random.default_rng(0)
    bins.add("large", Image.fromarray(rng.integers(0, 255, (2500, 2500, 3), dtype=np.uint8)))
    bins.rows = [{**bins.rows[1], "bin_image_id": str(copy)} for copy in range(2000)]
    bins.write()
    command = [sys.executable, "-m", "bintally", "check", str(bins.folder), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while not workers_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert workers
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert sorted(path.name for path in bins.folder.iterdir()) == ["bin-images", "manifest.parquet", "metadata"]


def workers_of(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    threads = Path(f"/proc/{process}/task")
    return (
        [int(child) for thread in threads.glob("*/children") for child in thread.read_text().split()]
        if children
        else []
    )
