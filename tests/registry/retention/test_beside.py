"""What goes beside bundles: predictions, pairs of shadows, what kills have left; and what is left alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.artifacts import write_bytes
from bintally.registry import shadow
from bintally.registry.approval import retire
from bintally.registry.place import Registry
from bintally.registry.registration import register
from bintally.registry.shadow.pairs import PairFile, folder_of
from tests.registry.conftest import MakeBundle
from tests.registry.retention.shelf import DAY_S, HOUR_S, aged, boxed, force, gone, retaining, runs, stocked
from tests.registry.shadow.made import pair, told


def _kinds(registry: Registry) -> list[tuple[str, str]]:
    return [(each.kind, each.what) for each in gone(registry).goes]


def test_registrations_that_were_killed_go_after_an_hour(registry: Registry, bundle: MakeBundle) -> None:
    stocked(registry, bundle, 1)
    young, old = (registry.bundle_of(boxed(registry, text)) for text in ("young", "old"))
    aged(old, HOUR_S + 60)
    copying, killed = (registry.bundles / f".registering-{name}" for name in ("copying", "killed"))
    for folder in (copying, killed):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "model.onnx").write_text("half")
        aged(folder, HOUR_S + 60)
    (copying / "deep" / "model.onnx").touch()
    (registry.bundles / "readme.txt").write_text("somebody's")
    aged(registry.bundles / "readme.txt", 9 * DAY_S)
    assert _kinds(registry) == [
        ("left by a kill", "bundles/.registering-killed"),
        ("unregistered", f"bundles/{old.name}"),
    ]
    assert young.is_dir()
    assert copying.is_dir()
    assert (registry.bundles / "readme.txt").is_file()


def test_a_bundle_that_is_registered_again_is_not_what_a_kill_left(local: Registry, bundle: MakeBundle) -> None:
    stocked(local, bundle, 1)
    made = register(local, bundle("b"), by="rita").version
    aged(local.bundle_of(made.bundle_sha256), 9 * DAY_S)
    assert _kinds(local) == []


def test_half_written_files_go_after_an_hour(local: Registry, bundle: MakeBundle) -> None:
    register(local, bundle("a"), by="rita")
    cards, learnt = local.place / "cards" / "bintally", local.place / "learnt"
    old = [folder / ".x.json.0123456789ab.tmp" for folder in (local.place, cards, learnt)]
    others = [learnt / ".y.parquet.0123456789ab.tmp", cards / ".hidden.tmp"]  # just written; somebody's
    for path in (*old, *others):
        write_bytes(path, b"half")
    for path in (*old, others[1]):
        aged(path, 2 * HOUR_S)
    assert {what for _, what in _kinds(local)} == {f"{path.parent.name}/{path.name}" for path in old}
    assert all(path.is_file() for path in (*others, cards / "1.json"))


def test_predictions_go_with_their_bundle_or_when_they_are_old(local: Registry, bundle: MakeBundle) -> None:
    first, second = stocked(local, bundle, 2)
    retire(local, first.name, by="rita", reason="old")
    folder = local.place / "predictions"
    names = {
        "of a bundle that goes": f"{first.bundle_sha256}-{'1' * 64}.parquet",
        "of no bundle": f"{'f' * 64}-{'1' * 64}.parquet",
        "old": f"{second.bundle_sha256}-{'1' * 64}.parquet",
        "young": f"{second.bundle_sha256}-{'2' * 64}.parquet",
    }
    for name in names.values():
        write_bytes(folder / name, b"...")
    aged(folder / names["old"], 31 * DAY_S)
    assert {what for kind, what in _kinds(local) if kind == "predictions"} == {
        f"predictions/{name}" for what, name in names.items() if what != "young"
    }
    assert [path.name for path in folder.iterdir()] == [names["young"]]


@pytest.fixture
def paired(local: Registry, bundle: MakeBundle) -> Iterator[list[Path]]:
    """Old pairs of 2 and of 3, each beside the champion 1; 3 is in its shadow."""
    made = stocked(local, bundle, 3)
    force(local, "1")
    folders = [folder_of(local.place, version.id, made[0].id) for version in made[1:]]
    for folder in folders:
        file = PairFile(folder / "a.jsonl")
        file.add(pair(1, told(1), told(1)))
        file.close()
        aged(folder, 91 * DAY_S)
    shadow.start(local, "3", by="rita")
    yield folders


def test_pairs_go_when_the_shadow_has_ended_and_they_are_old(local: Registry, paired: list[Path]) -> None:
    ended, under_way = paired
    assert _kinds(local) == [("pairs", f"shadow/{ended.name}")]
    assert not ended.exists()
    shadow.stop(local, by="rita")
    retaining(local, pairs_days=92)
    assert _kinds(local) == []
    retaining(local)
    (under_way / "b.jsonl").touch()
    assert _kinds(local) == []
    (under_way / "b.jsonl").unlink()
    aged(under_way, 91 * DAY_S)
    assert _kinds(local) == [("pairs", f"shadow/{under_way.name}")]


def test_what_a_killed_removal_left_goes_at_once(local: Registry, bundle: MakeBundle) -> None:
    stocked(local, bundle, 1)
    for name in ("bundles", "shadow"):
        (local.place / name / ".removing-0123").mkdir(parents=True)
    assert sorted(_kinds(local)) == [("left by a kill", f"{name}/.removing-0123") for name in ("bundles", "shadow")]


def test_a_service_that_has_said_nothing_for_a_day_is_forgotten(local: Registry, bundle: MakeBundle) -> None:
    [version] = stocked(local, bundle, 1)
    runs(local, "shop", version)
    runs(local, "gone", version)
    [silent] = (local.place / "running").glob("gone*")
    aged(silent, DAY_S + 60)
    assert _kinds(local) == [("silent service", f"running/{silent.name}")]
    assert len(list((local.place / "running").iterdir())) == 1
