"""MLflow's model registry shows what ours says, after the fact, whatever it missed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bintally.errors import ConflictError
from bintally.registry.approval import reject
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.registration import register
from bintally.registry.rollback import rollback
from bintally.registry.shadow.running import start, stop
from bintally.registry.tracking import log, mirror
from bintally.registry.tracking.mirror import OWNER_TAG, STATE_TAG, VERSION_TAG
from tests.registry.tracking.tracked import World, asked
from tests.registry.worlds import promoted, registered

MakeBundle = Callable[[str], Path]


def _shown(registry: Registry, model: str = "bintally") -> tuple[dict[str, str], dict[str, str]]:
    """What MLflow's model registry says: states and aliases, by our names of versions."""
    with asked(registry) as client:
        found = client.search_model_versions(f"name = '{model}'")
        names = {str(each.version): each.tags[VERSION_TAG] for each in found}
        states = {each.tags[VERSION_TAG]: each.tags[STATE_TAG] for each in found}
        aliases = client.get_registered_model(model).aliases
    return states, {alias: names[str(number)] for alias, number in aliases.items()}


def test_versions_states_and_aliases_are_mirrored(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"), bundle("b"))
    promoted(registry, "1")
    told = mirror(registry)
    assert told.changes == ("bintally/1 added", "bintally/2 added", "champion: bintally/1")
    assert _shown(registry) == (
        {"bintally/1": "Approved", "bintally/2": "PendingManualApproval"},
        {"champion": "bintally/1"},
    )
    assert mirror(registry).changes == (), "told once"


def test_what_mlflow_missed_it_is_told_the_next_time(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"), bundle("b"), bundle("c"))
    promoted(registry, "1")
    start(registry, "3", by="rita", reason="a look")
    mirror(registry)
    promoted(registry, "2")
    stop(registry, by="rita")
    rollback(registry, by="mia", reason="it counts shadows")
    reject(registry, "2", by="mia", reason="it counts shadows")
    told = mirror(registry).changes
    assert set(told) == {"bintally/2 state: Rejected", "challenger: none"}, "the way there does not matter"
    assert _shown(registry) == (
        {"bintally/1": "Approved", "bintally/2": "Rejected", "bintally/3": "PendingManualApproval"},
        {"champion": "bintally/1"},
    )


def test_what_somebody_changed_there_is_changed_back(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"), bundle("b"))
    promoted(registry, "1")
    mirror(registry)
    with asked(registry) as client:
        client.set_registered_model_alias("bintally", "champion", "2")
        client.set_registered_model_alias("bintally", "mine", "2")
        client.set_model_version_tag("bintally", "1", STATE_TAG, "Rejected")
        client.delete_model_version("bintally", "1")
    told = mirror(registry).changes
    assert told == ("bintally/1 added", "champion: bintally/1")
    assert _shown(registry)[1] == {"champion": "bintally/1", "mine": "bintally/2"}, "others' aliases are left alone"


def test_a_version_is_linked_to_its_run_and_its_bundle(registry: Registry, world: World) -> None:
    register(registry, world.bundle, run=world.run, by="rita")
    run_id = log(registry, world.run, bundle=world.bundle, by="rita").run_id
    mirror(registry)
    with asked(registry) as client:
        [version] = client.search_model_versions("name = 'bintally'")
        assert version.run_id == run_id, "found by the bundle's digest: it was registered before it was logged"
        files = client.get_model_version_download_uri("bintally", str(version.version))
        assert files.removeprefix("file://") == str(next(registry.bundles.iterdir()))


def test_a_run_of_another_tracking_server_is_no_hindrance(registry: Registry, bundle: MakeBundle) -> None:
    register(registry, bundle("a"), run_id="f" * 32, by="rita")
    assert mirror(registry).changes == ("bintally/1 added",)


def test_models_are_kept_apart(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"))
    registered(registry, bundle("a"), bundle("b"), model="bins")
    mirror(registry)
    assert _shown(registry, "bins")[0].keys() == {"bins/1", "bins/2"}
    assert _shown(registry)[0].keys() == {"bintally/1"}


def test_another_ones_model_is_left_alone(registry: Registry, bundle: MakeBundle, tmp_path: Path) -> None:
    registered(registry, bundle("a"))
    mirror(registry)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / SETTINGS).write_text(f'tracking = "sqlite:///{registry.place}/tracking/mlflow.sqlite"\n')
    with Registry.open(tmp_path / "second", create=True) as second:
        registered(second, bundle("b"))
        with pytest.raises(ConflictError, match="not this registry's"):
            mirror(second)
    with asked(registry) as client:
        client.delete_registered_model_tag("bintally", OWNER_TAG)
    with pytest.raises(ConflictError, match="not this registry's"):
        mirror(registry)
