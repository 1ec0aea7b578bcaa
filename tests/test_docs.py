"""What the documents promise is there: links lead somewhere, commands and options exist, Python blocks run."""

import re
from pathlib import Path

import pytest

from bintally.data.rendered import render_photo
from tests.conftest import ROOT, run_here

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert re.findall(r"\b(?:TODO|TBD|RESULT_\w+|[A-Z]+_(?:TABLE|LINE|ACC))\b", page.read_text()) == []


GROUPS = (
    ("models", "shadow"),
    *((name,) for name in ("pipeline", "policy", "ledger", "audit", "review", "erp", "evidence", "keys", "models")),
)
"""Verbs with verbs of their own, the longest first."""


def _commands() -> list[tuple[str, ...]]:
    """Every `bintally ...` line of a console block: its verb, and the options it uses."""
    found = set()
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
            for line in re.findall(r"^\$ (?:\.venv/bin/)?bintally (.*)$", block, re.MULTILINE):
                words = line.split("#")[0].split()
                deep = next((each for each in GROUPS if words[: len(each)] == list(each)), ())
                named = [word for word in words[: len(deep) + 1] if word[0] != "-"]
                verb = " ".join(named)
                found.add((verb, *sorted(word for word in words if word.startswith("--"))))
    return sorted(found)


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_commands_exist_with_the_options_they_are_shown_with(command: tuple[str, ...]) -> None:
    verb, *options = command
    done = run_here(*verb.split(), "--help", env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert [option for option in options if option not in done.stdout] == []


def test_options_of_the_service_that_the_text_names_exist() -> None:
    """Four were named that are settings without an option."""
    text = re.sub(r"```.*?```", "", (ROOT / "docs" / "serving.md").read_text(), flags=re.DOTALL)
    named = set(re.findall(r"`[^`]*?(--[a-z]+[a-z-]*)", text))
    assert named
    verbs = (("serve",), ("keys", "create"))
    known = [run_here(*verb, "--help", env={"COLUMNS": "200"}).stdout for verb in verbs]
    known.append((ROOT / "benchmarks" / "serving" / "run.py").read_text())
    assert [option for option in sorted(named) if not any(option in text for text in known)] == []


def test_python_blocks_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render_photo(3).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
