import json
from pathlib import Path

import pytest

from tests.conftest import run_here


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BINTALLY_STATE", str(tmp_path))
    return tmp_path


def test_a_key_is_made_listed_renewed_and_taken_away(state: Path) -> None:
    made = run_here("keys", "create", "robot-7", "--scope", "count", "--rate", "5", "--expires", "90")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("btk_"), "stdout has the key alone, for a script"
    assert "shown this once" in " ".join(made.stderr.split())
    secret = made.stdout.strip().split("_", 2)[2]
    [key] = json.loads(run_here("keys", "list", "--json").stdout)
    assert (key["name"], key["scopes"], key["rate"]) == ("robot-7", ["count"], 5)
    assert (state / "serve" / "keys.json").is_file()

    renewed = run_here("keys", "rotate", "robot-7", "--grace", "1", "--json")
    assert json.loads(renewed.stdout)["key"].split("_")[1] == key["id"]
    shown = run_here("keys", "list")
    for told in ("robot-7", key["id"], key["created"][:10], key["expires"][:10]):
        assert told in shown.stderr, "nothing is cut off in a terminal of 80 columns"
    for told in (shown.stdout, shown.stderr, (state / "serve" / "keys.json").read_text()):
        assert secret not in told

    assert run_here("keys", "revoke", "robot-7").returncode == 0
    assert json.loads(run_here("keys", "list", "--json").stdout) == []


def test_what_makes_no_sense_is_said_with_the_way_out(state: Path) -> None:
    wrong = run_here("keys", "create", "robot-7", "--scope", "cuont")
    assert wrong.returncode == 2
    assert "Did you mean 'count'" in wrong.stderr
    gone = run_here("keys", "revoke", "robot-7", "--keys", state / "other.json")
    assert gone.returncode == 2
    assert "There is no key 'robot-7'" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_several_scopes_come_with_commas_or_one_by_one() -> None:
    made = run_here("keys", "create", "a", "--scope", "count,read", "--scope", "admin", "--json")
    assert json.loads(made.stdout)["scopes"] == ["count", "read", "admin"]
    assert json.loads(run_here("keys", "create", "b", "--json").stdout)["scopes"] == ["count", "read"]
