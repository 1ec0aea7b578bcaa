"""`bintally models init | register | list | show | history | promote | rollback | approve ...`."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bintally.cli.models import app
from bintally.errors import BintallyError, ConflictError, UsageError
from bintally.registry import deployments, heartbeats
from bintally.registry.place import Registry
from bintally.registry.versions import version_of
from tests.bundles import make_bundle


@pytest.fixture
def bundles(tmp_path: Path) -> list[Path]:
    """Two tiny bundles, each with a network of its own."""
    return [make_bundle(tmp_path / name, sharpness=2.0 + place, name=name) for place, name in enumerate(("a", "b"))]


@pytest.fixture
def place(tmp_path: Path, bundles: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry that holds both, neither of them the champion."""
    held = tmp_path / "registry"
    monkeypatch.setenv("BINTALLY_REGISTRY", str(held))
    monkeypatch.setenv("BINTALLY_AS", "rita")
    monkeypatch.setenv("COLUMNS", "140")
    run("init", held)
    for bundle in bundles:
        run("register", bundle)
    return held


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, BintallyError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def told(*arguments: str | Path, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


def insist(version: str, why: str = "the first one") -> Any:
    return told("promote", version, "--force", "--reason", why)


def test_versions_are_listed_with_their_states_and_aliases(place: Path) -> None:
    assert [(each["version"], each["state"], each["aliases"]) for each in told("list")] == [
        ("bintally/2", "PendingManualApproval", []),
        ("bintally/1", "PendingManualApproval", []),
    ]
    insist("1")
    assert told("list")[1]["aliases"] == ["champion"]
    assert "champion" in run("list").output


def test_the_same_bundle_again_is_the_version_it_was(place: Path, bundles: list[Path]) -> None:
    again = told("register", bundles[0])
    assert (again["version"], again["is_new"]) == ("bintally/1", False)
    assert "was registered before" in run("register", bundles[0]).output


def test_nothing_is_promoted_that_no_gate_has_judged(place: Path) -> None:
    refused = told("promote", "1", code=1)
    assert refused["promoted"] is False
    assert "gates have said nothing" in refused["why"]
    assert "Not promoted" in run("promote", "1", code=1).output
    with pytest.raises(UsageError, match="reason"):
        run("promote", "1", "--force")


def test_a_rollback_is_told_and_stands_in_the_history(place: Path) -> None:
    insist("1")
    assert insist("2", "see whether it is better")["before"] == "bintally/1"
    back = told("rollback", "--reason", "it counts shadows")
    assert (back["before"], back["version"]) == ("bintally/2", "bintally/1")
    changes = told("history")
    assert [(each["version"], each["kind"], each["by"]) for each in changes] == [
        ("bintally/1", "force", "rita"),
        ("bintally/2", "force", "rita"),
        ("bintally/1", "rollback", "rita"),
    ]
    output = run("history").output
    assert "it counts shadows" in output
    assert output.index("● bintally/1") < output.index("│ bintally/2")


def test_the_history_tells_what_was_live_at_a_moment(place: Path) -> None:
    insist("1")
    assert told("history", "--at", "2020-01-01T00:00:00") == []
    assert "pointed to nothing then" in run("history", "--at", "2020-01-01T00:00:00").output
    assert told("history", "--at", "2999-01-01T00:00:00")[0]["version"] == "bintally/1"


def test_a_version_is_shown_with_what_was_said_of_it(place: Path) -> None:
    insist("2")
    shown = told("show", "champion")
    assert (shown["version"], shown["card"], shown["aliases"]) == ("bintally/2", "b", ["champion"])
    assert shown["gate_runs"] == shown["deployments"] == []
    output = run("show", "2").output
    assert "right on test" in output
    assert "blind" in output


def test_states_change_with_a_reason(place: Path) -> None:
    assert told("approve", "1")["state"] == "Approved"
    assert told("reject", "1", "--reason", "dark photos")["state"] == "Rejected"
    with pytest.raises(UsageError, match="reason"):
        run("retire", "1")
    assert told("retire", "1", "--reason", "old")["state"] == "Retired"
    assert "Forgotten" in run("forget", "1", "--reason", "no room").output
    insist("2")
    with pytest.raises(ConflictError, match="is the champion"):
        run("retire", "2", "--reason", "old")


def test_a_version_that_is_not_there_is_told_with_the_nearest(place: Path) -> None:
    with pytest.raises(UsageError, match="no version '7'") as error:
        run("show", "7")
    assert "bintally/" in error.value.hint


def test_without_a_registry_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BINTALLY_REGISTRY", raising=False)
    with pytest.raises(UsageError, match="Which registry"):
        run("list")


def test_numbers_models_and_aliases_that_cant_be_are_told(place: Path) -> None:
    with pytest.raises(UsageError, match="no version"):
        run("show", "bintally/99999999999999999999999")
    with pytest.raises(UsageError, match="no model 'nosuch'"):
        run("history", "--model", "nosuch")
    with pytest.raises(UsageError, match=r"no alias '\.\./x'"):
        run("history", "--alias", "../x")
    assert "pointed to nothing yet" in run("history", "--alias", "challenger").output


def test_the_champion_is_not_the_champion_after_itself(place: Path) -> None:
    insist("1")
    assert "after" not in run("promote", "1", "--force", "--reason", "again").output
    assert "after bintally/1" in run("promote", "2", "--force", "--reason", "better").output


def test_a_retired_bundle_that_is_registered_again_says_how_it_is_used(place: Path, bundles: list[Path]) -> None:
    run("retire", "1", "--reason", "old")
    assert "bintally models approve bintally/1" in run("register", bundles[0]).output


def test_a_clock_that_was_ahead_makes_no_negative_times(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bintally.registry.aliases.now", lambda: datetime.now(UTC) + timedelta(days=2))
        insist("1")
    assert re.search(r" 0 s +● bintally/1", run("history").output)


def test_digests_are_whole_in_a_narrow_window(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    told_ = "".join(run("show", "1").output.split())
    assert told("show", "1")["bundle_sha256"] in told_


def test_no_name_or_reason_is_taken_for_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = "[/x]"
    monkeypatch.setenv("BINTALLY_REGISTRY", str(tmp_path / odd / "registry"))
    monkeypatch.setenv("BINTALLY_AS", odd)
    monkeypatch.setenv("COLUMNS", "200")
    run("init", tmp_path / odd / "registry")
    for number in range(4):
        run("register", make_bundle(tmp_path / str(number), sharpness=2.0 + number, name=odd, licence=odd))
    for version in "123":
        run("promote", version, "--force", "--reason", odd)
    run("rollback", "--reason", odd)
    run("rollback", "--reason", odd)
    run("shadow", "start", "4", "--reason", odd)
    with Registry.open(tmp_path / odd / "registry") as registry:
        with registry.write() as connection:
            deployments.record(connection, 1, odd, "refused", odd)
        heartbeats.beat(registry.place, odd, {"v": by_number(registry, 3)})
    run("retire", "2", "--reason", odd)
    for verb in ("list", "show 1", "history", "shadow show", "gc --dry-run", "promote 3 --force --reason [/x]"):
        assert odd in run(*verb.split()).output, verb
    run("gc")
    run("card", "1", "--out", tmp_path / odd / "card.md")


def by_number(registry: Registry, number: int) -> str:
    with registry.read() as connection:
        return version_of(connection, str(number)).bundle_sha256
