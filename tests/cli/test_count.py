"""`bintally count` as a person and as a machine use it."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bintally.counting.batch import count
from bintally.records import CountEstimate
from tests.bundles import bin_photo, make_bundle
from tests.conftest import run_cli, run_here


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", licence="CC-BY-NC-SA-3.0")


@pytest.fixture(scope="module")
def bins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bins of 1, 2 and 6 items, and a black frame."""
    folder = tmp_path_factory.mktemp("bins")
    for name, items in (("00001", 1), ("00002", 2), ("00006", 6)):
        (folder / f"{name}.png").write_bytes(bin_photo(items))
    (folder / "night.jpg").write_bytes(bin_photo(-10, image_format="JPEG"))
    return folder


def test_a_person_gets_a_table_the_totals_and_the_licence(bundle: Path, bins: Path) -> None:
    ended = run_here("count", bins, "--bundle", bundle)
    assert ended.returncode == 0, ended.stderr
    header, *rows = ended.stdout.splitlines()
    assert header.split() == ["count", "sure", "expected", "likely", "0123456+", "photo"]
    assert [row.split()[0] for row in rows] == ["1", "2", "6+", "0"]
    assert rows[3].endswith("night.jpg  abstains: black frame")
    assert "4 photos: 3 counted, 1 abstained from, 0 unreadable" in ended.stderr
    assert "Model tiny, weights: CC-BY-NC-SA-3.0 (non-commercial)." in ended.stderr


def test_a_machine_gets_one_estimate_a_line_and_no_word_more(bundle: Path, bins: Path) -> None:
    ended = run_cli("count", bins, "--bundle", bundle, "--json", "--counts", "1-5")  # nor at its start and end
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [CountEstimate.from_json(line) for line in ended.stdout.splitlines()]
    assert [line.count for line in lines] == [1, 2, 5, 1]
    assert lines[0].bin_image_id == "00001"
    assert lines[0].path == str(bins / "00001.png")
    assert list(lines[0].probabilities) == ["1", "2", "3", "4", "5"]
    assert lines[3].abstain == "black frame"


def test_csv_for_a_spreadsheet(bundle: Path, bins: Path) -> None:
    ended = run_here("count", bins / "00002.png", "--bundle", bundle, "--csv")
    assert (ended.returncode, ended.stderr) == (0, "")
    [row] = csv.DictReader(io.StringIO(ended.stdout))
    assert (row["bin_image_id"], row["count"], row["model"]) == ("00002", "2", "tiny")
    assert float(row["p_2"]) > 0.7


