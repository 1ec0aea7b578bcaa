"""A shadow starts, goes on with another share, and ends; and what gc must not touch meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bintally.database import audit
from bintally.errors import ConflictError, UsageError
from bintally.registry import approval, shadow
from bintally.registry.aliases import CHALLENGER, alias_target, history, point
from bintally.registry.place import Registry
from bintally.registry.rollback import rollback
from bintally.registry.shadow.running import PERCENT, last
from bintally.registry.versions import Version
from tests.registry.worlds import promoted, registered

MakeBundle = Callable[[str], Path]


@pytest.fixture
def three(registry: Registry, bundle: MakeBundle) -> list[Version]:
    """Three versions, the first of them the champion."""
    versions = registered(registry, *map(bundle, "abc"))
    promoted(registry, "1")
    return versions


def names(registry: Registry) -> tuple[str, str, float] | None:
    with registry.read() as connection:
        running = shadow.under_way(connection)
    return None if running is None else (running.challenger.name, running.champion.name, running.percent)


def needed(registry: Registry) -> frozenset[int]:
    with registry.read() as connection:
        return shadow.unfinished(connection)


def test_a_shadow_starts_goes_on_with_another_share_and_ends(registry: Registry, three: list[Version]) -> None:
    assert names(registry) is None
    assert needed(registry) == frozenset()
    begun = shadow.start(registry, "2", percent=5, by="rita", reason="looks good on test")
    assert (begun.challenger.name, begun.champion.name, begun.by, begun.reason) == (
        "bintally/2",
        "bintally/1",
        "rita",
        "looks good on test",
    )
    shadow.start(registry, "bintally/2", percent=50, by="rita")
    assert names(registry) == ("bintally/2", "bintally/1", 50)
    assert needed(registry) == {three[0].id, three[1].id}
    assert shadow.stop(registry, by="rita").name == "bintally/2"
    assert names(registry) is None
    assert needed(registry) == frozenset()
    with registry.read() as connection:
        ended = last(connection)
    assert ended is not None
    assert [version.name for version in ended] == ["bintally/2", "bintally/1"]


def test_a_shadow_is_beside_whoever_is_the_champion(registry: Registry, three: list[Version]) -> None:
    shadow.start(registry, "2", by="rita")
    promoted(registry, "3")
    assert names(registry) == ("bintally/2", "bintally/3", PERCENT)
    rollback(registry, by="rita")
    assert names(registry) == ("bintally/2", "bintally/1", PERCENT)


def test_a_challenger_that_became_the_champion_is_in_no_shadow_any_more(
    registry: Registry, three: list[Version]
) -> None:
    shadow.start(registry, "2", by="rita")
    promoted(registry, "2")
    assert names(registry) is None
    with registry.read() as connection:
        assert alias_target(connection, "bintally", CHALLENGER) is None
        *_, cleared = history(connection, "bintally", CHALLENGER)
        last_line = list(audit.entries(connection))[-1]
    assert (cleared.kind, cleared.before, cleared.reason) == ("clear", "bintally/2", "it became the champion")
    assert (last_line.action, last_line.body["alias"], last_line.body["to"]) == ("model.clear", "challenger", None)
    promoted(registry, "3")
    assert names(registry) is None
    shadow.start(registry, "1", by="rita")  # needs no stop before
    assert names(registry) == ("bintally/1", "bintally/3", PERCENT)


def test_a_rollback_to_the_challenger_ends_its_shadow_too(registry: Registry, three: list[Version]) -> None:
    promoted(registry, "2")
    shadow.start(registry, "1", by="rita")
    rollback(registry, by="rita")
    with registry.read() as connection:
        assert alias_target(connection, "bintally", CHALLENGER) is None
    approval.reject(registry, "2", by="rita", reason="no alias is in its way")


def test_another_version_that_becomes_the_champion_leaves_the_challenger(
    registry: Registry, three: list[Version]
) -> None:
    shadow.start(registry, "2", by="rita")
    promoted(registry, "3")
    with registry.read() as connection:
        assert alias_target(connection, "bintally", CHALLENGER) == three[1].id


def test_one_shadow_at_a_time(registry: Registry, three: list[Version]) -> None:
    shadow.start(registry, "2", by="rita")
    with pytest.raises(ConflictError, match="bintally/2 is in the shadow of bintally/1 already"):
        shadow.start(registry, "3", by="rita")
    assert names(registry) == ("bintally/2", "bintally/1", PERCENT)


def test_an_alias_set_in_another_way_is_a_shadow_too(registry: Registry, three: list[Version]) -> None:
    with registry.write() as connection:
        point(connection, "bintally", CHALLENGER, three[1].id, kind="set", by="rita", reason="by hand", expect=None)
    assert names(registry) == ("bintally/2", "bintally/1", PERCENT)
    assert needed(registry) == {three[0].id, three[1].id}


@pytest.mark.parametrize(
    ("version", "percent", "said"),
    [("1", 10, "is the champion"), ("2", 0, "no share"), ("2", 101, "no share"), ("9", 10, "no version")],
)
def test_what_makes_no_sense_is_refused(
    registry: Registry, three: list[Version], version: str, percent: float, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        shadow.start(registry, version, percent=percent, by="rita")
    assert names(registry) is None


def test_a_version_that_nobody_may_use_is_refused(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"), bundle("b"))
    with pytest.raises(UsageError, match="has no champion to compare bintally/2 with"):
        shadow.start(local, "2", by="rita")
    with pytest.raises(UsageError, match="has no challenger"):
        shadow.stop(local, by="rita")
    promoted(local, "1")
    approval.reject(local, "2", by="rita", reason="counts boxes as bins")
    with pytest.raises(UsageError, match="Rejected"):
        shadow.start(local, "2", by="rita")


def test_an_end_is_the_aliases_end(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"), bundle("b"))
    promoted(local, "1")
    shadow.start(local, "2", by="rita")
    with pytest.raises(ConflictError, match="shadow stop"):
        approval.retire(local, "2", by="rita", reason="old")
    shadow.stop(local, by="rita")
    with local.read() as connection:
        assert alias_target(connection, "bintally", CHALLENGER) is None
    approval.retire(local, "2", by="rita", reason="old")
