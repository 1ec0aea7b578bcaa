"""From photos to thresholds to a check on other photos, through the commands."""

import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from bintally.cli.policy import app
from bintally.errors import BundleError, DataError
from bintally.inventory.policy.acceptance import FILE, Acceptance
from bintally.inventory.policy.check import check_policy
from bintally.inventory.policy.evidence import Evidence, Kind
from bintally.inventory.policy.fit import fit_policy, fitted, one_of_each, wrong_records
from bintally.inventory.policy.report import PolicyReport
from bintally.inventory.policy.settings import ErrorMix
from bintally.manifest import SPLIT, Manifest
from tests.bundles import bin_photo, make_bundle

BINS = 40
FEW = {"sites": 50, "records": 200, "halves": 10, "resamples": 50}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bins of two photos each, as bright as their counts, a little off: half in val, half in test."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "bin-images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(2 * BINS):
        count = int(rng.integers(0, 7))
        for place in range(2):
            name = f"{number:03}{place}"
            path = folder / "bin-images" / f"{name}.png"
            path.write_bytes(bin_photo(count + rng.normal(0, 0.3), seed=number))
            rows.append(
                {
                    "bin_image_id": name,
                    "path": f"bin-images/{name}.png",
                    "recorded_count": count,
                    "quarantine": [],
                    "group": f"g{number:03}",
                    "split": "val" if number < BINS else "test",
                }
            )
            count = max(count + int(rng.integers(-1, 2)), 0)
    Manifest.build(folder, rows).write(SPLIT)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "telling", change=True)


def known(cases: int, *, spread: float, seed: int) -> Evidence:
    """Photos that show a count with errors of `spread`, and are as sure of it as they should be."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, cases)
    seen = counts + rng.normal(0, spread, cases)
    shares = np.exp(-0.5 * np.square((np.arange(1, 6) - seen[:, None]) / spread))
    table = pl.DataFrame(
        {
            "id": [str(n) for n in range(cases)],
            "group": [f"group {n // 2}" for n in range(cases)],
            "kind": ["photo"] * cases,
            "recorded": counts,
            "keys": ["1 2 3 4 5"] * cases,
            "probabilities": (shares / shares.sum(axis=1, keepdims=True)).tolist(),
            "prior": [[0.2] * 5] * cases,
        }
    )
    return Evidence("tiny", "0" * 64, "val", "0" * 64, cases, table)


def test_fit_show_and_check_through_the_commands(data: Path, bundle: Path, tmp_path: Path) -> None:
    run = CliRunner()
    common = ["--bundle", str(bundle), "--data", str(data)]
    made = run.invoke(app, ["fit", *common, "--evidence", str(tmp_path / "val.parquet"), "--json"])
    assert made.exit_code == 0, made.output
    file = msgspec.json.decode((bundle / FILE).read_bytes(), type=Acceptance)
    assert {table.kind for table in file.tables} == {"photo", "change", "followed"}
    assert file.table("photo") is not None
    assert (file.split, file.photos, file.groups) == ("val", 2 * BINS, BINS)
    again = run.invoke(
        app, ["fit", *common, "--evidence", str(tmp_path / "val.parquet"), "--out", str(tmp_path / FILE)]
    )
    assert again.exit_code == 0
    kept = msgspec.json.decode((tmp_path / FILE).read_bytes(), type=Acceptance)
    assert kept.tables == file.tables
    shown = run.invoke(app, ["show", "--bundle", str(bundle), "--json"])
    assert {row["promised"] for row in json.loads(shown.stdout)} == {0.01, 0.02, 0.05, 0.1}
    (tmp_path / "strict.toml").write_text("promised_escape = 0.005\n")
    table = run.invoke(app, ["show", "--bundle", str(bundle), "--settings", str(tmp_path / "strict.toml")])
    assert table.exit_code == 0
    assert "0.5% " in table.stderr.split("20% wrong")[1].split("1% ")[0]
    checked = check_policy(bundle=bundle, data=data, out=tmp_path / "out", **FEW)  # type: ignore[arg-type]
    assert msgspec.json.decode((tmp_path / "out" / "policy.json").read_bytes(), type=PolicyReport) == checked
    page = (tmp_path / "out" / "policy.html").read_text()
    assert "A fixed threshold on P(recorded) instead" in page
    assert page.count("<svg") == 6
    assert [kind.kind for kind in checked.kinds] == ["photo", "photo", "change", "change", "followed", "followed"]


def test_a_table_of_another_split_is_refused(data: Path, bundle: Path, tmp_path: Path) -> None:
    kept = tmp_path / "val.parquet"
    fit_policy(bundle=bundle, data=data, evidence=kept, out=tmp_path / FILE)
    with pytest.raises(DataError, match="on split 'val'"):
        fit_policy(bundle=bundle, data=data, split="test", evidence=kept, out=tmp_path / FILE)
    kept.write_bytes(b"no table")
    with pytest.raises(DataError, match="no table of evidence"):
        fit_policy(bundle=bundle, data=data, evidence=kept, out=tmp_path / FILE)


def test_check_without_an_acceptance_file_says_what_to_do(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no record can be accepted"):
        check_policy(bundle=make_bundle(tmp_path / "bare"), data=data, out=tmp_path / "out", **FEW)  # type: ignore[arg-type]


def test_each_bin_gives_one_case() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    chosen = one_of_each(groups, np.random.default_rng(0))
    assert sorted(groups[chosen]) == [0, 1, 2]
    assert fitted(known(400, spread=0.4, seed=0), ErrorMix(), 0).tables[0].bins == 200


@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_made_records_are_wrong(tolerance: int) -> None:
    counts = np.random.default_rng(1).integers(0, 30, 5000)
    made = wrong_records(counts, ErrorMix(), tolerance, np.random.default_rng(0))
    assert (np.abs(made - counts) > tolerance).all()
    assert made.min() >= 0


def test_promise_is_kept_on_other_photos_of_the_same_kind() -> None:
    """Fitted to many small samples: the escape on a large one is above the promise in at most 5% (and noise)."""
    from bintally.inventory.policy.acceptance import Thresholds
    from bintally.inventory.policy.fit import acceptance_scores

    of = known(20_000, spread=0.5, seed=99).of("photo")
    assert isinstance(of, Kind)
    mix, wrong, promised = ErrorMix(), 0.1, 0.02
    right = acceptance_scores(of, of.recorded_n, mix, derived=False, tolerance=0)
    made = wrong_records(of.recorded_n, mix, 0, np.random.default_rng(5))
    escaped = acceptance_scores(of, made, mix, derived=False, tolerance=0)
    broken, accepted = 0, 0
    for seed in range(60):
        file = fitted(known(1000, spread=0.5, seed=seed), mix, seed)
        threshold = Thresholds(file.thresholds, file.tables[0], 0.95).of(np.array([promised]), np.array([wrong]))[0]
        if np.isnan(threshold):
            continue
        accepted += 1
        share = wrong * (escaped >= threshold).mean()
        broken += share > promised * (share + (1 - wrong) * (right >= threshold).mean())
    assert accepted > 30
    assert broken <= 6
