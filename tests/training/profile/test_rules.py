"""Rules on made-up rows: looks at machines that are not here, with GPUs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import ConfigError
from bintally.training.profile.gpu_rules import _distance
from bintally.training.profile.machine import environment, write_environment
from bintally.training.profile.rules import GUIDE, RULES, configured, profile_rules, profiler_report
from tests.training.profile.conftest import made_up_run, step_row, system_row

HEALTHY: dict[str, Any] = {"cpu_percent": 60.0, "gpu_percent": (95.0, 94.0), "gpu_memory_percent": (80.0, 80.0)}


def _made_up(run: Path, looks: int, ill: Callable[[int], dict[str, Any]], *, every_s: float = 0.5) -> Path:
    """`looks` at a healthy machine with two GPUs, but for what `ill` says of each."""
    return made_up_run(run, system=[system_row(1000 + every_s * i, **(HEALTHY | ill(i))) for i in range(looks)])


def _rules(run: Path, **asked: Any) -> set[str]:
    return {found.rule for found in profile_rules(run, **asked)}


ILLNESSES: dict[str, tuple[Callable[[int], dict[str, Any]], set[str]]] = {
    "nothing": (lambda i: {}, set()),
    "small batches": (
        lambda i: {"cpu_percent": 20.0, "gpu_percent": (40.0, 40.0), "gpu_memory_percent": (15.0, 15.0)},
        {"BatchSize", "LowGPUUtilization"},
    ),
    "GPUs that have little to do": (lambda i: {"gpu_percent": (50.0, 50.0)}, {"LowGPUUtilization"}),
    "a GPU that pauses": (lambda i: {"gpu_percent": (95.0, 2.0 if i % 10 == 0 else 95.0)}, {"LowGPUUtilization"}),
    "a processor that can't keep up": (
        lambda i: {"cpu_percent": 97.0, "gpu_percent": (5.0, 5.0) if i % 4 else (95.0, 95.0)},
        {"CPUBottleneck", "LowGPUUtilization"},
    ),
    "a disk that can't keep up": (
        lambda i: {"io_percent": 80.0, "gpu_percent": (5.0, 5.0) if i % 4 else (95.0, 95.0)},
        {"IOBottleneck", "LowGPUUtilization"},
    ),
    "memory that is not given back": (
        lambda i: {"gpu_memory_percent": (10.0 if i < 1100 else 95.0, 80.0)},
        {"GPUMemoryIncrease"},
    ),
    "one GPU doing the work of two": (lambda i: {"gpu_percent": (100.0, 71.0)}, {"LoadBalancing"}),
}


@pytest.mark.parametrize("illness", ILLNESSES)
def test_each_illness_of_a_gpu_machine_has_its_rules_and_no_others(tmp_path: Path, illness: str) -> None:
    ill, expected = ILLNESSES[illness]
    assert _rules(_made_up(tmp_path, 1200, ill)) == expected
    assert _rules(_made_up(tmp_path / "short", 900, ill)) == set()  # all of these are patient for 1000


def test_the_guide_is_less_patient_and_takes_more_for_a_waiting_gpu(tmp_path: Path) -> None:
    def small(i: int) -> dict[str, Any]:
        return {"cpu_percent": 20.0, "gpu_percent": (40.0, 40.0), "gpu_memory_percent": (15.0, 15.0)}

    run = _made_up(tmp_path / "small", 300, small)
    assert _rules(run, defaults="guide") == {"BatchSize"}
    waiting = _made_up(tmp_path / "disk", 1200, lambda i: {"io_percent": 80.0, "gpu_percent": (65.0, 95.0)})
    assert "IOBottleneck" in _rules(waiting, defaults="guide")
    assert "IOBottleneck" not in _rules(waiting)


def test_published_defaults() -> None:
    """As in smdebug_rulesconfig 1.0 and smdebug; the guide's where it differs."""
    code = {type(rule).__name__: rule for rule in configured()}
    guide = {type(rule).__name__: rule for rule in configured(defaults="guide")}
    expected = {
        ("BatchSize", "patience"): (1000, 100),
        ("CPUBottleneck", "patience"): (1000, 100),
        ("CPUBottleneck", "cpu_threshold"): (90, 90),
        ("Dataloader", "min_threshold"): (70, 70),
        ("Dataloader", "max_threshold"): (200, 200),
        ("GPUMemoryIncrease", "increase"): (5, 10),
        ("GPUMemoryIncrease", "window"): (10, 500),
        ("IOBottleneck", "gpu_threshold"): (10, 70),
        ("LoadBalancing", "patience"): (1000, 10),
        ("LowGPUUtilization", "threshold_p5"): (10, 10),
        ("MaxInitializationTime", "threshold"): (20, 20),
        ("StepOutlier", "stddev"): (3, 5),
        ("StepOutlier", "n_outliers"): (10, 10),
    }
    for (rule, name), values in expected.items():
        assert (getattr(code[rule], name), getattr(guide[rule], name)) == values
    assert set(GUIDE) <= set(code) == {kind.__name__ for kind in RULES}


