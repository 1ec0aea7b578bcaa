"""`bintally models shadow`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bintally.cli.models.shadow import app
from bintally.errors import BintallyError, UsageError
from bintally.registry.shadow.pairs import Begun, PairFile, folder_of
from tests.databases import new_ledger
from tests.registry.shadow.made import MORNING, two_models
from tests.serving.shadow.world import made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry whose champion is 1 and whose 2 and 3 are only there."""
    held = made(tmp_path / "registry", percent=None)
    monkeypatch.setenv("BINTALLY_REGISTRY", str(held))
    monkeypatch.setenv("BINTALLY_AS", "rita")
    monkeypatch.setenv("COLUMNS", "120")
    return held


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, BintallyError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def told(*arguments: str | Path) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def paired(place: Path) -> dict[str, int]:
    """Pairs of 2 beside 1, and the true counts by photo."""
    pairs, counts = two_models(300, right=0.8, right_before=0.6)
    file = PairFile(folder_of(place, 2, 1) / "a.jsonl")
    file.add(
        Begun(
            at=MORNING, service="s", challenger="bintally/2", champion="bintally/1", challenger_ms=3.0, champion_ms=2.0
        )
    )
    for pair in pairs:
        file.add(pair)
    file.close()
    return counts


def test_a_shadow_is_started_shown_and_ended(place: Path) -> None:
    begun = told("start", "2", "--share", "25", "--reason", "better on test")
    assert (begun["challenger"], begun["champion"], begun["percent"], begun["by"]) == (
        "bintally/2", "bintally/1", 25, "rita",
    )  # fmt: skip
    shown = " ".join(run("show").stderr.split())
    assert "bintally/2 counts 25% of the photos in the shadow of bintally/1" in shown
    assert "have counted no live photo together" in shown
    assert told("show")["under_way"]["percent"] == 25
    assert told("stop") == {"version": "bintally/2"}
    assert "No shadow is under way" in run("show").stderr
    with pytest.raises(UsageError, match="no challenger"):
        run("stop")


def test_what_pairs_tell_is_shown_with_labels_where_there_are_any(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in the shadow yet"):
        run("show")
    counts = paired(place)
    run("start", "2")
    file = tmp_path / "counts.csv"
    file.write_text("photo_sha256,count\n" + "".join(f"{photo},{count}\n" for photo, count in counts.items()))
    found = told("show", "--confirmed", file)
    assert found["figures"]["pairs"] == found["confirmed"]["photos"] == 300
    assert found["figures"]["slower"] == 1.5
    assert found["confirmed"]["p_better"] < 0.01
    shown = run("show", "--confirmed", file).stderr
    for words in ("of 300 live photos", "The challenger is better", "only challenger", "1.50 x"):
        assert words in shown
    assert told("show")["confirmed"] is None


def test_an_earlier_shadow_can_be_looked_at(place: Path) -> None:
    paired(place)
    run("start", "2")
    run("stop")
    assert told("show")["figures"]["pairs"] == 300, "of the last one"
    run("start", "3")
    assert told("show")["figures"]["pairs"] == 0
    assert told("show", "2", "--against", "1")["figures"]["pairs"] == 300
    assert told("show", "2")["figures"]["pairs"] == 300


def test_the_ledgers_reviewers_are_believed(place: Path, tmp_path: Path) -> None:
    from bintally.inventory.ledger import add_site

    paired(place)
    run("start", "2")
    with new_ledger(tmp_path / "ledger.sqlite") as ledger, ledger.write() as connection:
        add_site(connection, code="S1", by="rita")
    assert told("show", "--ledger", tmp_path / "ledger.sqlite")["confirmed"]["photos"] == 0
