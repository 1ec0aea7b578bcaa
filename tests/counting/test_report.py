"""The page: self-contained, small, honest about what it leaves out, and escaped."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from bintally.bundle import Figure
from bintally.counting.evaluation_page import amount, evaluation_page, interval, number, percent
from bintally.counting.report import (
    FORMAT,
    Bin,
    Blind,
    Calibration,
    CurvePoint,
    EvaluationReport,
    PerCount,
    Population,
    Selective,
    Sets,
    Shown,
    Slice,
    Subject,
    Unreadable,
)

BLIND = {"accuracy": 0.25, "within_one": 0.6, "rmse": 1.3, "mae": 1.1, "log_loss": 1.6}


def made_report(**changed: Any) -> EvaluationReport:
    """A report of three counts with one of each part."""
    half = Figure(0.5, 0.4, 0.6)
    shown = Shown("00012", "bin-images/00012.jpg", 9, 2, 2.4, {"1": 0.1, "2": 0.7, "3+": 0.2}, None)
    report = EvaluationReport(
        format=FORMAT,
        subject=Subject(
            model="<b>bold</b>",
            bundle="bundle",
            model_sha256="a" * 64,
            licence="CC0-1.0",
            data="data",
            table="split.parquet",
            table_sha256="b" * 64,
            split="test",
            counts="1-3+",
            keys=("1", "2", "3+"),
            seed=0,
            resamples=2000,
            code_version="c" * 64,
        ),
        population=Population(1085, 812, 0, 0, 0, 0, 0),
        abstained={},
        figures=dict.fromkeys(BLIND, half),
        blind=(Blind("train's 8,496 photos", "1", BLIND), Blind("the judged photos themselves", "2", BLIND)),
        per_count=(
            PerCount("1", 10, 12, half, half, 1.4),
            PerCount("2", 10, 0, half, None, 2.0),
            PerCount("3+", 0, 3, None, half, None),
        ),
        confusion=((5, 0, 5), (5, 0, 5), (0, 0, 0)),
        calibration=Calibration(0.03, 0.05, (Bin(0.4, half, 500), Bin(0.8, half, 585))),
        selective=Selective(
            half, {"0.05": Figure(0, 0, 0.1), "0.20": half}, (CurvePoint(0.9, 0.5, 0.1), CurvePoint(0.3, 1.0, 0.5))
        ),
        sets=Sets(0.9, half, Figure(2.1, 2.0, 2.2)),
        slices=(Slice("encoding", "webp", 700, half, half, 0.3), Slice("encoding", "odd", 4, None, None, None)),
        not_sliced={"brightness": "not measured"},
        worst=(shown,),
        surest=(),
        unreadable=(),
        photos_per_second=31.0,
    )
    return msgspec.structs.replace(report, **changed)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "bin-images").mkdir()
    Image.linear_gradient("L").resize((640, 480)).save(folder / "bin-images" / "00012.jpg")
    return folder


@pytest.fixture(scope="module")
def page(data: Path) -> str:
    return evaluation_page(made_report(), data)


def test_page_needs_no_other_file(page: str) -> None:
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert page.count("<svg") == 4
    assert page.count("data:image/jpeg;base64,") == 1
    assert len(page) < 400_000


def test_names_are_escaped(page: str) -> None:
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_what_has_no_figures_is_told(data: Path) -> None:
    page = evaluation_page(
        made_report(
            population=Population(1085, 812, 3, 1, 20, 0, 4),
            abstained={"black frame": 3},
            unreadable=(Unreadable("7", "bin-images/7.jpg", "The photo is empty."),),
        ),
        data,
    )
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "1 photo could not be read" in text
    assert "did not take 3 photos for bins (black frame: 3)" in text
    assert "Not judged: 20 with other recorded counts, 4 without a recorded count." in text
    assert "The photo is empty." in text
    assert "too few to say" in text
    assert "Not cut by brightness (not measured)" in text


def test_calibration_is_judged_against_chance(page: str, data: Path) -> None:
    bins = made_report().calibration.bins
    assert "no evidence of miscalibration" in page
    off = made_report(calibration=Calibration(0.09, 0.05, bins))
    assert "probabilities are off" in evaluation_page(off, data)


def test_photos_that_may_have_been_trained_on_are_named_so(page: str, data: Path) -> None:
    warning = "may have been trained on"
    assert warning not in page
    report = made_report()
    trained = msgspec.structs.replace(report, subject=msgspec.structs.replace(report.subject, split="train"))
    assert warning in evaluation_page(trained, data)


def test_a_photo_gone_since_leaves_its_place(tmp_path: Path) -> None:
    page = evaluation_page(made_report(), tmp_path)
    assert "photo not found" in page
    assert "data:image/jpeg" not in page


def test_gallery_marks_recorded_and_counted_with_the_open_top_as_one(page: str) -> None:
    assert re.search(r'class="recorded" style="height:20%" title="3\+: 20.0%"', page)
    assert re.search(r'class="counted" style="height:70%" title="2: 70.0%"', page)
    assert "recorded <b>9</b>, counted <b>2</b>" in page


def test_same_report_same_page(page: str, data: Path) -> None:
    assert evaluation_page(made_report(), data) == page


def test_figures_in_words() -> None:
    assert (percent(0.4412), percent(None), number(0.89345), number(None)) == ("44.1%", "-", "0.893", "-")
    assert interval(Figure(0.5, 0.412, 0.47)) == "41.2 to 47.0%"
    assert interval(Figure(0.5, 0.861, 0.9234), share=False) == "0.861 to 0.923"
    assert interval(None) == ""
    assert (amount(1, "photo"), amount(0, "photo"), amount(1200, "photo")) == ("1 photo", "0 photos", "1,200 photos")