def test_parameters_are_taken_as_profiler_report_takes_them(tmp_path: Path) -> None:
    run = _made_up(tmp_path, 200, lambda i: {"gpu_percent": (50.0, 50.0)})
    for parameters in ({"LowGPUUtilization_patience": 100}, {"LowGPUUtilization": {"patience": 100}}):
        assert _rules(run, parameters=parameters) == {"LowGPUUtilization"}
    assert _rules(run, parameters={"lowgpuutilization_patience": 100, "LowGPUUtilization_threshold_p95": 40}) == set()
    with pytest.raises(ConfigError, match=r"no rule 'batchsise'\. Did you mean"):
        profile_rules(run, parameters={"BatchSise_patience": 3})
    with pytest.raises(ConfigError, match=r"BatchSize has no parameter 'pacience'\. Did you mean 'patience'"):
        profile_rules(run, parameters={"BatchSize": {"pacience": 3}})
    with pytest.raises(ConfigError, match="defaults"):
        profile_rules(run, defaults="book")  # type: ignore[arg-type]


def test_a_rule_that_cannot_judge_says_why(tmp_path: Path) -> None:
    run = made_up_run(tmp_path, system=[system_row(1000.0 + i) for i in range(20)], steps=[step_row(0, {"data": 1.0})])
    report = profiler_report(run)
    lacks = {verdict.rule: verdict.lacks for verdict in report.verdicts}
    assert lacks["BatchSize"] == "no GPU tells how busy it is"
    assert lacks["LoadBalancing"] == "one GPU at most"
    assert lacks["IOBottleneck"] == "20 looks at the machine, 1000 are its patience"
    assert lacks["Dataloader"] == "the log does not describe the machine"
    assert report.findings == ()
    assert report.usage["CPU"].max == 5.0
    assert profiler_report(tmp_path / "nothing").findings == ()


def test_a_finding_names_gpu_step_and_figures(tmp_path: Path) -> None:
    looks = [system_row(1000 + 0.5 * i, **HEALTHY | {"gpu_percent": (95.0, 50.0)}) for i in range(1200)]
    run = made_up_run(tmp_path, system=looks, steps=[step_row(step, {"forward": 1.0}) for step in range(700)])
    (found,) = profile_rules(run, parameters={"LoadBalancing_threshold": 1})
    assert (found.rule, found.tensor, found.value, found.threshold) == ("LowGPUUtilization", "gpu 1", 50.0, 70)
    assert 500 <= found.step <= 600
    assert "GPU 1 is at most 50% busy" in found.message
    assert found.advice


def test_on_a_processor_a_bottleneck_of_the_disk_is_told_by_the_trainings_own_use_of_it(tmp_path: Path) -> None:
    ill = [system_row(1000 + 0.5 * i, io_percent=80.0, process_percent=4.0) for i in range(1200)]
    well = [system_row(1000 + 0.5 * i, io_percent=80.0, process_percent=90.0) for i in range(1200)]
    assert _rules(made_up_run(tmp_path / "ill", system=ill)) == {"IOBottleneck"}
    assert _rules(made_up_run(tmp_path / "well", system=well)) == set()


@pytest.mark.parametrize(
    ("loaders", "waits", "expected"),
    [(0, 0.5, True), (0, 0.01, False), (4, 0.5, False), (9, 0.01, True), (8, 0.01, False)],
)
def test_loader_processes_are_too_few_where_steps_wait_and_too_many_where_they_crowd(
    tmp_path: Path, loaders: int, waits: float, *, expected: bool
) -> None:
    steps = [step_row(step, {"data": waits, "forward": 1 - waits}) for step in range(20)]
    run = made_up_run(tmp_path, steps=steps)
    here = environment(started_at=999.0, threads=4, loader_processes=loaders)
    write_environment(
        run, type(here)(**{name: getattr(here, name) for name in here.__struct_fields__} | {"cores": 4.0})
    )
    assert (_rules(run) == {"Dataloader"}) is expected
    assert ("Dataloader" in _rules(run, parameters={"Dataloader_waiting": 0})) is (expected or loaders == 0)


@given(st.lists(st.integers(0, 50), min_size=50, max_size=50), st.lists(st.integers(0, 50), min_size=50, max_size=50))
def test_the_distance_of_histograms_is_one(one: list[int], other: list[int]) -> None:
    p, q = np.array(one), np.array(other)
    if not p.any() or not q.any():
        return
    assert _distance(p, p) == pytest.approx(0, abs=1e-6)
    assert _distance(p, q) == pytest.approx(_distance(q, p))
    assert -1e-9 <= _distance(p, q) <= np.sqrt(np.log(2)) + 1e-9
    assert _distance(3 * p, p) == pytest.approx(0, abs=1e-6)
