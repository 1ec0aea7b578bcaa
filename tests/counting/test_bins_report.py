"""The page of bins and records: self-contained, escaped, whole with any part missing."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from bintally.bundle import Figure
from bintally.counting.bins_page import TITLES, bins_page, pair_rows
from bintally.counting.bins_report import (
    FORMAT,
    AfterPhotos,
    AtThreshold,
    Beside,
    BinsOverTime,
    BinsReport,
    CurvePoint,
    OfChange,
    OfError,
    PairReport,
    RecordFigures,
    RecordReport,
    ShownPair,
    Unchanged,
)
from bintally.counting.report import Subject, Unreadable

HALF, THIRD = Figure(0.5, 0.4, 0.6), Figure(0.3, 0.2, 0.4)
BESIDE, HARD = Beside(HALF, THIRD), Beside(HALF, THIRD, Figure(0.35, 0.3, 0.4))


def made_report(**changed: Any) -> BinsReport:
    """A report with one of each part."""
    error = OfError("quantity +1", 40, HALF, THIRD, THIRD)
    scores = RecordFigures(HALF, THIRD, AtThreshold(0.6, THIRD, HALF), (error,), (CurvePoint(0.9, 1.0, 1.0),))
    blind = RecordFigures(
        HALF, THIRD, None, (msgspec.structs.replace(error, escaped_at_card=None),), (CurvePoint(0.0, 1.0, 1.0),)
    )
    shown = ShownPair(
        "00012", "bin-images/a.jpg", "00013", "gone.jpg", 4, 3, "2", {"2": 0.7, "3": 0.3}, {"2": 0.5, "3": 0.5}
    )
    figures = ("accuracy", "log_loss", "set_size", "set_coverage", "auroc", "accepted")
    report = BinsReport(
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
            counts="2-3",
            keys=("2", "3"),
            seed=0,
            resamples=2000,
            code_version="c" * 64,
        ),
        pairs=PairReport(
            pairs=428,
            bins=386,
            other_counts=202,
            out_of_reach=1,
            figures=dict.fromkeys(TITLES, HARD),
            by_change=(OfChange("-1", 239, HARD, HARD),),
            promised=0.9,
            set_coverage=HALF,
            set_size=Figure(1.7, 1.6, 1.8),
            unchanged=Unchanged(300, BESIDE, HALF, BESIDE),
            worst=(shown,),
            surest=(),
        ),
        over_time=BinsOverTime(
            937, 1567, 0.9, 0.4, 0.9, (AfterPhotos("followed", "all", 2, 2, 548, dict.fromkeys(figures, BESIDE)),)
        ),
        records=RecordReport("records.csv", 2050, 1025, 1025, 3, 1956, scores, scores, blind, "train's 8,313 records"),
        left_out=(),
        unreadable=(Unreadable("00099", "bin-images/00099.jpg", "<i>not a photo</i>"),),
    )
    return msgspec.structs.replace(report, **changed)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "bin-images").mkdir()
    Image.new("RGB", (400, 300), "orange").save(tmp_path / "bin-images" / "a.jpg")
    return tmp_path


def test_page_draws_pairs_side_by_side_and_escapes(data: Path) -> None:
    page = bins_page(made_report(), data)
    assert page.count("data:image/jpeg") == 1
    assert page.count("photo not found") == 1  # the other one of the pair is gone
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page
    assert "<i>not a photo" not in page
    assert "<b>4</b> before, recorded <b>3</b>, told <b>2</b> with 70.0%" in page


def test_page_stands_with_any_part_missing(data: Path) -> None:
    alone = bins_page(made_report(pairs=None, over_time=None, left_out=("pairs: no two photos",)), data)
    assert "Records of test" in alone
    assert "Not judged: pairs: no two photos." in alone
    pairs = bins_page(made_report(records=None), data)
    assert "The new count is right for 50.0% of 428 pairs" in pairs
    assert "By kind of error" not in pairs


def test_every_figure_of_pairs_stands_beside_the_blind_ones() -> None:
    rows = pair_rows(made_report())
    assert [row.title for row in rows] == list(TITLES.values())
    assert (rows[0].value, rows[0].blind, rows[0].harder) == ("50.0%", "30.0%", "35.0%")
    assert pair_rows(made_report(pairs=None)) == []


def test_json_reads_back() -> None:
    report = made_report()
    assert BinsReport.from_json(report.to_json()) == report
