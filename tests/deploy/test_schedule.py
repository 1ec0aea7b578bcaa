"""The examples for cron and systemd: they parse, and what they run exists."""

import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_here

SCHEDULE = ROOT / "deploy" / "schedule"


def _unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False)  # systemd takes an option several times
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names have capitals
    assert parser.read(SCHEDULE / name)
    return parser


def _cron_job() -> str:
    lines = (SCHEDULE / "crontab").read_text().splitlines()
    [job] = [line for line in lines if line[:1].isdigit()]
    return job


def _commands() -> dict[str, list[str]]:
    """What each example runs, from `bintally` on."""
    service = shlex.split(_unit("bintally-nightly.service")["Service"]["ExecStart"])
    cron = shlex.split(_cron_job().split(maxsplit=5)[5])
    cron = cron[cron.index("bintally") : cron.index(">>")]
    return {"systemd": ["bintally", *service[1:]], "cron": cron}


def test_both_run_the_same() -> None:
    assert _commands()["systemd"] == _commands()["cron"]


def test_the_command_has_the_options_it_is_given() -> None:
    _, group, verb, *rest = _commands()["systemd"]
    shown = run_here(group, verb, "--help", env={"COLUMNS": "200"})
    assert [part for part in rest if part.startswith("--") and part not in shown.stdout] == []


def test_cron_gets_what_cron_needs() -> None:
    minute, hour, *days = _cron_job().split()[:5]
    assert (int(minute) < 60, int(hour) < 24, days) == (True, True, ["*", "*", "*"])
    assert "%" not in _cron_job(), "a percent sign ends cron's line"
    assert (SCHEDULE / "crontab").read_bytes().endswith(b"\n"), "cron drops a last line without an end"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in ("bintally-nightly.service", "bintally-nightly.timer"):
        text = (SCHEDULE / name).read_text().replace("/opt/bintally/bin/bintally", "/bin/true")
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("bintally-nightly.service", "bintally-nightly.timer")]
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in checked.stderr.splitlines() if "bintally-nightly" in line and "Nothing to do" not in line]
    assert ours == []
    calendar = _unit("bintally-nightly.timer")["Timer"]["OnCalendar"]
    told = subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True, timeout=60, check=False)
    assert told.returncode == 0
