"""All gates on real models, photos and registries."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from bintally.errors import DataError
from bintally.manifest import SPLIT, Manifest
from bintally.registry import gates
from bintally.registry.gate_runs import keep, last_against
from bintally.registry.gates import GateOutcome, GateResult, PromoteSettings
from bintally.registry.gates.frozen import Frozen
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from tests.databases import new_registry
from tests.registry.gates.shelves import BLIND, GOOD, LESS_GOOD, SURE, resplit, shelf, version, with_lineage

_LOOSE = {"slower": 50.0, "slower_p95": 100.0, "photos": 20}  # a busy machine's clock decides nothing here


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shelf(tmp_path_factory.mktemp("shelf") / "data")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with new_registry(tmp_path / "registry") as made:
        yield made


def _settings(**sections: object) -> PromoteSettings:
    return PromoteSettings.of({"speed": _LOOSE} | sections)


def _gate(outcome: GateOutcome, name: str) -> GateResult:
    return next(gate for gate in outcome.gates if gate.gate == name)


def _failed(outcome: GateOutcome) -> list[str]:
    return [gate.gate for gate in outcome.failed]


def test_a_better_model_passes_all_gates_and_what_they_said_is_kept(
    data: Path, registry: Registry, tmp_path: Path
) -> None:
    champion = version(registry, tmp_path / "a", SURE, learnt=data)
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data)
    outcome = gates.run(registry, candidate, champion, data, _settings())
    assert outcome.passed, outcome.sentence
    better = _gate(outcome, "better")
    assert better.p is not None
    assert better.p <= 0.05
    assert better.figure is not None
    assert better.figure.low > 0
    assert "Better: log loss is" in better.reason
    assert outcome.figures["candidate"]["log_loss"].value < outcome.figures["champion"]["log_loss"].value
    assert outcome.figures["blind"]["accuracy"].value < 0.5
    with registry.write() as connection:
        keep(connection, outcome, by="rita")
    with registry.read() as connection:
        kept = last_against(connection, candidate.id, champion.id)
    assert kept is not None
    assert msgspec.convert(kept.body, GateOutcome) == outcome
    assert GateOutcome.from_json(outcome.to_json()) == outcome


def test_what_the_gates_say_decides_a_promotion(data: Path, registry: Registry, tmp_path: Path) -> None:
    first = version(registry, tmp_path / "a", LESS_GOOD, learnt=data)
    promote(registry, first.name, force_reason="the first one", by="rita")
    worse, better = (version(registry, tmp_path / str(how), how, learnt=data) for how in (SURE, GOOD))
    said = [gates.run(registry, each, first, data, _settings()) for each in (worse, better)]
    done = [promote(registry, outcome.version, gates=outcome, by="rita").promoted for outcome in said]
    assert done == [False, True]


def test_the_same_network_again_is_not_better(data: Path, registry: Registry, tmp_path: Path) -> None:
    champion = version(registry, tmp_path / "a", GOOD, learnt=data)
    again = version(registry, tmp_path / "b", GOOD, learnt=data, name="again")
    outcome = gates.run(registry, again, champion, data, _settings(better={"cheaper": False}))
    assert _failed(outcome) == ["better"]
    assert _gate(outcome, "better").p == 1.0


def test_a_model_that_is_too_sure_is_not_better_and_not_calibrated(
    data: Path, registry: Registry, tmp_path: Path
) -> None:
    champion = version(registry, tmp_path / "a", GOOD, learnt=data)
    candidate = version(registry, tmp_path / "b", SURE, learnt=data)
    outcome = gates.run(registry, candidate, champion, data, _settings())
    assert {"better", "calibration"} <= set(_failed(outcome))
    assert "calibration error" in _gate(outcome, "calibration").reason
    assert "better: Not shown to be better" in outcome.sentence


def test_the_first_version_must_beat_who_never_looks(data: Path, registry: Registry, tmp_path: Path) -> None:
    outcome = gates.run(registry, version(registry, tmp_path / "a", GOOD, learnt=data), None, data, _settings())
    assert outcome.passed, outcome.sentence
    assert "beside the blind answer" in _gate(outcome, "better").reason
    blind = gates.run(registry, version(registry, tmp_path / "b", BLIND, learnt=data), None, data, _settings())
    assert "better" in _failed(blind)


def test_photos_of_bins_that_either_model_learnt_from_are_left_out(
    data: Path, registry: Registry, tmp_path: Path
) -> None:
    """An earlier champion's train may hold what is test today: on those it only remembers."""
    test_bins = sorted(set(Manifest.read(data, SPLIT).usable("test")["group"].drop_nulls()))
    half = dict.fromkeys(test_bins[::2], "train")
    champion = version(registry, tmp_path / "a", LESS_GOOD, learnt=resplit(data, tmp_path / "earlier", half))
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data)
    outcome = gates.run(registry, candidate, champion, data, _settings(unseen={"min_photos": 20}))
    test = Manifest.read(data, SPLIT).usable("test")
    left = test.filter(~pl.col("group").is_in(list(half))).height
    assert 0 < left < test.height
    assert (outcome.judged.photos, outcome.judged.left_out) == (left, test.height - left)
    assert _gate(outcome, "unseen").passed
    too_few = gates.run(registry, candidate, champion, data, _settings(unseen={"min_photos": left + 1}))
    assert {"unseen", "better", "slices", "calibration"} <= set(_failed(too_few))
    assert "too few" in _gate(too_few, "better").reason


