from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.training.profile.breakdown import breakdown, breakdown_of
from bintally.training.run_log import PHASES
from tests.training.profile.conftest import made_up_run, step_row

_SECONDS = st.dictionaries(st.sampled_from(PHASES), st.floats(0.001, 5), min_size=1)


def test_no_steps_yet(tmp_path: Path) -> None:
    spent = breakdown(tmp_path)
    assert (spent.steps, spent.seconds, spent.phases, spent.photos_per_s) == (0, 0.0, (), ())
    assert spent.sentence == "There is no step yet."


def test_what_is_healthy_is_said_to_be(tmp_path: Path) -> None:
    steps = [step_row(i, {"data": 0.1, "forward": 0.3, "backward": 0.5, "other": 0.1}) for i in range(20)]
    spent = breakdown(made_up_run(tmp_path, steps=steps))
    assert spent.sentence == ("80% of the time is computing (backward 50%, forward 30%): nothing holds it up.")
    assert spent.typical_s == pytest.approx(1.0)
    assert [rate for _, rate in spent.photos_per_s] == pytest.approx([10.0] * 20)


def test_a_sessions_first_step_warms_up() -> None:
    usual = {"forward": 0.2, "backward": 0.3}
    first = {"forward": 1.2, "backward": 0.8, "other": 0.5, "other:start": 0.4}
    spent = breakdown_of([step_row(0, first), *(step_row(i, usual) for i in range(1, 10))])
    assert {part.name: pytest.approx(part.seconds) for part in spent.phases} == {
        "forward": 2.0,
        "backward": 3.0,
        "other": 2.0,
    }
    assert [(part.name, round(part.seconds, 6)) for part in spent.parts["other"]] == [
        ("warm-up", 1.5),
        ("start", 0.4),
        ("small pieces", 0.1),
    ]
    assert spent.slowest[0].step == 0
    assert "forward took 1000 ms more than usual" in spent.slowest[0].why


@given(st.lists(_SECONDS, min_size=1, max_size=30))
def test_phases_sum_to_the_whole_and_parts_to_their_phase(rows: list[dict[str, float]]) -> None:
    steps = [
        step_row(i, {**row, **({"other:gc": row["other"] / 2, "other:start": 0.0} if "other" in row else {})})
        for i, row in enumerate(rows)
    ]
    spent = breakdown_of(steps)
    assert spent.seconds == pytest.approx(sum(sum(row.values()) for row in rows))
    assert sum(part.seconds for part in spent.phases) == pytest.approx(spent.seconds)
    assert sum(part.share for part in spent.phases) == pytest.approx(1)
    by_phase = {part.name: part.seconds for part in spent.phases}
    for phase, parts in spent.parts.items():
        assert sum(part.seconds for part in parts) == pytest.approx(by_phase[phase], abs=1e-5)
    assert [step.seconds for step in spent.slowest] == sorted((step.seconds for step in spent.slowest), reverse=True)
