"""The leaderboard: best first, as the CSV that the reports had, and a front that no trial beats."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from bintally.training.tune.leaderboard import as_csv, leaderboard, pareto
from bintally.training.tune.study import importance

GOLDEN = """\
trial,status,optimizer.head_lr,loop.batch_size,log_loss,start,end,seconds,epochs,run,error
2,complete,0.01,64,1.25,2026-01-02T03:02:00+00:00,2026-01-02T03:02:30+00:00,30.0,2,trials/002,
0,complete,0.01,32,1.5,2026-01-02T03:00:00+00:00,2026-01-02T03:00:30+00:00,30.0,2,trials/000,
1,pruned,0.01,32,1.75,2026-01-02T03:01:00+00:00,2026-01-02T03:01:30+00:00,30.0,1,trials/001,
4,running,0.01,32,,2026-01-02T03:04:00+00:00,,,0,trials/004,
3,failed,0.01,32,,2026-01-02T03:03:00+00:00,2026-01-02T03:03:30+00:00,30.0,0,trials/003,"Killed, says the system."
"""


def _trial(
    number: int, state: TrialState, loss: float | None = None, *, batch: int = 32, error: str = ""
) -> FrozenTrial:
    history = [{"log_loss": loss}] * (1 if state == TrialState.PRUNED else 2) if loss else []
    end = {"best": {"log_loss": loss} if loss else {}, "history": history, "seconds": 30.0, "error": error}
    return FrozenTrial(
        number=number,
        state=state,
        value=loss if state.is_finished() and state != TrialState.FAIL else None,
        datetime_start=datetime(2026, 1, 2, 3, number),
        datetime_complete=datetime(2026, 1, 2, 3, number, 30) if state.is_finished() else None,
        params={"optimizer.head_lr": 0.01, "loop.batch_size": batch},
        distributions={
            "optimizer.head_lr": FloatDistribution(1e-3, 0.1),
            "loop.batch_size": CategoricalDistribution((32, 64)),
        },
        user_attrs={"end": end} if state.is_finished() else {},
        system_attrs={},
        intermediate_values={},
        trial_id=number,
    )


TRIALS = [
    _trial(0, TrialState.COMPLETE, 1.5),
    _trial(1, TrialState.PRUNED, 1.75),
    _trial(2, TrialState.COMPLETE, 1.25, batch=64),
    _trial(3, TrialState.FAIL, error="Killed, says the system.\nand more"),
    _trial(4, TrialState.RUNNING),
]


def test_the_csv_is_what_it_was() -> None:
    board = leaderboard(TRIALS, "log_loss", {})
    offset = datetime(2026, 1, 2, 3).astimezone().isoformat()[-6:]
    assert as_csv(board) == GOLDEN.replace("+00:00", offset)
    assert [row.number for row in board.front] == [2]


def test_importance_waits_for_enough_trials_that_differ() -> None:
    assert importance(TRIALS, "log_loss") == {}
    alike = [_trial(number, TrialState.COMPLETE, 1.5) for number in range(8)]
    assert importance(alike, "log_loss") == {}
    telling = [_trial(n, TrialState.COMPLETE, 1.0 + abs(n - 13), batch=32 if n % 2 else 64) for n in range(40)]
    for trial in telling:
        trial.params["optimizer.head_lr"] = 0.001 + 0.002 * trial.number
    shares = importance(telling, "log_loss")
    assert shares["optimizer.head_lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


@given(st.dictionaries(st.integers(0, 50), st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1))
def test_the_front_is_what_none_beats_and_the_rest_is_beaten(costs: dict[int, tuple[float, ...]]) -> None:
    front = pareto(costs)

    def beaten(mine: int) -> bool:
        return any(
            all(a <= b for a, b in zip(cost, costs[mine], strict=True)) and cost != costs[mine]
            for cost in costs.values()
        )

    assert front == {number for number in costs if not beaten(number)}
    assert front
    assert {min(costs, key=lambda number: (costs[number], number))} <= front
