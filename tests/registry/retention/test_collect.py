"""Old versions' bundles go; what somebody needs never does."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from bintally.database import audit
from bintally.database.types import now
from bintally.errors import ConfigError, StorageError, UsageError
from bintally.registry import shadow
from bintally.registry.aliases import point
from bintally.registry.approval import approve, forget, retire
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.promotion import promoting
from bintally.registry.registration import register
from bintally.registry.retention.collect import gc
from bintally.registry.rollback import rollback
from tests.registry.conftest import MakeBundle
from tests.registry.retention.shelf import (
    boxed,
    force,
    gone,
    kept,
    named,
    retaining,
    runs,
    states,
    stocked,
    whys,
)


def test_versions_that_nobody_needs_are_retired_and_their_bundles_go(registry: Registry, bundle: MakeBundle) -> None:
    stocked(registry, bundle, 6)
    force(registry, "2")
    retaining(registry, newest=2, days=0)
    found = gone(registry)
    assert [each.what for each in found.goes] == ["bintally/4", "bintally/3", "bintally/1"]
    assert found.retired == ("bintally/4", "bintally/3", "bintally/1")
    assert found.bytes == 30
    assert kept(registry) == named([2, 5, 6])
    assert states(registry) == {
        "bintally/1": "Retired", "bintally/2": "Approved", "bintally/3": "Retired", "bintally/4": "Retired",
        "bintally/5": "PendingManualApproval", "bintally/6": "PendingManualApproval",
    }  # fmt: skip
    with registry.read() as connection:
        told = [(line.action, line.actor) for line in audit.entries(connection) if line.subject == "model:bintally/3"]
        assert audit.verify(connection).is_whole
    assert told == [("model.register", "rita"), ("model.state", "rita"), ("model.gc", "rita")]


def test_young_ones_stay_until_they_are_old(local: Registry, bundle: MakeBundle) -> None:
    stocked(local, bundle, 3)
    retaining(local, newest=1, days=30)
    assert whys(gone(local)) == {
        "bintally/3": "the newest one",
        "bintally/2": "registered less than 30 days ago",
        "bintally/1": "registered less than 30 days ago",
    }
    found = gone(local, at=now() + timedelta(days=31))
    assert {each.why for each in found.goes} == {"31 days old, not among the newest 1, and nobody needs it"}
    assert kept(local) == {"bintally/3"}


def test_nothing_goes_that_an_alias_a_shadow_a_service_or_a_rollback_needs(
    registry: Registry, bundle: MakeBundle
) -> None:
    made = stocked(registry, bundle, 9)
    force(registry, "1", "2", "3", "4")
    shadow.start(registry, "5", by="rita")
    with registry.write() as connection:
        point(connection, "bintally", "staging", made[5].id, kind="set", by="rita", reason="to look", expect=None)
    runs(registry, "shop:8080/worker-1", made[3], made[6])
    retaining(registry, newest=1, days=0, champions=2)
    found = gone(registry)
    assert whys(found) == {
        "bintally/9": "the newest one",
        "bintally/7": "shop:8080/worker-1 has it loaded",
        "bintally/6": "it is the staging",
        "bintally/5": "it is the challenger",
        "bintally/4": "it is the champion",
        "bintally/3": "a rollback may go to it",
        "bintally/2": "a rollback may go to it",
    }
    assert [rollback(registry, by="rita").version.name for _ in range(2)] == ["bintally/3", "bintally/2"]


def test_all_that_ever_served_stay_unless_somebody_says_otherwise(local: Registry, bundle: MakeBundle) -> None:
    stocked(local, bundle, 4)
    force(local, "1", "2", "3")
    rollback(local, by="rita")
    retaining(local, newest=1, days=0)
    assert whys(gone(local))["bintally/3"] == "it was the champion"
    assert kept(local) == named([1, 2, 3, 4])
    retire(local, "3", by="rita", reason="counts shadows")
    retire(local, "1", by="rita", reason="old")
    gone(local)
    assert kept(local) == named([2, 4])


def test_what_somebody_retired_or_forgot_goes_at_once_and_not_while_it_is_loaded(
    local: Registry, bundle: MakeBundle
) -> None:
    made = stocked(local, bundle, 3)
    for version in made:
        retire(local, version.name, by="rita", reason="old")
    forget(local, "1", by="rita", reason="its photos had to go")
    runs(local, "shop", made[0], made[1])
    assert whys(gone(local)) == dict.fromkeys(["bintally/1", "bintally/2"], "shop has it loaded")
    runs(local, "shop", made[1])
    found = gone(local)
    assert [(each.what, each.why) for each in found.goes] == [("bintally/1", "it is Forgotten")]
    assert found.retired == ()


def test_a_dry_run_tells_the_same_and_changes_nothing(local: Registry, bundle: MakeBundle) -> None:
    stocked(local, bundle, 4)
    retaining(local, newest=1, days=0)
    with local.read() as connection:
        before = (states(local), kept(local), audit.head(connection))
    would = gc(local, by="rita", dry_run=True)
    with local.read() as connection:
        assert (states(local), kept(local), audit.head(connection)) == before
    did = gone(local)
    assert (would.goes, would.stays, would.retired) == (did.goes, did.stays, did.retired)
    assert (would.is_dry, did.is_dry) == (True, False)


def test_the_newest_are_counted_by_model_and_without_those_out_of_use(local: Registry, bundle: MakeBundle) -> None:
    stocked(local, bundle, 4)
    stocked(local, bundle, 2, model="pallets")
    retire(local, "4", by="rita", reason="counts shadows")
    retaining(local, newest=2, days=0)
    gone(local)
    assert kept(local) == named([2, 3]) | named([1, 2], "pallets")


def test_a_bundle_stays_while_one_of_its_versions_does(local: Registry, bundle: MakeBundle) -> None:
    for model in ("bintally", "pallets"):
        register(local, bundle("a"), model=model, by="rita")
    retire(local, "bintally/1", by="rita", reason="old")
    found = gone(local)
    assert found.goes == ()
    assert whys(found)["bintally/1"] == "pallets/1 has the same bundle"
    retire(local, "pallets/1", by="rita", reason="old")
    assert [each.what for each in gone(local).goes] == ["bintally/1, pallets/1"]


def test_nothing_is_retired_under_the_hands_of_whoever_promotes(registry: Registry, bundle: MakeBundle) -> None:
    stocked(registry, bundle, 3)
    retaining(registry, newest=1, days=0)
    with promoting(registry, by="night"):
        assert "is being promoted just now" in whys(gone(registry))["bintally/1"]
    gone(registry)
    assert kept(registry) == {"bintally/3"}


class Between(Registry):
    """A registry where somebody approves a version after it was written down that its bundle goes."""

    at = 2

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self.at -= 1
        if self.at == 0:
            approve(self, "1", by="mia", reason="we need it after all")
        with super().write() as connection:
            yield connection


def test_what_somebody_approves_meanwhile_stays(place: Path, bundle: MakeBundle) -> None:
    with Registry.open(place, create=True) as registry:
        stocked(registry, bundle, 2)
        for number in ("1", "2"):
            retire(registry, number, by="rita", reason="old")
    with Between.open(place) as registry:
        found = gc(registry, by="rita")
        assert [each.what for each in found.goes] == ["bintally/2"], "one was removed, and only that is told"
        assert kept(registry) == {"bintally/1"}
        assert states(registry)["bintally/1"] == "Approved"


def test_a_bundle_that_went_can_be_registered_again(registry: Registry, bundle: MakeBundle) -> None:
    register(registry, bundle("a"), by="rita")
    retire(registry, "1", by="rita", reason="old")
    gone(registry)
    assert kept(registry) == set()
    with pytest.raises(UsageError, match="was removed"):
        approve(registry, "1", by="rita")
    again = register(registry, bundle("a"), by="rita")
    assert (again.is_new, again.version.name) == (False, "bintally/1")
    approve(registry, "1", by="rita")
    assert gone(registry).goes == ()


def test_a_database_that_knows_less_than_the_folder_removes_nothing(
    local: Registry, bundle: MakeBundle, tmp_path: Path
) -> None:
    register(local, bundle("a"), by="rita")
    card = local.place / "cards" / "bintally" / "2.json"
    card.write_text("{}")  # of a version that was registered after the backup
    lost = local.bundle_of(boxed(local, "registered after the backup"))
    with pytest.raises(StorageError, match="was an older database put back") as error:
        gc(local, by="rita", at=now() + timedelta(days=2))
    assert "nothing was removed" in error.value.hint
    assert lost.is_dir()


def test_what_registry_toml_says_holds(tmp_path: Path, bundle: MakeBundle) -> None:
    with Registry.open(tmp_path, create=True) as registry:
        stocked(registry, bundle, 3)
    (tmp_path / SETTINGS).write_text("[retention]\nnewest = 2\ndays = 0\nchampions = 1\n")
    with Registry.open(tmp_path) as registry:
        gone(registry)
        assert kept(registry) == named([2, 3])
    (tmp_path / SETTINGS).write_text("[retention]\nchampions = 0\n")
    with pytest.raises(ConfigError, match=r"retention\.champions"):
        Registry.open(tmp_path)
    (tmp_path / SETTINGS).write_text("[retention]\ndasy = 3\n")
    with pytest.raises(ConfigError, match="days"):
        Registry.open(tmp_path)


def test_what_cannot_be_removed_is_an_error_when_the_rest_has_gone_and_the_next_run_tries_again(
    local: Registry, bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked(local, bundle, 3)
    for version in "123":
        retire(local, version, by="rita", reason="old")
    with monkeypatch.context() as patch:
        refused = iter([OSError("no number, no words of the system's")])
        real = shutil.rmtree

        def rmtree(path: Path) -> None:
            for error in refused:
                raise error
            real(path)

        patch.setattr("bintally.registry.retention.collect.shutil.rmtree", rmtree)
        with pytest.raises(StorageError, match="can't be removed: no number"):
            gc(local, by="rita")
    assert kept(local) == set()
    assert len(list(local.bundles.iterdir())) == 1
    assert [each.kind for each in gone(local).goes] == ["left by a kill"]


def test_a_link_in_a_bundles_place_goes_and_not_what_it_leads_to(local: Registry, bundle: MakeBundle) -> None:
    [version] = stocked(local, bundle, 1)
    retire(local, "1", by="rita", reason="old")
    folder = local.bundle_of(version.bundle_sha256)
    folder.rename(local.place / "elsewhere")
    folder.symlink_to(local.place / "elsewhere")
    assert [each.kind for each in gone(local).goes] == ["bundle"]
    assert not folder.is_symlink()
    assert (local.place / "elsewhere" / "model.onnx").is_file()