def test_a_photo_is_known_again_by_its_bytes_or_its_look_and_its_whole_bin_is_left_out() -> None:
    photos = pl.DataFrame(
        {
            "bin_image_id": list("abcdef"),
            "sha256": list("ABCDEF"),
            "dhash": pl.Series([1, 2, 3, None, None, 6], dtype=pl.UInt64),
            "group": ["x", "x", "y", "z", "z", "w"],
            "recorded_count": [1] * 6,
        }
    )
    frozen = Frozen(Path("data"), "test", photos, photos)
    by_bytes = pl.DataFrame({"sha256": ["A"], "dhash": pl.Series([None], dtype=pl.UInt64)})
    by_look = pl.DataFrame({"sha256": ["other"], "dhash": pl.Series([3], dtype=pl.UInt64)})
    left = frozen.without([by_bytes, by_look])
    assert left.table["bin_image_id"].to_list() == ["d", "e", "f"]
    assert frozen.without([by_bytes.clear()]).table.equals(photos)
    assert left.fingerprint() != frozen.fingerprint()


def test_a_candidate_that_learnt_nobody_knows_what_fails_and_such_a_champion_is_only_named(
    data: Path, registry: Registry, tmp_path: Path
) -> None:
    unknown = version(registry, tmp_path / "a", SURE, learnt=None)
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data)
    outcome = gates.run(registry, candidate, unknown, data, _settings())
    assert outcome.passed, outcome.sentence
    assert "of the champion it is not known" in _gate(outcome, "unseen").reason
    other_way = gates.run(registry, unknown, candidate, data, _settings())
    assert "unseen" in _failed(other_way)
    said = gates.run(registry, unknown, candidate, data, _settings(unseen={"unknown": "say"}))
    assert _gate(said, "unseen").passed


def test_another_contract_is_refused(data: Path, registry: Registry, tmp_path: Path) -> None:
    champion = version(registry, tmp_path / "a", SURE, learnt=data, change=True)
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data, keys=("0", "1", "2", "3", "4"), novelty=False)
    outcome = gates.run(registry, candidate, champion, data, _settings())
    reason = _gate(outcome, "contract").reason
    assert not _gate(outcome, "contract").passed
    assert all(word in reason for word in ("tells counts 0, 1, 2, 3, 4", "compare photos", "show no bin"))
    assert outcome.judged.keys == ("0", "1", "2", "3", "4")  # what can be compared still is


def test_another_licence_is_refused_unless_it_is_allowed(data: Path, registry: Registry, tmp_path: Path) -> None:
    champion = version(registry, tmp_path / "a", SURE, learnt=data)
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data, licence="CC BY-NC-SA 3.0 US")
    assert "licence" in _failed(gates.run(registry, candidate, champion, data, _settings()))
    allowed = _settings(licence={"allowed": ["CC BY", "CC0"]})
    assert gates.run(registry, candidate, champion, data, allowed).passed


