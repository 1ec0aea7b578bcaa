"""What may be said of a version after what, and never of one that an alias points to."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from bintally.errors import BintallyError, ConflictError, UsageError
from bintally.registry import schema
from bintally.registry.aliases import CHALLENGER, point, pointing_to
from bintally.registry.approval import FOLLOWING, approve, change_state, forget, reject, retire
from bintally.registry.place import Registry
from bintally.registry.registration import register
from bintally.registry.versions import State, version_of
from tests.databases import new_registry
from tests.registry.conftest import MakeBundle
from tests.registry.worlds import promoted, registered


def test_the_way_of_a_version(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"))
    assert approve(registry, "1", by="anna").state == "Approved"
    assert reject(registry, "1", by="anna", reason="blurred photos").state == "Rejected"
    assert approve(registry, "1", by="anna", reason="they were not").state == "Approved"
    with pytest.raises(UsageError, match=r"is Approved and can't be forgotten. It can be rejected or retired"):
        forget(registry, "1", by="anna", reason="asked to")
    assert retire(registry, "1", by="anna", reason="old").state == "Retired"
    assert forget(registry, "1", by="anna", reason="asked to").state == "Forgotten"
    with pytest.raises(UsageError, match="can't be approved"):
        approve(registry, "1", by="anna")
    with registry.read() as connection:
        told = connection.execute(select(schema.ModelState.state, schema.ModelState.reason)).all()
    assert [row.reason for row in told] == [
        "registered",
        "approved",
        "blurred photos",
        "they were not",
        "old",
        "asked to",
    ]


def test_reasons_are_asked_for(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"))
    for verb in (reject, retire, forget):
        with pytest.raises(UsageError, match="needs a reason"):
            verb(local, "1", by="anna", reason=" ")


def test_said_twice_is_kept_once(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"))
    for _ in range(2):
        approve(local, "1", by="anna")
    with local.read() as connection:
        assert connection.execute(select(func.count(schema.ModelState.id))).scalar_one() == 2


def test_the_champion_and_the_challenger_stay_in_use(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"), bundle("b"))
    champion = promoted(registry, "1").version
    for verb in (reject, retire):
        with pytest.raises(ConflictError, match="bintally/1 is the champion, and can't be"):
            verb(registry, "1", by="anna", reason="old")
    with registry.write() as connection:
        two = version_of(connection, "2")
        point(connection, "bintally", CHALLENGER, two.id, kind="set", by="anna", reason="", expect=None)
    with pytest.raises(ConflictError, match="is the challenger"):
        retire(registry, "2", by="anna", reason="old")
    promoted(registry, "2")
    with registry.read() as connection:
        assert pointing_to(connection, two) == ["champion"]  # and the challenger no more
        assert pointing_to(connection, champion) == []
    assert retire(registry, "1", by="anna", reason="old").state == "Retired"


def test_a_retired_one_comes_back_only_while_its_bundle_is_kept(local: Registry, bundle: MakeBundle) -> None:
    [version] = registered(local, bundle("a"))
    retire(local, "1", by="anna", reason="old")
    kept = local.bundle_of(version.bundle_sha256)
    kept.rename(local.place / "elsewhere")
    with pytest.raises(UsageError, match="was removed"):
        approve(local, "1", by="anna")
    assert not register(local, bundle("a"), by="anna").is_new
    assert approve(local, "1", by="anna").state == "Approved"


@settings(max_examples=12)
@given(wishes=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(get_args(State))), max_size=8))
def test_whatever_is_asked_for_the_table_holds_and_the_champion_stays(
    wishes: list[tuple[str, State]], bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with new_registry(tmp_path_factory.mktemp("wishes")) as registry:
        registered(registry, bundle("a"), bundle("b"))
        promoted(registry, "1")
        states: dict[str, State] = {"a": "Approved", "b": "PendingManualApproval"}
        for letter, wish in wishes:
            may = wish in FOLLOWING[states[letter]] and letter != "a"
            try:
                change_state(registry, "12"["ab".index(letter)], wish, by="anna", reason="a wish")
            except BintallyError:
                assert not may
                assert wish != states[letter]
            else:
                assert may or wish == states[letter]
                states[letter] = wish
        with registry.read() as connection:
            assert [version_of(connection, name).state for name in "12"] == list(states.values())
