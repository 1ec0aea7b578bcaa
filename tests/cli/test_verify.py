"""`bintally verify` as a person and as a machine use it."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bintally import Verification
from tests.bundles import bin_photo, make_bundle
from tests.conftest import run_cli, run_here


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "judging"
    return make_bundle(folder, change=True, verification=True, licence="CC-BY-NC-SA-3.0")


@pytest.fixture(scope="module")
def bins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bins of 2 and 3 items, a record of 3, and a list of both."""
    folder = tmp_path_factory.mktemp("bins")
    for items in (2, 3):
        (folder / f"0000{items}.png").write_bytes(bin_photo(items))
    (folder / "three.json").write_text('{"B1": 1, "B2": 1, "B3": 1}')
    rows = ["00003.png,three.json,,", "00002.png,three.json,00002.png,2", "gone.png,three.json,,"]
    (folder / "records.csv").write_text("\n".join(["path,record,previous,previous_count", *rows]))
    return folder


def _verdicts(lines: str) -> list[Verification]:
    return [msgspec.json.decode(line, type=Verification) for line in lines.splitlines()]


def test_a_person_gets_a_table_with_reasons_and_the_licence(bundle: Path, bins: Path) -> None:
    ended = run_here("verify", bins / "00003.png", "--record", bins / "three.json", "--bundle", bundle)
    assert ended.returncode == 0, ended.stderr
    header, row = ended.stdout.splitlines()
    assert header == "right?  photo shows  record says  photo"
    assert row.split()[1:5] == ["3", "(79%)", "3", str(bins / "00003.png")]
    assert row.endswith("the photo shows 3, as recorded (79%)")
    assert ended.stderr == "Model tiny, weights: CC-BY-NC-SA-3.0 (non-commercial).\n"


def test_a_machine_gets_one_verdict_a_line_and_no_word_more(bundle: Path, bins: Path) -> None:
    arguments: list[str | Path] = [
        bins / "00003.png",
        "--previous",
        bins / "00002.png",
        "--previous-count",
        "2",
        "--bundle",
        bundle,
    ]
    ended = run_cli("verify", *arguments, "--record", '{"B1": 5}', "--json")  # nor at its start and end
    assert (ended.returncode, ended.stderr) == (0, "")
    [verdict] = _verdicts(ended.stdout)
    assert (verdict.path, verdict.record, verdict.recorded_count) == (str(bins / "00003.png"), None, 5)
    assert verdict.count == 3
    assert verdict.record_is_right is not None
    assert verdict.record_is_right < 0.1
    assert verdict.reasons
    assert set(json.loads(ended.stdout)) == set(Verification.__struct_fields__)


def test_many_stand_in_a_csv_file_and_a_bad_line_is_told(bundle: Path, bins: Path) -> None:
    ended = run_here("verify", "--csv", bins / "records.csv", "--bundle", bundle, "--json")
    assert (ended.returncode, ended.stderr) == (1, "")
    verdicts = _verdicts(ended.stdout)
    assert [verdict.path for verdict in verdicts] == ["00003.png", "00002.png", "gone.png"]
    assert [verdict.record for verdict in verdicts] == ["three.json"] * 3
    assert [verdict.count for verdict in verdicts] == [3, 2, None]
    assert verdicts[2].error == "path: There is no photo gone.png."
    shown = run_here("verify", "--csv", bins / "records.csv", "--bundle", bundle)
    assert shown.returncode == 1
    assert len(shown.stdout.splitlines()) == 4
    assert "3 records: 1 taken for right (50% or more), 1 for wrong, 0 abstained from, 1 not judged." in shown.stderr


def test_a_photo_comes_from_stdin(bundle: Path, bins: Path) -> None:
    arguments = ["verify", "-", "--record", str(bins / "three.json"), "--bundle", str(bundle), "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "bintally", *arguments], input=bin_photo(3), capture_output=True, timeout=60, check=True
    )
    [verdict] = _verdicts(ended.stdout.decode())
    assert (verdict.path, verdict.count) == ("-", 3)


def test_an_unreadable_photo_has_its_error(bundle: Path, bins: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"broken")
    ended = run_here("verify", broken, "--record", bins / "three.json", "--bundle", bundle, "--json")
    assert ended.returncode == 1
    [verdict] = _verdicts(ended.stdout)
    assert (verdict.error, verdict.record_is_right) == ("path: This is not a photo.", None)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        ([], 2, "A photo and a record are held against each other."),
        (["{bins}/00003.png"], 2, "A photo and a record"),
        (["gone.png", "--record", "{bins}/three.json"], 2, "There is no photo or folder gone.png."),
        (["{bins}", "--record", "{bins}/three.json"], 2, "is not one photo"),
        (["{bins}/00003.png", "--record", "gone.json"], 2, "The record gone.json can't be read"),
        (["{bins}/00003.png", "--record", '{"B1": "two"}'], 3, "no whole number"),
        (["{bins}/00003.png", "--record", "{bins}/three.json", "--previous-count", "2"], 2, "needs the photo"),
        (["{bins}/00003.png", "--csv", "{bins}/records.csv"], 2, "by itself"),
        (["--csv", "{bins}/three.json"], 3, "lacks the columns path, record"),
        (["--csv", "gone.csv"], 2, "can't be read"),
    ],
)
def test_a_mistake_is_a_sentence_with_the_next_step(
    bundle: Path, bins: Path, arguments: list[str], exit_code: int, told: str
) -> None:
    filled = [argument.replace("{bins}", str(bins)) for argument in arguments]
    ended = run_here("verify", *filled, env={"BINTALLY_BUNDLE": str(bundle)})
    assert ended.returncode == exit_code
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_model_that_does_not_judge_says_so(bins: Path, tmp_path: Path) -> None:
    plain = make_bundle(tmp_path / "plain")
    ended = run_here("verify", bins / "00003.png", "--record", bins / "three.json", "--bundle", plain)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "does not judge records" in ended.stderr


def test_help_has_an_example() -> None:
    ended = run_here("verify", "--help")
    assert ended.returncode == 0
    assert "Example:" in ended.stdout
    assert "--record" in ended.stdout
