"""A record that comes with a photo and no bin is judged as files are."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from bintally.counting.counter import Counter
from bintally.errors import BundleError, ConfigError
from bintally.inventory.policy.acceptance import FILE
from bintally.inventory.reconcile.run import reconcile
from bintally.serving.bins.recorded import RecordJudge
from tests.bundles import bin_photo, make_bundle, no_bin_pixels


def no_bin() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(no_bin_pixels()).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_verdict_is_the_one_of_reconcile(counter: Counter, bundle: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("recount_share = 0.0\n")  # who is drawn by lot depends on names, which files have
    shown = [0.0, 1.0, 2.4, 2.5, 3.0, 3.6, 5.2, 6.0]
    photos = {f"bin-{count}": bin_photo(count) for count in shown} | {"none": no_bin()}
    judge, asked = RecordJudge(policy), []
    counts, records = tmp_path / "counts.jsonl", tmp_path / "records.csv"
    lines, rows = [], ["bin,quantity"]
    for name, photo in photos.items():
        estimate = counter.count(photo)
        for recorded in (0, 2, 3, 5, 6, 9):
            told = json.loads(estimate.to_json()) | {"bin": f"{name} {recorded}"}
            lines.append(json.dumps(told))
            rows.append(f"{name} {recorded},{recorded}")
            asked.append((f"{name} {recorded}", judge.verdict(counter, photo, estimate, recorded)))
    counts.write_text("\n".join(lines))
    records.write_text("\n".join(rows))
    reconcile(records=records, counts=counts, bundle=bundle, policy=policy, out=tmp_path / "out.jsonl")
    judged = {line["bin"]: line for line in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    outcomes = set()
    for name, verdict in asked:
        line = judged[name]
        assert (verdict.outcome, list(verdict.reasons)) == (line["outcome"], line["reasons"]), name
        for field in ("right", "prior_right", "score", "threshold", "promised"):
            ours, theirs = getattr(verdict, field), line[field]
            assert (ours is None) == (theirs is None), (name, field)
            assert ours is None or ours == pytest.approx(theirs, abs=1e-4), (name, field)
        outcomes.add(verdict.outcome)
    assert outcomes == {"match", "mismatch", "uncertain"}


def test_nothing_is_promised_of_some_counts_only(counter: Counter) -> None:
    photo = bin_photo(3)
    assert RecordJudge().verdict(counter, photo, counter.count(photo), 3).outcome == "match"
    verdict = RecordJudge().verdict(counter, photo, counter.restricted("1-5").count(photo), 3)
    assert verdict.outcome == "uncertain"
    assert "nothing is promised" in verdict.reasons[1]


def test_a_photo_of_no_bin_judges_nothing(counter: Counter) -> None:
    photo = no_bin()
    verdict = RecordJudge().verdict(counter, photo, counter.count(photo), 3)
    assert (verdict.outcome, verdict.count, verdict.reasons) == ("uncertain", None, ("the photo does not show a bin",))


def test_a_model_without_an_acceptance_file_accepts_nothing(tmp_path: Path) -> None:
    other = Counter(make_bundle(tmp_path / "other"), threads=1)
    photo = bin_photo(3)
    assert RecordJudge().verdict(other, photo, other.count(photo), 3).outcome == "uncertain"


def test_the_same_photo_and_record_are_always_drawn_alike(counter: Counter, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("recount_share = 0.5\n")
    photos = [bin_photo(3, seed=seed) for seed in range(20)]
    drawn = [RecordJudge(policy).verdict(counter, each, counter.count(each), 3).blind_recount for each in photos]
    again = [RecordJudge(policy).verdict(counter, each, counter.count(each), 3).blind_recount for each in photos]
    assert drawn == again
    assert set(drawn) == {True, False}


def test_wrong_settings_and_a_damaged_acceptance_file_are_told(counter: Counter, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("promise = 1\n")
    with pytest.raises(ConfigError):
        RecordJudge(policy).policies(counter)
    other = Counter(make_bundle(tmp_path / "other"), threads=1)
    (other.bundle.folder / FILE).write_text("{")
    with pytest.raises(BundleError, match="acceptance"):
        RecordJudge().policies(other)
