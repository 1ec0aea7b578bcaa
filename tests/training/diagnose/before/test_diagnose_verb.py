"""The diagnose verb: one report as JSON, page and list; and the command before it."""

from pathlib import Path

import msgspec
import polars as pl
import pytest

import bintally
from bintally.cli.diagnose import show
from bintally.data.fetch import fetch
from bintally.data.split import split
from bintally.errors import ConfigError
from bintally.manifest import SPLIT, Manifest
from bintally.training.diagnose.before.report import DiagnoseReport
from bintally.training.diagnose.before.run import PAGE, REPORT, SUSPICIOUS, DiagnoseSettings, diagnose
from bintally.training.plan import Plan
from tests.training.conftest import run_here, tiny_recipe

FEW = DiagnoseSettings(rate_steps=30, noise_groups=3, noise_batches=2, warmup_steps=2, folds=3)


def test_all_checks_make_one_report(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(network={"tune": "head"})
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file() and "cache" not in path.parts}
    report = diagnose(recipe=recipe, data=data, out=tmp_path, settings=FEW)
    assert msgspec.json.decode((tmp_path / REPORT).read_bytes(), type=DiagnoseReport) == report
    assert report.labels and report.rate and report.noise and report.leakage
    assert not report.leakage.leakage.leaks
    assert report.photos == report.train_photos == sum(report.leakage.photos.values())
    assert report.first == (report.findings[0].advice if report.findings else report.first)

    page = (tmp_path / PAGE).read_text()
    for said in (report.first, report.leakage.leakage.sentence(), *(f"<h2>{name}" for name in ("Learning", "Batch"))):
        assert said in page
    assert page.count("<img") == min(len(report.labels.suspects), 24) == page.count('<img src="data:image/jpeg')

    table = pl.read_csv(tmp_path / SUSPICIOUS, schema_overrides={"bin_image_id": pl.String, "likely_count": pl.String})
    plan = Plan.of(recipe, data)
    assert table.height == len(report.labels.suspects)
    assert set(table["bin_image_id"]) <= set(plan.train["bin_image_id"])
    recorded = dict(plan.train.select("bin_image_id", "recorded_count").iter_rows())
    assert all(recorded[name] == count for name, count in table.select("bin_image_id", "recorded_count").iter_rows())
    assert table["probability"].is_between(0, 1).all()
    after = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file() and "cache" not in path.parts}
    assert after == before


def test_only_what_is_asked_is_looked_at(data: Path, tmp_path: Path) -> None:
    (tmp_path / SUSPICIOUS).write_text("of an earlier look")
    report = diagnose(recipe=tiny_recipe(), data=data, out=tmp_path, checks=["rate"], settings=FEW)
    assert report.rate is not None
    assert (report.leakage, report.labels, report.noise) == (None, None, None)
    assert not (tmp_path / SUSPICIOUS).exists()
    assert "<h2>Batch" not in (tmp_path / PAGE).read_text()


def test_whole_bins_are_drawn(data: Path, tmp_path: Path) -> None:
    settings = FEW.model_copy(update={"photos": 60})
    report = diagnose(recipe=tiny_recipe(), data=data, out=tmp_path, checks=["labels"], settings=settings)
    assert 45 <= report.photos <= 75
    assert report.labels is not None
    assert report.labels.photos == report.photos
    assert report.photos < report.train_photos


def test_a_split_that_leaks_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    fetch(source="sample", out=folder, photos=120, seed=3)
    split(data=folder, fractions="60/20/20", seed=1)
    manifest = Manifest.read(folder, SPLIT)
    first = manifest.table["bin_image_id"].is_first_distinct().cum_sum() % 5
    shuffled = manifest.table.with_columns(
        split=pl.when(first == 0).then(pl.lit("val")).otherwise(pl.lit("train")).cast(pl.String)
    )
    manifest.with_table(shuffled).write(SPLIT)
    recipe = tiny_recipe(optimizer={"body_lr": 1e-8, "head_lr": 1e-8})
    report = diagnose(recipe=recipe, data=folder, out=tmp_path / "out", checks=["leakage", "rate"], settings=FEW)
    assert report.findings[0].rule == "Leakage"
    assert "Split again" in report.first
    assert report.first in (tmp_path / "out" / PAGE).read_text()


def test_a_rate_far_too_low_is_what_to_mend(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(network={"tune": "head"}, optimizer={"head_lr": 1e-7})
    settings = FEW.model_copy(update={"rate_steps": 100})
    report = diagnose(recipe=recipe, data=data, out=tmp_path, checks=["rate"], settings=settings)
    assert [finding.rule for finding in report.findings] == ["LearningRate"]
    assert report.first.startswith("Set optimizer.head_lr to about ")
    assert report.findings[0].threshold > 1e-5


def test_unknown_checks_and_settings_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no check 'label'.*'labels'"):
        diagnose(recipe=tiny_recipe(), data=data, out=tmp_path, checks=["label"])
    with pytest.raises(ConfigError, match="folds"):
        DiagnoseSettings.of({"folds": 1})


def test_the_package_names_the_verb() -> None:
    assert bintally.diagnose is diagnose


def test_the_command_says_it_in_json_and_in_words(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        'name = "tiny"\n[network]\nbackbone = "test_resnet"\nweights = "none"\ntune = "head"\n'
        '[input]\npx = 64\n[loop]\nbatch_size = 16\nprecision = "fp32"\n'
    )
    arguments = ("diagnose", recipe, "--data", data, "--out", tmp_path / "out", "--only", "leakage")
    assert run_here(monkeypatch, *arguments, "--json") == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=DiagnoseReport)
    assert report.leakage and report.labels is None

    show(report)
    shown = " ".join(capsys.readouterr().err.split())
    assert "0 bins, 0 pairs of neighbours" in shown
    assert f"First: {report.first}" in shown
