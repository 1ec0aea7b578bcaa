"""The table of a search: every network that was tried, the ensemble, and those that could not be tried."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from bintally.artifacts import write_bytes, write_text
from bintally.bundle import Figure
from bintally.training.tune.search_state import Figures, LeftOut, TrialRow

CSV: Final = "leaderboard.csv"
JSON: Final = "leaderboard.json"


class LeaderRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line. Figures are on val; None where there is nothing to measure."""

    name: str
    trial: int | None
    """None: the ensemble, or a network that could not be tried."""
    rung: int | None
    backbone: str
    way: str
    px: int | None
    status: Literal["winner", "complete", "stopped", "failed", "left out"]
    accuracy: Figure | None = None
    rmse: Figure | None = None
    log_loss: Figure | None = None
    ece: float | None = None
    latency_ms: float | None = None
    latency_by: Literal["", "onnx", "torch"] = ""
    """onnx: the exported bundle, with its mirrored view; torch: a forward pass of one view. One photo, one thread."""
    size_mb: float | None = None
    seconds: float = 0.0
    note: str = ""


def leaderboard(
    trials: Sequence[TrialRow],
    left_out: Sequence[LeftOut],
    *,
    winner: Sequence[int],
    together: Figures | None,
    latency_ms: float | None,
    size_mb: float | None,
) -> list[LeaderRow]:
    """All rows, the least log loss first; `latency_ms` and `size_mb` are the bundle's, whose trials are `winner`."""
    rows = [_of_trial(trial) for trial in trials]
    served = {"status": "winner", "latency_ms": latency_ms, "latency_by": "onnx", "size_mb": size_mb}
    if together is not None:
        names = [row.name for number in winner for row in rows if row.trial == number]
        ensemble = LeaderRow(
            name="ensemble",
            trial=None,
            rung=None,
            backbone="",
            way="",
            px=None,
            status="winner",
            note=" + ".join(names),
        )
        rows.append(msgspec.structs.replace(ensemble, **_figures(together), **served))
    else:
        rows = [msgspec.structs.replace(row, **served) if row.trial in winner else row for row in rows]
    rows.sort(key=lambda row: (row.log_loss is None, row.log_loss.value if row.log_loss else 0.0, row.name))
    return rows + [
        LeaderRow(
            name=out.backbone,
            trial=None,
            rung=None,
            backbone=out.backbone,
            way="",
            px=None,
            status="left out",
            note=out.why,
        )
        for out in left_out
    ]


def _of_trial(trial: TrialRow) -> LeaderRow:
    row = LeaderRow(
        name=f"{trial.number:02d} {trial.backbone}",
        trial=trial.number,
        rung=trial.rung,
        backbone=trial.backbone,
        way=trial.way,
        px=trial.px,
        status="stopped" if trial.status == "planned" else trial.status,
        latency_ms=trial.forward_ms,
        latency_by="" if trial.forward_ms is None else "torch",
        size_mb=trial.size_mb,
        seconds=trial.seconds,
        note=trial.error.splitlines()[0] if trial.error else "",
    )
    return row if trial.figures is None else msgspec.structs.replace(row, **_figures(trial.figures))


def _figures(found: Figures) -> dict[str, Figure | float]:
    return {"accuracy": found.accuracy, "rmse": found.rmse, "log_loss": found.log_loss, "ece": found.ece}


def write_leaderboard(out: Path, rows: Sequence[LeaderRow], blind: dict[str, float]) -> None:
    """`leaderboard.csv` and `leaderboard.json` in `out`; the blind baseline is the table's last line."""
    write_text(out / CSV, as_csv(rows, blind))
    write_bytes(out / JSON, msgspec.json.format(msgspec.json.encode({"rows": list(rows), "blind": blind})) + b"\n")


def as_csv(rows: Sequence[LeaderRow], blind: dict[str, float]) -> str:
    """The table as CSV, intervals in columns of their own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    figures = ("accuracy", "rmse", "log_loss")
    plain = ("ece", "latency_ms", "latency_by", "size_mb", "seconds", "note")
    of_figures = [f"{name}{part}" for name in figures for part in ("", "_low", "_high")]
    writer.writerow(["name", "trial", "rung", "backbone", "way", "px", "status", *of_figures, *plain])
    for row in rows:
        cells = [_cell(getattr(row, name)) for name in ("name", "trial", "rung", "backbone", "way", "px", "status")]
        for name in figures:
            figure: Figure | None = getattr(row, name)
            cells += ["", "", ""] if figure is None else [_cell(x) for x in (figure.value, figure.low, figure.high)]
        writer.writerow([*cells, *(_cell(getattr(row, name)) for name in plain)])
    shown = [cell for name in figures for cell in (_cell(blind.get(name)), "", "")]
    writer.writerow(["blind", "", "", "", "", "", "", *shown, *[""] * (len(plain) - 1), "never looks at a photo"])
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
