import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bintally.bundle import Figure
from bintally.training.tune.search_leaderboard import JSON, as_csv, leaderboard, write_leaderboard
from bintally.training.tune.search_page import pareto
from bintally.training.tune.search_state import Figures, LeftOut, TrialRow

BLIND = {"accuracy": 0.25, "rmse": 1.4, "log_loss": 1.6}


def _figures(log_loss: float) -> Figures:
    figure = Figure(0.4, 0.35, 0.45)
    return Figures(
        photos=100,
        accuracy=figure,
        rmse=Figure(1.0, 0.9, 1.1),
        log_loss=Figure(log_loss, log_loss - 0.1, log_loss + 0.1),
        ece=0.05,
        ece_if_calibrated=0.06,
    )


def _trial(number: int, log_loss: float | None, **changes: object) -> TrialRow:
    known: dict[str, object] = {
        "number": number,
        "rung": 0,
        "backbone": "resnet50:3",
        "way": "frozen",
        "px": 128,
        "epochs": 30,
        "passes": 0.0,
        "start": None,
        "run": f"trials/{number:02d}",
        "recipe": {},
        "planned_s": 10.0,
        "status": "failed" if log_loss is None else "complete",
        "seconds": 12.0,
        "forward_ms": None if log_loss is None else 8.0,
        "size_mb": None if log_loss is None else 17.25,
        "figures": None if log_loss is None else _figures(log_loss),
    }
    return TrialRow(**(known | changes))  # type: ignore[arg-type]


GOLDEN = """\
name,trial,rung,backbone,way,px,status,accuracy,accuracy_low,accuracy_high,rmse,rmse_low,rmse_high,log_loss,log_loss_low,\
log_loss_high,ece,latency_ms,latency_by,size_mb,seconds,note
01 densenet169,1,1,densenet169,all layers,192,winner,0.4000,0.3500,0.4500,1.0000,0.9000,1.1000,1.2000,1.1000,1.3000,\
0.0500,21.5000,onnx,26.0000,300.0000,
00 resnet50:3,0,0,resnet50:3,frozen,128,complete,0.4000,0.3500,0.4500,1.0000,0.9000,1.1000,1.4000,1.3000,1.5000,\
0.0500,8.0000,torch,17.2500,12.0000,
02 resnet50:3,2,0,resnet50:3,frozen,128,failed,,,,,,,,,,,,,,12.0000,out of memory
convnext_tiny,,,convnext_tiny,,,left out,,,,,,,,,,,,,,0.0000,None of its weights can be had: hub.
blind,,,,,,,0.2500,,,1.4000,,,1.6000,,,,,,,,never looks at a photo
"""


def test_the_table() -> None:
    trials = [
        _trial(0, 1.4),
        _trial(1, 1.2, backbone="densenet169", way="all layers", px=192, rung=1, seconds=300.0),
        _trial(2, None, error="out of memory\nand more"),
    ]
    left_out = [LeftOut("convnext_tiny", "None of its weights can be had: hub.")]
    rows = leaderboard(trials, left_out, winner=[1], together=None, latency_ms=21.5, size_mb=26.0)
    assert as_csv(rows, BLIND) == GOLDEN


def test_an_ensemble_is_a_line_of_its_own_and_its_networks_keep_theirs(tmp_path: Path) -> None:
    trials = [_trial(0, 1.4), _trial(1, 1.2)]
    rows = leaderboard(trials, [], winner=[1, 0], together=_figures(1.1), latency_ms=30.0, size_mb=34.0)
    assert [(row.name, row.status) for row in rows] == [
        ("ensemble", "winner"),
        ("01 resnet50:3", "complete"),
        ("00 resnet50:3", "complete"),
    ]
    assert rows[0].note == "01 resnet50:3 + 00 resnet50:3"
    write_leaderboard(tmp_path, rows, BLIND)
    assert json.loads((tmp_path / JSON).read_text())["blind"] == BLIND


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1))
def test_no_point_of_the_front_is_beaten_and_every_other_is(pairs: list[tuple[int, int]]) -> None:
    points = [(float(x), float(y)) for x, y in pairs]
    front = pareto(points)

    def beaten(place: int) -> bool:
        x, y = points[place]
        return any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)

    assert not any(beaten(place) for place in front)
    shown = {points[place] for place in front}
    assert all(beaten(place) or points[place] in shown for place in range(len(points)))
