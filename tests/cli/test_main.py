import json
import subprocess
import sys

import pytest

from bintally import cli
from tests.conftest import ROOT, run_cli, run_here

VERBS = [
    "fetch",
    "check",
    "explore",
    "split",
    "train",
    "export",
    "evaluate-bins",
    "evaluate",
    "compare",
    "report",
    "count",
    "verify",
    "follow",
    "reconcile",
    "kpi",
    "serve",
    "pipeline run",
    "policy fit",
    "policy show",
    "policy check",
    "ledger init",
    "ledger person",
    "ledger import",
    "ledger export",
    "ledger backup",
    "ledger restore",
    "ledger retain",
    "review take",
    "review decide",
    "review approve",
    "review labels",
    "plan",
    "simulate",
]


def test_help_names_every_verb() -> None:
    text = run_cli("--help").stdout
    for verb in VERBS:
        assert verb.split()[0] in text


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_an_example_and_json(verb: str) -> None:
    done = run_here(*verb.split(), "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert "--json" in done.stdout


def test_a_mistake_is_a_sentence_with_the_next_step_not_a_traceback() -> None:
    done = run_cli("check", "nowhere")
    assert done.returncode == 3
    assert done.stderr.startswith("error: There is no manifest.parquet in nowhere.")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    trained = run_here("train", "no-such-recipe.toml", "--data", "nowhere", "--out", "nowhere")
    assert (trained.returncode, trained.stdout) == (2, "")
    assert trained.stderr.startswith("error: There is no no-such-recipe.toml.")


@pytest.mark.parametrize(("cause", "code"), [(KeyboardInterrupt(), 130), (None, None)])
def test_ctrl_c_while_a_compiled_module_is_imported_is_ctrl_c(
    cause: BaseException | None, code: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def importing(**_: object) -> None:
        raise ImportError("initialization failed") from cause

    monkeypatch.setattr(cli, "app", importing)
    with pytest.raises(SystemExit if code else ImportError) as caught:
        cli.main()
    assert getattr(caught.value, "code", None) == code
    assert ("Run the same command again" in capsys.readouterr().err) == (code is not None)


def test_help_and_count_import_no_torch_and_no_polars() -> None:
    """`bintally --help` and `count` must start fast: what they import is checked, not how long it took."""
    code = (
        "import sys, json\n"
        "import bintally.cli, bintally.counting.counter, bintally.counting.batch\n"
        "heavy = ('torch', 'polars', 'pydantic', 'fastapi', 'matplotlib', 'obstore')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == []
