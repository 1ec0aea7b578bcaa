"""Reconciliation of files, from end to end: each outcome, each output, the promise, and doing nothing twice."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bintally
from bintally.bundle import CARD, read_card
from bintally.counting.pair_figures import blind, normalised
from bintally.errors import BintallyError, ConfigError, UsageError
from bintally.inventory.policy.acceptance import FILE
from bintally.inventory.policy.cases import KINDS, Bar, Cases, draw_of
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.policy.words import verdict_of
from bintally.inventory.reconcile.judged import ALL_OUTCOMES
from bintally.inventory.reconcile.policy import policy_of
from bintally.inventory.reconcile.report import ReconcileReport
from bintally.inventory.reconcile.run import reconcile
from bintally.records import COUNT_KEYS
from tests.bundles import bin_photo, make_bundle
from tests.inventory.reconcile.files import estimate, write_lines

STOCK = """bin,quantity,unit_value,abc,as_of
right,3,10,A,2026-01-01
wrong,4,10,A,2026-01-01
far,9,1,A,2026-01-01
moved,2,10,A,2026-01-03
empty,2,10,A,2026-01-01
alone,2,10,A,2026-01-01
none,2,10,A,2026-01-01
pair,4,10,A,2026-01-01
unconfirmed,4,10,A,2026-01-01
broken,-1,10,A,2026-01-01
"""


def _counts(path: Path) -> Path:
    taken = "2026-01-02T00:00:00Z"
    pair = {"previous": "old.png", "unchanged": 0.5}
    return write_lines(
        path,
        [
            estimate("right", 3, share=0.999, taken_at=taken),
            estimate("wrong", 2, share=0.999, taken_at=taken),
            estimate("far", 6, share=0.999, taken_at=taken),
            estimate("moved", 3, share=0.999, taken_at=taken),
            estimate("empty", 2, share=0.999, abstain="no bin", taken_at=taken),
            estimate("none", 2, probabilities={}, count=None, error="This is not a photo.", taken_at=taken),
            estimate("pair", 4, share=0.999, previous_count=4, taken_at=taken, **pair),
            estimate("unconfirmed", 4, share=0.999, previous_count=None, taken_at=taken, **pair),
            estimate("stranger", 1, taken_at=taken),
            estimate("broken", 1, taken_at=taken),
        ],
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Records and counts in which everything happens."""
    (tmp_path / "stock.csv").write_text(STOCK)
    return {"records": tmp_path / "stock.csv", "counts": _counts(tmp_path / "counts.jsonl")}


def _rows(path: Path) -> dict[str, dict[str, Any]]:
    return {row["bin"]: row for row in pl.read_ndjson(path).to_dicts()}


