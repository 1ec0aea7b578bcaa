"""Night after night with a real registry: registered, judged, promoted or not; a person's word stands above it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bintally.data.rendered import render_source
from bintally.errors import ConfigError, ConflictError, UsageError
from bintally.manifest import SPLIT, Manifest
from bintally.pipeline import PipelineReport, StageResult, run_pipeline
from bintally.pipeline.records import read_records
from bintally.registry.aliases import CHAMPION, history
from bintally.registry.approval import approve, reject
from bintally.registry.card.kept import card_of
from bintally.registry.gate_runs import gate_runs
from bintally.registry.place import Registry
from bintally.registry.promotion import promoting
from bintally.registry.rollback import rollback
from bintally.registry.versions import versions
from tests.conftest import run_here
from tests.databases import new_registry
from tests.pipeline.conftest import quick_recipe

EASY: dict[str, Any] = {"gates": ("contract", "unseen", "size"), "unseen": {"min_photos": 20}}
"""Gates that any model passes: what they say is not these tests' business."""

STRICT: dict[str, Any] = {**EASY, "gates": ("contract", "unseen", "better")}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return _registry(tmp_path / "registry")


def _registry(place: Path, **settings: str) -> Path:
    """A registry that tells MLflow nothing: `test_tracking` does."""
    new_registry(place).close()
    told = {"tracking": "off", **settings}
    (place / "registry.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in told.items()))
    return place


def _night(
    workspace: Path, source: Path, registry: Path, promote: dict[str, Any] = EASY, **sections: Any
) -> PipelineReport:
    recipe = quick_recipe(promote=promote, **sections)
    return run_pipeline(recipe=recipe, source=str(source), workspace=workspace, registry=registry, by="night")


def _reasons(report: PipelineReport) -> dict[str, str]:
    return {result.stage: result.reason for result in report.stages}


def _said(report: PipelineReport) -> tuple[bool | None, str | None, str | None]:
    return report.promoted, report.version, report.champion


@pytest.fixture
def bucket(source: Path) -> Iterator[Path]:
    """The photos that the workspace is of, to be added to: what is new goes with the test."""
    before = set(source.rglob("*"))
    yield source
    for path in set(source.rglob("*")) - before:
        path.unlink()


def test_nights_end_well(workspace: Path, bucket: Path, registry: Path, tmp_path: Path) -> None:
    first = _night(workspace, bucket, registry)
    assert _said(first) == (True, "bintally/1", "bintally/1")

    quiet = _night(workspace, bucket, registry)
    assert _said(quiet) == (False, "bintally/1", "bintally/1")
    assert _reasons(quiet)["promote"] == "skipped: bintally/1 is the champion already"
    assert {result.status for result in quiet.stages} == {"unchanged", "skipped"}

    equal = _night(workspace, bucket, registry, STRICT, export={"licence": "mine"})
    assert _said(equal) == (False, "bintally/2", "bintally/1")
    assert _reasons(equal)["promote"] == "skipped: The gates did not let bintally/2 through."
    again = _night(workspace, bucket, registry, STRICT, export={"licence": "mine"})
    assert _reasons(again)["gates"].startswith("skipped: nothing changed since")
    assert _said(again) == (False, "bintally/2", "bintally/1")

    before = _splits(workspace)
    _add_photos(bucket, tmp_path)
    grown = _night(workspace, bucket, registry)
    assert _said(grown) == (True, "bintally/3", "bintally/3")
    assert {known: _splits(workspace)[known] for known in before} == before
    fetched = grown.stages[0].report
    assert fetched is not None
    assert (fetched["fetched"], fetched["reused"]) == (15, 120)

    _roll_back(registry)
    refused = _night(workspace, bucket, registry)
    assert _said(refused) == (False, "bintally/3", "bintally/1")
    assert _reasons(grown)["promote"] != "ran: for the first time"
    assert "mia rolled back from bintally/3" in _reasons(refused)["promote"]
    assert "counts look odd" in _reasons(refused)["promote"]
    renamed = _night(workspace, bucket, registry, export={"licence": "another"})
    assert _said(renamed) == (False, "bintally/4", "bintally/1"), "nor under another number"
    assert "same network" in _reasons(renamed)["promote"]

    with Registry.open(registry) as opened, opened.read() as connection:
        kinds = [change.kind for change in history(connection, "bintally", CHAMPION)]
        assert kinds == ["promote", "promote", "rollback"]
        [second] = [version for version in versions(connection) if version.number == 2]
        assert len(gate_runs(connection, second.id)) == 1, "heard once, kept once"
        assert card_of(opened, second).evaluation is not None, "what the run found is in its card"
    nights = read_records(workspace)[:-1]  # one was before there was a registry
    assert [record.promoted for record in nights] == [False, False, True, False, False, False, True]


def _splits(workspace: Path) -> dict[str, str | None]:
    table = Manifest.read(workspace / "data", SPLIT).table
    return dict(table.select("bin_image_id", "split").iter_rows())


def _add_photos(bucket: Path, tmp_path: Path) -> None:
    """15 more photos of the same warehouse."""
    more = render_source(tmp_path / "more", photos=135, seed=5)
    for path in more.glob("*/*"):
        here = bucket / path.relative_to(more)
        if not here.exists():
            shutil.copyfile(path, here)


def _roll_back(registry: Path) -> None:
    with Registry.open(registry) as opened:
        rollback(opened, by="mia", reason="counts look odd")


def test_what_a_person_rejected_is_not_promoted(workspace: Path, source: Path, registry: Path) -> None:
    _night(workspace, source, registry, {**EASY, "gates": ("better",)})  # no better than blind
    with Registry.open(registry) as opened:
        reject(opened, "bintally/1", by="mia", reason="not on my shelves")
    told = _night(workspace, source, registry)
    assert _said(told) == (False, "bintally/1", None)
    assert _reasons(told)["promote"] == "skipped: bintally/1 is Rejected"


def test_a_registry_that_wants_a_persons_word_waits_for_it(workspace: Path, source: Path, tmp_path: Path) -> None:
    registry = _registry(tmp_path / "registry", approval="manual")
    waiting = _night(workspace, source, registry)
    assert _said(waiting) == (False, "bintally/1", None)
    assert "models approve" in _reasons(waiting)["promote"]
    with Registry.open(registry) as opened:
        approve(opened, "bintally/1", by="mia")
    assert _said(_night(workspace, source, registry)) == (True, "bintally/1", "bintally/1")


def test_a_run_killed_between_gates_and_promotion_is_finished_by_the_next(
    workspace: Path, source: Path, registry: Path
) -> None:
    def killed(result: StageResult) -> None:
        if result.stage == "gates":
            raise KeyboardInterrupt

    recipe = quick_recipe(promote=EASY)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(
            recipe=recipe, source=str(source), workspace=workspace, registry=registry, by="night", on_stage=killed
        )
    assert read_records(workspace)[0].status == "stopped"
    assert _said(_night(workspace, source, registry)) == (True, "bintally/1", "bintally/1")


def test_a_registry_that_lost_the_version_gets_it_again(workspace: Path, source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        _registry(tmp_path / name)
    _night(workspace, source, tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "kept")
    (tmp_path / "two").rename(tmp_path / "one")
    told = _night(workspace, source, tmp_path / "one")
    assert _reasons(told)["register"] == "ran: the registry does not have it"
    assert _said(told) == (True, "bintally/1", "bintally/1")


def test_while_somebody_else_promotes_the_run_says_who(workspace: Path, source: Path, registry: Path) -> None:
    with (
        Registry.open(registry) as opened,
        promoting(opened, by="mia"),
        pytest.raises(ConflictError, match="Stage 'gates' stopped the run: mia is at it"),
    ):
        _night(workspace, source, registry)
    assert _said(_night(workspace, source, registry))[0] is True


def test_what_cant_end_well_is_said_before_anything_is_trained(source: Path, registry: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no registry"):
        _night(tmp_path / "w", source, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"judges on test, and \[split\] fractions = '80/20' leaves none"):
        _night(tmp_path / "w", source, registry, split={"fractions": "80/20"})
    assert not (tmp_path / "w" / "data").exists()
    assert read_records(tmp_path / "w") == []


def test_the_command_tells_and_ends_as_it_was_asked_to(workspace: Path, source: Path, registry: Path) -> None:
    run = ("pipeline", "run", _recipe_file(workspace.parent), "--source", source, "--workspace", workspace, "--promote")
    nowhere = run_here(*run, env={"BINTALLY_REGISTRY": ""})
    assert (nowhere.returncode, "--registry PLACE" in nowhere.stderr) == (2, True)
    told = run_here(*run, "--as", "cron", "--json", "--fail-if-not-promoted", env={"BINTALLY_REGISTRY": str(registry)})
    assert told.returncode == 1, told.stderr
    report = json.loads(told.stdout)
    assert (report["promoted"], report["version"], report["champion"]) == (False, "bintally/1", None)
    assert read_records(workspace)[0].by == "cron"
    person = run_here(*run, "--registry", registry, env={"COLUMNS": "160"})
    assert person.returncode == 0, "no better is no error"
    assert "skipped: The gates did not let bintally/1 through." in person.stderr
    assert "not promoted" in person.stderr


def _recipe_file(folder: Path) -> Path:
    """`quick_recipe`, with gates that an untrained network does not pass."""
    recipe = folder / "tiny.toml"
    recipe.write_text(
        'name = "tiny"\n[split]\nfractions = "60/20/20"\nseed = 1\n[network]\nbackbone = "test_resnet"\n'
        'weights = "none"\n[input]\npx = 64\ncache_px = 72\n[loop]\nepochs = 1\nbatch_size = 16\n'
        'precision = "fp32"\n[optimizer]\nbody_lr = 2e-3\nhead_lr = 2e-3\n[evaluate]\nresamples = 100\n'
        'gallery = 2\n[promote]\ngates = ["better"]\n'
    )
    return recipe
