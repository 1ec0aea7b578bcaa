"""A rollback goes to the champion before, and two in a row further back."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from bintally.bundle import CARD, MODEL
from bintally.errors import ConflictError, UsageError
from bintally.registry import deployments
from bintally.registry.aliases import history, live_at
from bintally.registry.approval import retire
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from bintally.registry.rollback import rollback, targets
from tests.registry.conftest import MakeBundle
from tests.registry.worlds import champion, champions, promoted, registered, said


def _history(registry: Registry, bundle: MakeBundle, letters: str = "abc") -> None:
    """So many versions, each one champion in its turn."""
    for version in registered(registry, *map(bundle, letters)):
        promoted(registry, version.name)


def test_two_rollbacks_go_further_back_and_a_third_says_why_not(registry: Registry, bundle: MakeBundle) -> None:
    _history(registry, bundle)
    first = rollback(registry, by="rita", reason="it counts shadows")
    assert (first.before.name, first.version.name, first.skipped) == ("bintally/3", "bintally/2", {})
    second = rollback(registry, by="rolf")
    assert second.version.name == "bintally/1"
    assert second.skipped == {"bintally/3": "rita rolled back from it"}
    with pytest.raises(UsageError, match=r"no champion before bintally/1.*bintally/2: rolf rolled back from it"):
        rollback(registry, by="rita")
    assert champions(registry)[3:] == [("rollback", "bintally/2"), ("rollback", "bintally/1")]
    with registry.read() as connection:
        *_, third, one, two = history(connection, "bintally")
        assert (one.rollback_of, two.rollback_of) == (third.id, one.id)
        assert (one.before, one.by, one.reason) == ("bintally/3", "rita", "it counts shadows")


def test_after_a_rollback_and_a_new_champion_it_goes_to_the_one_before_that(
    local: Registry, bundle: MakeBundle
) -> None:
    _history(local, bundle)
    rollback(local, by="rita")
    rollback(local, by="rita")
    registered(local, bundle("d"))
    promoted(local, "4")
    assert rollback(local, by="rita").version.name == "bintally/1"


def test_what_was_made_champion_again_by_somebody_is_gone_back_to(local: Registry, bundle: MakeBundle) -> None:
    _history(local, bundle, "ab")
    rollback(local, by="rita")
    promote(local, "2", force_reason="the camera was it", by="rita")
    registered(local, bundle("c"))
    promoted(local, "3")
    assert rollback(local, by="rita").version.name == "bintally/2"


def test_retired_refused_and_missing_ones_are_skipped(local: Registry, bundle: MakeBundle) -> None:
    _history(local, bundle, "abcde")
    retire(local, "4", by="rita", reason="old")
    with local.write() as connection:
        deployments.record(connection, 3, "shop:8080", "refused", "slower than the limit")
        deployments.record(connection, 3, "shop:8080", "left")
        deployments.record(connection, 1, "shop:8080", "refused", "no memory")
        deployments.record(connection, 1, "shop:8080", "taken")
    with local.read() as connection:
        shutil.rmtree(local.bundle_of(targets(local, connection)[0].bundle_sha256))
        assert [version.name for version in targets(local, connection)] == ["bintally/1"]
    back = rollback(local, by="rita")
    assert back.version.name == "bintally/1"
    assert back.skipped == {
        "bintally/4": "it is Retired",
        "bintally/3": "a service refused it",
        "bintally/2": "its bundle is not in the registry's folder",
    }


def test_one_whose_files_are_damaged_is_skipped_and_not_gone_back_to(local: Registry, bundle: MakeBundle) -> None:
    one, two, _ = registered(local, *map(bundle, "abc"))
    for number in "123":
        promoted(local, number)
    damaged = "its files are not those that were registered"
    (local.bundle_of(two.bundle_sha256) / MODEL).write_bytes(b"no model")
    with pytest.raises(UsageError, match=f"bintally/2 can't be used: {damaged}"):
        rollback(local, to="2", by="rita")
    back = rollback(local, by="rita")
    assert (back.version.name, back.skipped) == ("bintally/1", {"bintally/2": damaged})
    promote(local, "3", force_reason="better than none", by="rita")
    (local.bundle_of(one.bundle_sha256) / CARD).unlink()
    with pytest.raises(UsageError, match=f"no champion before bintally/3.*bintally/1: {damaged}"):
        rollback(local, by="rita")
    assert champion(local) == "bintally/3"


def test_somebody_may_name_where_to_go_back_to(local: Registry, bundle: MakeBundle) -> None:
    _history(local, bundle)
    rollback(local, by="rita", to="1")
    assert rollback(local, by="rita", to="bintally/3").version.name == "bintally/3", "though it was rolled back from"
    registered(local, bundle("d"))
    retire(local, "2", by="rita", reason="old")
    for to, why in (("3", "is the champion"), ("4", "has never been the champion"), ("2", "can't be used: it is Ret")):
        with pytest.raises(UsageError, match=why):
            rollback(local, by="rita", to=to)
    assert champion(local) == "bintally/3"


def test_the_same_rollback_said_twice_is_done_once(registry: Registry, bundle: MakeBundle) -> None:
    _history(registry, bundle)
    first = rollback(registry, of="3", by="rita")
    again = rollback(registry, of="3", by="rita")
    assert (first.change_id, first.version) == (again.change_id, again.version)
    assert champion(registry) == "bintally/2"
    with pytest.raises(ConflictError, match="champion is bintally/2, not bintally/1"):
        rollback(registry, of="1", by="rita")
    with pytest.raises(ConflictError):
        rollback(registry, of="3", to="1", by="rita")


def test_without_a_champion_there_is_nothing_to_go_back_from(local: Registry, bundle: MakeBundle) -> None:
    with pytest.raises(UsageError, match="has no model 'bintally'"):
        rollback(local, by="rita")
    registered(local, bundle("a"))
    with pytest.raises(UsageError, match="has no champion"):
        rollback(local, by="rita")
    with local.read() as connection:
        assert targets(local, connection) == []


def test_it_is_known_which_version_was_live_when(registry: Registry, bundle: MakeBundle) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    _history(registry, bundle)
    rollback(registry, by="rita")
    with registry.read() as connection:
        changes = history(connection, "bintally")
        assert live_at(connection, "bintally", before) is None
        for change in changes:
            live = live_at(connection, "bintally", change.at)
            assert live is not None
            assert live.name == change.version
        moment = changes[1].at - timedelta(microseconds=1)
        live = live_at(connection, "bintally", moment)
        assert live is not None
        assert live.name == "bintally/1"


def test_moments_never_go_back_though_clocks_do(
    local: Registry, bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(local, bundle("a"), bundle("b"))
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr("bintally.registry.aliases.now", lambda: ahead)
        promoted(local, "1")
    promoted(local, "2")
    with local.read() as connection:
        assert [change.at for change in history(connection, "bintally")] == [ahead, ahead]
        live = live_at(connection, "bintally", ahead)
    assert live is not None
    assert live.name == "bintally/2"


def test_another_models_champion_is_another_champion(local: Registry, bundle: MakeBundle) -> None:
    _history(local, bundle, "ab")
    registered(local, bundle("c"), model="pallets")
    assert promote(local, "pallets/1", gates=said(local, "pallets/1"), by="rita").promoted
    with pytest.raises(UsageError, match="no version of pallets"):
        rollback(local, model="pallets", to="bintally/1", by="rita")
    rollback(local, by="rita")
    assert (champion(local), champion(local, "pallets")) == ("bintally/1", "pallets/1")
