"""`simulate`: the same figures whatever the order, the processes and the interruptions."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import psutil
import pytest

from bintally.errors import ConfigError, UsageError
from bintally.inventory.judging.how import How
from bintally.inventory.ledger import Ledger
from bintally.simulation.run import FIGURES, LEDGERS, PAGE, PLOT, RESULTS, simulate
from bintally.simulation.settings import ArmName, SimulationSettings
from bintally.simulation.site import live
from bintally.simulation.tally import ArmResult
from tests.simulation.banks import certain
from tests.simulation.sites import changed


@pytest.fixture
def week(small: SimulationSettings, how: How, monkeypatch: pytest.MonkeyPatch) -> SimulationSettings:
    """A week of six bins, and a model that sees everything."""
    monkeypatch.setattr("bintally.simulation.run.bank_of", lambda of, *_, **__: certain(of.card))
    return changed(small, days=7, bins=6)


def test_it_writes_page_plot_and_figures(week: SimulationSettings, bundle: Path, tmp_path: Path) -> None:
    report = simulate(settings=week, bundle=bundle, out=tmp_path, workers=1)
    assert {path.name for path in tmp_path.iterdir()} == {PAGE, PLOT, FIGURES, RESULTS}
    assert "<h1>" in (tmp_path / PAGE).read_text()
    told = msgspec.json.decode((tmp_path / FIGURES).read_bytes())
    assert told["seeds"] == [0, 1]
    assert told == msgspec.json.decode(msgspec.json.encode(report))
    assert len(list((tmp_path / RESULTS).iterdir())) == 10


def test_figures_depend_neither_on_the_order_of_arms_nor_on_processes(
    week: SimulationSettings, bundle: Path, tmp_path: Path
) -> None:
    few = changed(week, arms=("nothing", "bintally"))
    one = simulate(settings=few, bundle=bundle, out=tmp_path / "one", workers=1)
    turned = changed(few, arms=("bintally", "nothing"))
    other = simulate(settings=turned, bundle=bundle, out=tmp_path / "other", workers=2)
    assert {arm.arm: arm for arm in one.arms} == {arm.arm: arm for arm in other.arms}
    assert one.made_from == other.made_from


def test_what_is_done_stays_done(
    week: SimulationSettings, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = changed(week, arms=("hand", "nothing"))
    first = simulate(settings=quick, bundle=bundle, out=tmp_path, workers=1)
    (tmp_path / RESULTS / "1-hand.json").unlink()
    (tmp_path / RESULTS / "0-nothing.json").write_bytes(b"{")
    lived: list[tuple[str, int]] = []

    def noted(arm: ArmName, seed: int, *rest: Any, **more: Any) -> ArmResult:
        lived.append((arm, seed))
        return live(arm, seed, *rest, **more)

    monkeypatch.setattr("bintally.simulation.workers.live", noted)
    assert simulate(settings=quick, bundle=bundle, out=tmp_path, workers=1).arms == first.arms
    assert lived == [("hand", 1), ("nothing", 0)]
    lived.clear()
    simulate(settings=changed(quick, seeds=3), bundle=bundle, out=tmp_path, workers=1)
    assert lived == [("hand", 2), ("nothing", 2)]
    lived.clear()
    simulate(settings=changed(quick, days=8), bundle=bundle, out=tmp_path, workers=1)
    assert len(lived) == 4


def test_killed_midway_it_goes_on(week: SimulationSettings, bundle: Path, tmp_path: Path) -> None:
    few = changed(week, arms=("nothing", "bintally"), seeds=2)
    program = (
        "import sys, msgspec, bintally.simulation.run as run\n"
        "from pathlib import Path\n"
        "from tests.simulation.banks import certain\n"
        "run.bank_of = lambda how, *_, **__: certain(how.card)\n"
        "settings = run.SimulationSettings.model_validate_json(sys.argv[1])\n"
        "if __name__ == '__main__': run.simulate(settings=settings, bundle=sys.argv[2], out=sys.argv[3], workers=2)\n"
    )
    command = [sys.executable, "-c", program, few.model_dump_json(), str(bundle), str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    with (tmp_path / "said").open("wb") as said:
        child = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stderr=said)
    kept = tmp_path / "out" / RESULTS / "0-nothing.json"
    until = time.monotonic() + 120
    while not kept.is_file() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert kept.is_file(), (tmp_path / "said").read_text()
    workers = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    written = kept.stat().st_mtime_ns
    assert not (tmp_path / "out" / FIGURES).exists()
    report = simulate(settings=few, bundle=bundle, out=tmp_path / "out", workers=1)
    assert kept.stat().st_mtime_ns == written
    assert report.arms == simulate(settings=few, bundle=bundle, out=tmp_path / "whole", workers=1).arms


def test_ledgers_are_kept_where_asked(week: SimulationSettings, bundle: Path, tmp_path: Path) -> None:
    one = changed(week, arms=("bintally",), seeds=1)
    simulate(settings=one, bundle=bundle, out=tmp_path, keep=True, workers=1)
    with Ledger.open(tmp_path / LEDGERS / "0") as ledger, ledger.read() as connection:
        found = pl.read_database("SELECT count(*) AS many FROM verdict", connection)
    assert found["many"].item() > 0


def test_wrong_settings_say_so(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("[errors]\npick_quantitiy = 0.1\n")
    with pytest.raises(ConfigError, match="pick_quantity"):
        simulate(settings=tmp_path / "site.toml", out=tmp_path)
    with pytest.raises(ConfigError, match="'least_par' is 5, above 'most_par', 3"):
        SimulationSettings.of({"stock": {"least_par": 5, "most_par": 3}})
    with pytest.raises(UsageError, match="0 workers"):
        simulate(out=tmp_path, workers=0)


def test_options_replace_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('days = 30\nbins = 40\narms = ["bintally", "nothing"]\n[money]\ncount = 4.0\n')
    settings = SimulationSettings.asked(path, {"days": 10})
    assert (settings.days, settings.bins, settings.money.count) == (10, 40, 4.0)
    assert settings.arms == ("bintally", "nothing")
    assert settings.money.photo == 0.02