def test_an_unreadable_photo_has_its_error_and_the_others_are_counted(bundle: Path, bins: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    ended = run_here("count", broken, bins / "00001.png", "--bundle", bundle, "--json")
    assert ended.returncode == 1
    first, second = map(CountEstimate.from_json, ended.stdout.splitlines())
    assert first.error is not None
    assert first.count is None
    assert second.count == 1
    shown = run_here("count", broken, bins / "00001.png", "--bundle", bundle)
    assert shown.returncode == 1
    assert "1 unreadable" in shown.stderr
    assert "broken.jpg  The photo can't be decoded" in shown.stdout


def test_a_photo_comes_from_stdin(bundle: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bintally", "count", "-", "--bundle", str(bundle), "--json"],
        input=bin_photo(4),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    estimate = CountEstimate.from_json(ended.stdout)
    assert (estimate.path, estimate.bin_image_id, estimate.count) == ("-", None, 4)


def test_results_go_to_a_file_and_a_second_run_goes_on(bundle: Path, bins: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.jsonl"
    first = run_here("count", bins / "00001.png", "--bundle", bundle, "--out", out)
    assert (first.returncode, first.stdout) == (0, "")
    second = run_here("count", bins, "--bundle", bundle, "--out", out)
    assert "4 photos (1 of them before): 3 counted" in second.stderr
    assert len(out.read_text().splitlines()) == 4
    third = run_here("count", bins, "--bundle", bundle, "--out", out, "--json")
    report = json.loads(third.stdout)
    assert (report["photos"], report["resumed"], report["abstained"]) == (4, 4, 1)


def test_photos_may_stand_in_a_list(bundle: Path, bins: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{bins}/00006.png\n{bins}/gone.png\n")
    ended = run_here("count", "--from-file", listed, "--bundle", bundle, "--json")
    assert ended.returncode == 1
    first, second = map(CountEstimate.from_json, ended.stdout.splitlines())
    assert first.count == 6
    assert second.error == f"There is no photo {bins}/gone.png."


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["nowhere.jpg"], 2, "There is no photo or folder nowhere.jpg."),
        ([], 2, "Nothing was named to count."),
        (["{bins}", "--counts", "9"], 2, "'9' is no count"),
        (["{bins}", "--bundle", "nowhere"], 4, "nowhere is no bundle"),
        (["{bins}", "--csv", "--json"], 2, "--csv goes with neither"),
        (["{bins}", "--out", "counts.xlsx"], 2, "has no known suffix"),
        (["{bins}", "--batch-size", "0"], 2, "batch-size"),
        (["-", "--out", "counts.csv"], 2, "stdin"),
    ],
)
def test_a_mistake_is_a_sentence_with_the_next_step(
    bundle: Path, bins: Path, arguments: list[str], exit_code: int, told: str
) -> None:
    filled = [argument.replace("{bins}", str(bins)) for argument in arguments]
    ended = run_here("count", *filled, env={"BINTALLY_BUNDLE": str(bundle)})
    assert ended.returncode == exit_code
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_ctrl_c_ends_with_130_and_whole_lines(bundle: Path, tmp_path: Path) -> None:
    photo = bin_photo(3)
    for index in range(4000):
        (tmp_path / f"{index:05}.png").write_bytes(photo)
    out = tmp_path / "counts.jsonl"
    arguments = [sys.executable, "-m", "bintally", "count", str(tmp_path), "--bundle", str(bundle), "--out", str(out)]
    with subprocess.Popen([*arguments, "--batch-size", "1"], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not out.exists() or not out.stat().st_size:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert b"Traceback" not in told
    assert out.read_bytes().endswith(b"\n")


def test_a_reader_that_leaves_early_is_no_crash(bundle: Path, bins: Path, tmp_path: Path) -> None:
    for index in range(300):
        (tmp_path / f"{index:05}.png").hardlink_to(bins / "00001.png")
    arguments = [sys.executable, "-m", "bintally", "count", str(tmp_path), "--bundle", str(bundle), "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(60) != 0
    assert CountEstimate.from_json(first).count == 1
    assert b"Traceback" not in told
    assert b"Exception ignored" not in told


class _Screen(io.StringIO):
    """A stream that notes what had been written at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[int] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue().count("\n"))


def test_every_line_is_flushed_by_itself(bundle: Path, bins: Path) -> None:
    """A robot that reads the pipe must not wait for a buffer to fill."""
    screen = _Screen()
    count(photos=[bins], bundle=bundle, to=screen)
    assert screen.flushed == [1, 2, 3, 4]


def test_help_has_an_example() -> None:
    ended = run_here("count", "--help")
    assert ended.returncode == 0
    assert "Example:" in ended.stdout
    assert "--counts" in ended.stdout


@pytest.fixture(scope="module")
def comparing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "comparing", change=True)


def test_a_photo_is_counted_beside_an_earlier_one(comparing: Path, bins: Path) -> None:
    arguments: list[str | Path] = [
        bins / "00002.png",
        "--previous",
        bins / "00006.png",
        "--previous-count",
        "6",
        "--bundle",
        comparing,
    ]
    ended = run_here("count", *arguments, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    line = CountEstimate.from_json(ended.stdout)
    assert (line.count, line.previous, line.previous_count) == (2, str(bins / "00006.png"), 6)
    assert line.unchanged is not None
    assert line.unchanged < 0.1
    shown = run_here("count", *arguments)
    assert shown.returncode == 0
    header, row = shown.stdout.splitlines()
    assert header.split()[-4:] == ["previous_count", "unchanged", "photo", "previous"]
    assert row.split()[-4:] == ["6", "0%", str(bins / "00002.png"), str(bins / "00006.png")]
    assert "Model tiny" in shown.stderr


def test_pairs_stand_in_a_csv_file(comparing: Path, bins: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    rows = [f"{bins}/00002.png,{bins}/00001.png,1", f"{bins}/00006.png,,", f"gone.png,{bins}/00001.png,1"]
    pairs.write_text("\n".join(["path,previous,previous_count", *rows]))
    ended = run_here("count", "--pairs", pairs, "--bundle", comparing, "--json", "--counts", "1-6+")
    assert (ended.returncode, ended.stderr) == (1, "")
    lines = [CountEstimate.from_json(line) for line in ended.stdout.splitlines()]
    assert [line.count for line in lines] == [2, 6, None]
    assert lines[2].error == "path: There is no photo gone.png."
    assert [line.previous_count for line in lines] == [1, None, 1]
    table = run_here("count", "--pairs", pairs, "--bundle", comparing)
    assert table.returncode == 1
    assert len(table.stdout.splitlines()) == 4
    assert "3 photos: 2 counted" in table.stderr
    row = next(csv.DictReader(io.StringIO(run_here("count", "--pairs", pairs, "--bundle", comparing, "--csv").stdout)))
    assert (row["count"], row["previous_count"]) == ("2", "1")
    out = tmp_path / "counts.csv"
    for resumed in (0, 3):
        ended = run_here("count", "--pairs", pairs, "--bundle", comparing, "--out", out, "--json")
        assert json.loads(ended.stdout)["resumed"] == resumed
    assert len(out.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["{bins}", "--previous", "{bins}/00001.png"], 2, "is not one photo"),
        (["a.png", "b.png", "--previous", "{bins}/00001.png"], 2, "--previous goes with one photo"),
        (["--previous", "{bins}/00001.png"], 2, "--previous goes with one photo"),
        (["{bins}/00001.png", "--previous", "gone.png"], 2, "There is no photo or folder gone.png."),
        (["{bins}/00001.png", "--previous-count", "3"], 2, "--previous-count needs the photo it is of"),
        (["{bins}/00001.png", "--previous", "{bins}/00001.png", "--previous-count", "-3"], 2, "previous-count"),
        (["{bins}/00001.png", "--pairs", "pairs.csv"], 2, "--pairs names all photos by itself"),
        (["--pairs", "pairs.csv", "--previous", "{bins}/00001.png"], 2, "--pairs names all photos by itself"),
        (["--pairs", "pairs.csv"], 2, "The list pairs.csv can't be read"),
        (["--pairs", "{bins}/00001.png"], 3, "lacks the columns"),
        (["{bins}/00001.png", "--previous", "{bins}/00002.png"], 4, "does not compare photos"),
    ],
)
def test_a_mistake_with_earlier_photos_is_a_sentence_with_the_next_step(
    bundle: Path, bins: Path, arguments: list[str], exit_code: int, told: str
) -> None:
    filled = [argument.replace("{bins}", str(bins)) for argument in arguments]
    ended = run_here("count", *filled, env={"BINTALLY_BUNDLE": str(bundle), "COLUMNS": "200"})
    assert ended.returncode == exit_code
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
