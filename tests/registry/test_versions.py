"""Versions by the names that people give them, and what services said of them."""

import pytest

from bintally.errors import UsageError
from bintally.registry import deployments
from bintally.registry.aliases import alias_target
from bintally.registry.place import Registry
from bintally.registry.versions import by_id, of_bundle, version_of, versions
from tests.registry.conftest import MakeBundle
from tests.registry.worlds import promoted, registered


def test_a_version_has_several_names(registry: Registry, bundle: MakeBundle) -> None:
    first, second = registered(registry, bundle("a"), bundle("b"))
    [other] = registered(registry, bundle("a"), model="pallets")
    promoted(registry, "2")
    with registry.read() as connection:
        for name in ("2", "bintally/2", "champion", "bintally@champion", "@champion", "bintally/champion"):
            assert version_of(connection, name).id == second.id
        assert version_of(connection, "1", model="pallets").id == other.id
        assert [version.name for version in versions(connection)] == ["bintally/2", "bintally/1", "pallets/1"]
        assert [version.id for version in versions(connection, "pallets")] == [other.id]
        assert {version.id for version in of_bundle(connection, first.bundle_sha256)} == {first.id, other.id}
        assert by_id(connection, first.id) == first


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bintally/3", r"no version 'bintally/3'.*Did you mean 'bintally/1'"),
        ("7", "There is no version '7'"),
        ("bintaly/1", r"no model 'bintaly'.*Did you mean 'bintally'"),
        ("champoin", "has no such alias"),
        ("bintally@champion", "has no such alias"),
        ("", "has no such alias"),
    ],
)
def test_a_name_of_none_says_what_there_is(local: Registry, bundle: MakeBundle, name: str, told: str) -> None:
    registered(local, bundle("a"))
    with local.read() as connection, pytest.raises(UsageError, match=told):
        version_of(connection, name)


def test_an_empty_registry_says_how_to_add_a_version(local: Registry) -> None:
    with local.read() as connection:
        assert versions(connection) == []
        assert alias_target(connection, "bintally", "champion") is None
        with pytest.raises(UsageError, match="models register BUNDLE"):
            version_of(connection, "1")


def test_the_last_word_of_a_service_counts(registry: Registry, bundle: MakeBundle) -> None:
    one, two = (version.id for version in registered(registry, bundle("a"), bundle("b")))
    with registry.write() as connection:
        deployments.record(connection, one, "shop:1", "taken")
        deployments.record(connection, two, "shop:1", "refused", "other counts")
        deployments.record(connection, one, "shop:2", "refused", "too slow")
    with registry.write() as connection:
        assert deployments.refused(connection) == {one, two}
        assert deployments.refused(connection, service="shop:1") == {two}
        deployments.record(connection, one, "shop:2", "taken")
        deployments.record(connection, two, "shop:1", "left")
        assert deployments.refused(connection) == {two}
        told = deployments.deployments(connection, version_id=one)
        assert [(each.service, each.outcome) for each in told] == [
            ("shop:1", "taken"), ("shop:2", "refused"), ("shop:2", "taken"),
        ]  # fmt: skip
        assert len(deployments.deployments(connection, service="shop:1")) == 3