def test_every_bin_has_an_outcome_and_its_reasons(files: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.jsonl"
    report = reconcile(**files, bundle=bundle, promise=0.1, out=out)
    rows = _rows(out)
    assert {name: row["outcome"] for name, row in rows.items()} == {
        "right": "match",
        "wrong": "mismatch",
        "far": "uncertain",
        "moved": "stale",
        "empty": "uncertain",
        "none": "uncertain",
        "pair": "match",
        "unconfirmed": "uncertain",
        "alone": "no_photo",
        "stranger": "no_record",
        "broken": "no_record",
    }
    assert {name: row["reasons"][-1] for name, row in rows.items() if row["score"] is None} == {
        "empty": "the photo does not show a bin",
        "none": "the photo can't be read",
        "unconfirmed": "the earlier photo's count was not confirmed, so nothing is promised",
        "alone": "there is no photo or count of this bin",
        "stranger": "there is no record of this bin",
        "broken": "this bin's record was rejected",
    }
    assert rows["far"]["reasons"] == [
        "the photo shows 6+ (100%), 9 recorded",
        "9 can't be told from other counts of 6+",
    ]
    assert rows["moved"]["reasons"] == ["stock moved after the photo, so the record is not judged by it"]
    assert (rows["wrong"]["count"], rows["wrong"]["difference"]) == (2, -2)
    assert rows["far"]["difference"] is None  # within the open top nobody knows
    assert [rows[name]["count"] for name in ("empty", "none", "unconfirmed")] == [None, None, 4]
    assert report.outcomes == {"match": 2, "mismatch": 1, "uncertain": 4, "stale": 1, "no_photo": 1, "no_record": 2}
    assert (report.bins, report.judged, report.photos, report.rejected) == (11, 8, 10, 1)
    assert (report.difference.gross, report.difference.net, report.difference.gross_value) == (2, -2, 20.0)
    assert report.worth_a_look[0].bin == "wrong"
    assert report.worth_a_look[0].expected_value == pytest.approx(20, rel=0.05)


_CASE = st.tuples(
    st.lists(st.floats(0.01, 1.0), min_size=len(COUNT_KEYS), max_size=len(COUNT_KEYS)),
    st.integers(0, 8),
    st.sampled_from([None, 0, 3, 7]),
    st.sampled_from([None, 0.5, 400.0]),
    st.sampled_from("ABC"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(cases=st.lists(_CASE, min_size=1, max_size=6))
def test_a_file_is_judged_as_each_case_by_itself(bundle: Path, tmp_path: Path, cases: list[Any]) -> None:
    card = read_card(bundle / CARD)
    assert card.change is not None
    told, stock = [], ["bin,quantity,unit_value,abc"]
    for place, (weights, recorded, earlier, value, abc) in enumerate(cases):
        shares = {key: weight / sum(weights) for key, weight in zip(COUNT_KEYS, weights, strict=True)}
        before = {} if earlier is None else {"previous": "old.png", "previous_count": earlier}
        told.append(estimate(f"B{place}", 1, probabilities=shares, **before))
        stock.append(f"B{place},{recorded},{'' if value is None else value},{abc}")
    (tmp_path / "stock.csv").write_text("\n".join(stock) + "\n")
    counts = write_lines(tmp_path / "counts.jsonl", told)
    out = tmp_path / "result.jsonl"
    reconcile(counts=counts, records=tmp_path / "stock.csv", bundle=bundle, promise=0.1, out=out, force=True)
    rows, policy = _rows(out), policy_of(bundle, None, 0.1)
    for place, (_, recorded, earlier, value, abc) in enumerate(cases):
        shares_k = np.array([list(told[place]["probabilities"].values())], np.float32)
        alone_k = [[card.target_prior[key] for key in COUNT_KEYS]]
        prior_k = np.array(alone_k) if earlier is None else normalised(blind(card.change, [earlier], COUNT_KEYS))
        decided = policy.decide(
            Cases(
                keys=COUNT_KEYS,
                probabilities_nk=shares_k / shares_k.sum(),
                prior_nk=prior_k,
                recorded_n=np.array([recorded]),
                kind_n=np.array([KINDS.index("photo" if earlier is None else "change")], np.uint8),
                wrong_n=np.array([PolicySettings().wrong_records]),
                unit_value_n=np.array([np.nan if value is None else value]),
                class_n=np.array(["ABC".index(abc)], np.uint8),
                derived_n=np.array([False]),
                said_n=np.array([np.nan]),
                bar_n=np.array([Bar.NONE], np.uint8),
                draw_n=np.array([draw_of(f"B{place} photos/B{place}.png {recorded}")], np.uint64),
            )
        )
        row, verdict = rows[f"B{place}"], verdict_of(decided, 0)
        assert row["outcome"] == verdict.outcome
        assert tuple(row["reasons"]) == verdict.reasons
        assert row["score"] == pytest.approx(verdict.score, abs=1e-3)
        assert row["blind_recount"] == verdict.blind_recount


def test_all_kinds_of_files_hold_the_same(files: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"result.{kind}" for kind in ("csv", "jsonl", "parquet", "html")]
    reconcile(**files, bundle=bundle, out=outs)
    table = pl.read_parquet(outs[2])
    csv = pl.read_csv(outs[0])
    assert csv.columns == table.columns
    assert csv["outcome"].to_list() == table["outcome"].to_list()
    assert csv["reasons"].to_list() == ["; ".join(reasons) for reasons in table["reasons"].to_list()]
    assert csv["taken_at"][0] == "2026-01-02T00:00:00Z"
    assert pl.read_ndjson(outs[1])["expected_off"].to_list() == table["expected_off"].to_list()
    assert set(table["outcome"]) <= set(ALL_OUTCOMES)
    assert (tmp_path / "result.rejected.csv").read_text().splitlines()[1:] == [
        f"{files['records']},11,quantity,-1,a bin can't hold less than nothing"
    ]


def test_the_same_is_not_done_twice_unless_something_changed(
    files: dict[str, Any], bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "result.csv"
    asked: dict[str, Any] = {**files, "bundle": bundle, "out": out}

    def done(**changes: Any) -> tuple[bool, int]:
        time.sleep(0.01)  # so that a file written anew has another time
        return reconcile(**(asked | changes)).is_repeated, out.stat().st_mtime_ns

    first = done()
    second = done()
    assert (first[0], second) == (False, (True, first[1]))
    assert not done(force=True)[0]
    assert not done(promise=0.2)[0]
    assert not done()[0]
    out.write_text("edited")
    assert not done()[0]
    assert out.read_text() != "edited"
    files["records"].write_text(STOCK.replace("-1", "1"))
    changed = reconcile(**asked)
    assert (changed.is_repeated, changed.rejected) == (False, 0)
    assert not (tmp_path / "result.rejected.csv").exists()


def test_plain_counts_are_compared_but_never_accepted(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "stock.csv").write_text("bin,quantity\nA,3\nB,3\n")
    (tmp_path / "counts.csv").write_text("bin,count\nA,3\nB,1\n")
    out = tmp_path / "result.jsonl"
    report = reconcile(records=tmp_path / "stock.csv", counts=tmp_path / "counts.csv", bundle=bundle, out=out)
    rows = _rows(out)
    assert {row["outcome"] for row in rows.values()} == {"uncertain"}
    assert [rows[name]["difference"] for name in "AB"] == [0, -2]
    assert rows["B"]["reasons"] == [
        "1 counted; 3 recorded",
        "nothing can be promised of a count without probabilities",
    ]
    assert report.promise is None
    assert report.notes[0].startswith("Plain counts have no probabilities")
    assert report.worth_a_look[0].bin == "B"


def test_without_an_acceptance_file_nothing_is_accepted(files: dict[str, Any], tmp_path: Path) -> None:
    report = reconcile(**files, bundle=make_bundle(tmp_path / "bare", change=True))
    assert (report.outcomes["match"], report.promise) == (0, None)
    assert any("bintally policy fit" in note for note in report.notes)
    assert not any("Promise less" in note for note in report.notes)  # no promise helps


def test_counts_of_fewer_counts_are_not_what_was_promised_for(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "stock.csv").write_text("bin,quantity\nA,1\n")
    counts = write_lines(tmp_path / "c.jsonl", [estimate("A", 1, probabilities={"1": 0.999, "2": 0.001})])
    report = reconcile(records=tmp_path / "stock.csv", counts=counts, bundle=bundle)
    assert report.outcomes["match"] == 0
    assert report.notes[0].startswith("Only the counts 1 2 were asked about")


def test_a_promise_that_no_score_keeps_is_said(files: dict[str, Any], bundle: Path) -> None:
    report = reconcile(**files, bundle=bundle, promise=1e-6)
    assert report.outcomes["match"] == 0
    assert any("No score keeps a promise of 0.0001%" in note for note in report.notes)


def test_photos_are_counted_first_and_go_on_where_they_stopped(bundle: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, count in (("A", 3), ("B", 4), ("C", 1)):
        (photos / f"{name}.png").write_bytes(bin_photo(count))
    (tmp_path / "stock.csv").write_text("bin,quantity\nA,3\nB,1\nC,1\n")
    asked: dict[str, Any] = {"photos": photos, "records": tmp_path / "stock.csv", "bundle": bundle, "promise": 0.1}
    out, counts = tmp_path / "result.jsonl", tmp_path / "result.counts.jsonl"
    first = reconcile(**asked, out=out)
    assert {name: row["count"] for name, row in _rows(out).items()} == {"A": 3, "B": 4, "C": 1}
    assert first.outcomes["match"] == 2
    assert reconcile(**asked, out=out).is_repeated
    # A run killed after one photo: its line stays as it is, the others are counted.
    told = [json.loads(line) for line in counts.read_text().splitlines()]
    counts.write_text(json.dumps({**told[0], "timings": {"decode_ms": 1234.0, "inference_ms": 1.0}}) + '\n{"path": "t')
    assert reconcile(**asked, out=out).outcomes == first.outcomes
    assert '"decode_ms": 1234.0' in counts.read_text()
    assert len(counts.read_text().splitlines()) == 3
    # A photo that was taken away is not judged by its old count, one that was overwritten is counted anew.
    (photos / "C.png").unlink()
    (photos / "A.png").write_bytes(bin_photo(5, seed=1))
    reconcile(**asked, out=out)
    rows = _rows(out)
    assert (rows["A"]["count"], rows["C"]["outcome"]) == (5, "no_photo")
    assert '"decode_ms": 1234.0' not in counts.read_text()


def test_photos_beside_earlier_ones(bundle: Path, tmp_path: Path) -> None:
    for name, count in (("old", 3), ("new", 4)):
        (tmp_path / f"{name}.png").write_bytes(bin_photo(count))
    (tmp_path / "stock.csv").write_text("bin,quantity\nnew,4\n")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("path,previous,previous_count\nnew.png,old.png,3\n")
    out = tmp_path / "result.jsonl"
    asked: dict[str, Any] = {"pairs": pairs, "records": tmp_path / "stock.csv", "bundle": bundle, "out": out}
    reconcile(**asked)
    before = _rows(out)["new"]
    assert (before["evidence"], before["count"]) == ("change", 4)
    pairs.write_text("path,previous,previous_count\nnew.png,old.png,5\n")  # confirmed to be another count
    reconcile(**asked)
    assert _rows(out)["new"]["score"] != before["score"]


def test_counts_of_another_model_are_refused(files: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", name="other")
    with pytest.raises(UsageError, match="counted by tiny, but the bundle is other"):
        reconcile(**files, bundle=other)
    beside = files["counts"].with_name("counts.jsonl.settings.json")
    beside.write_text('{"model": "tiny", "model_sha256": "1234"}')
    with pytest.raises(UsageError, match="counted by another model"):
        reconcile(**files, bundle=bundle)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"counts": None}, ConfigError, "give either photos, pairs or counts"),
        ({"photos": "x"}, ConfigError, "give either photos, pairs or counts"),
        ({"promise": 1.5}, ConfigError, "promise"),
        ({"out": "x.xlsx"}, UsageError, "no known suffix"),
        ({"out": ("x.csv", "./x.csv")}, ConfigError, "named twice"),
        ({"records": "nowhere.csv"}, UsageError, "There is no nowhere.csv"),
    ],
)
def test_what_makes_no_sense_is_refused(
    files: dict[str, Any], bundle: Path, changes: dict[str, Any], error: type[BintallyError], says: str
) -> None:
    with pytest.raises(error, match=says):
        reconcile(**(files | {"bundle": bundle} | changes))


def test_an_acceptance_file_of_another_model_is_refused(files: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny", change=True, height_px=40)
    shutil.copy(bundle / FILE, folder / FILE)
    with pytest.raises(BintallyError, match="another model"):
        reconcile(**files, bundle=folder)


@pytest.mark.parametrize("name", ["records", "counts"])
def test_what_is_read_is_not_written_over(files: dict[str, Any], bundle: Path, tmp_path: Path, name: str) -> None:
    """Once `--out stock.csv` put verdicts in the place of the stock records."""
    before = files[name].read_bytes()
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match="is read, so it is not written over"):
        reconcile(**files, bundle=bundle, out=tmp_path / "sub" / ".." / files[name].name)
    assert files[name].read_bytes() == before


def test_bins_that_are_called_otherwise_in_records_and_counts_are_told(bundle: Path, tmp_path: Path) -> None:
    """Once bins "1" of a Parquet file beside "00001" of the photos were 50 without photo and 50 without record."""
    pl.DataFrame({"bin": [1, 2], "quantity": [3, 3]}).write_parquet(tmp_path / "stock.parquet")
    counts = write_lines(tmp_path / "counts.jsonl", [estimate("00001", 3), estimate("00002", 3)])
    report = reconcile(records=tmp_path / "stock.parquet", counts=counts, bundle=bundle)
    assert "No bin has both: records call bins such as '1', photos or counts such as '00001'." in report.notes
    pl.DataFrame({"bin": ["00001", "2"], "quantity": [3, 3]}).write_parquet(tmp_path / "stock.parquet")
    report = reconcile(records=tmp_path / "stock.parquet", counts=counts, bundle=bundle)
    assert not any("No bin has both" in note for note in report.notes)


def test_it_is_a_name_at_the_top_of_the_package(files: dict[str, Any], bundle: Path) -> None:
    report = bintally.reconcile(**files, bundle=bundle)
    assert isinstance(report, ReconcileReport)
    assert set(report.stages_s) == {
        "count",
        "look whether it was done",
        "read records",
        "read counts",
        "decide",
        "write",
    }