def test_a_critical_finding_is_refused(data: Path, registry: Registry, tmp_path: Path) -> None:
    champion = version(registry, tmp_path / "a", SURE, learnt=data)
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data)
    asked = PromoteSettings.of({"gates": ["findings"]})

    def said(**facts: object) -> GateResult:
        return gates.run(registry, with_lineage(candidate, **facts), champion, data, asked).gates[0]

    broken = {"rule": "ExplodingTensor", "message": "loss is nan."}
    assert said(findings=[broken]).reason == "ExplodingTensor: loss is nan."
    assert not said(findings=[broken]).passed
    assert said(findings=[{"rule": "Overfit", "message": "..."}]).passed
    assert said(findings=[]) == GateResult(
        gate="findings", passed=True, reason="Its training was watched, and no rule fired."
    )
    assert not said(findings=[], training={"best": {"accuracy": 0.2}, "blind_accuracy": 0.25}).passed


def test_a_training_that_nobody_watched_is_not_one_without_findings(
    data: Path, registry: Registry, tmp_path: Path
) -> None:
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data)

    def said(unwatched: str, **facts: object) -> GateResult:
        asked = PromoteSettings.of({"gates": ["findings"], "findings": {"unwatched": unwatched}})
        return gates.run(registry, with_lineage(candidate, **facts), None, data, asked).gates[0]

    assert PromoteSettings().findings.unwatched == "fail"
    for unwatched in ("fail", "say"):
        for training, why in (({"epochs": 2}, "no rule watched its training"), (None, "without its training's run")):
            told = said(unwatched, findings=None, training=training)
            assert told.reason.startswith("Not judged: ")
            assert why in told.reason
            assert told.passed == (unwatched == "say")


def test_a_size_beyond_the_limit_is_refused(data: Path, registry: Registry, tmp_path: Path) -> None:
    champion = version(registry, tmp_path / "a", SURE, learnt=data)
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data)
    large = msgspec.structs.replace(candidate, bundle_bytes=2 * champion.bundle_bytes)
    outcome = gates.run(registry, large, champion, data, PromoteSettings.of({"gates": ["size"]}))
    assert outcome.gates[0].reason.endswith("2.00 times the champion's: at most 1.5 times is allowed.")
    absolute = PromoteSettings.of({"gates": ["size"], "size": {"most_mb": 0.001, "larger": 9}})
    assert not gates.run(registry, candidate, None, data, absolute).passed


def test_a_champion_is_not_counted_again_each_night(registry: Registry, tmp_path: Path) -> None:
    data = shelf(tmp_path / "data", photos=60)
    champion = version(registry, tmp_path / "a", SURE, learnt=data)
    candidate = version(registry, tmp_path / "b", GOOD, learnt=data)
    asked = _settings(unseen={"min_photos": 20}, gates=["better", "calibration"])
    first = gates.run(registry, candidate, champion, data, asked)
    kept = sorted((registry.place / "predictions").iterdir())
    assert [path.name[:64] for path in kept] == sorted((candidate.bundle_sha256, champion.bundle_sha256))
    shutil.rmtree(data / "bin-images")
    assert gates.run(registry, candidate, champion, data, asked) == first
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # damaged: counted again, and that needs photos
    with pytest.raises(DataError, match="could be read"):
        gates.run(registry, candidate, champion, data, asked)


def test_a_split_without_photos_is_an_error_that_says_so(registry: Registry, tmp_path: Path) -> None:
    data = shelf(tmp_path / "data", photos=20)
    table = Manifest.read(data, SPLIT).table.with_columns(split=pl.lit("train"))
    Manifest(data, table, name=SPLIT).write(SPLIT)
    with pytest.raises(DataError, match="no photo with a count in 'test'"):
        gates.run(registry, version(registry, tmp_path / "a", GOOD, learnt=data), None, data)
