"""The table of docs/results.md from finished reports, as Markdown; `make results SOURCE=DIR` trains what it shows.

    python tools/results.py runs baseline fast

Each RUNS/NAME has run/run.json, bundle/card.json and report/metrics.json.
"""

import argparse
import sys
from pathlib import Path

from bintally.bundle import Bundle, Figure
from bintally.counting.evaluate import METRICS
from bintally.counting.report import EvaluationReport
from bintally.training.finished import read_run

HEAD = (
    "model",
    "val",
    "right count",
    "RMSE, items",
    "log loss",
    "calibration error",
    "photos of train x epochs",
    "training",
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("names", nargs="+")
    asked = parser.parse_args()
    reports = {name: _report(asked.runs / name) for name in asked.names}
    photos = {(report.subject.table_sha256, report.subject.split, report.subject.counts) for report in reports.values()}
    if len(photos) > 1:
        sys.exit("These reports judge different photos: their figures can't stand in one table.")
    first = next(iter(reports.values()))
    print(f"{first.population.judged:,} photos of {first.subject.split}, counts {first.subject.counts}\n")
    print(_row(HEAD), _row(["---"] * len(HEAD)), sep="\n")
    for blind in first.blind:
        accuracy, rmse = (f"{blind.figures[key]:.3f}" for key in ("accuracy", "rmse"))
        print(
            _row([f"blind: always {blind.count}, the commonest of {blind.source}", "", accuracy, rmse, "", "", "", ""])
        )
    for name, report in reports.items():
        print(_row([f"`{name}`", *_figures(asked.runs / name, report)]))


def _report(folder: Path) -> EvaluationReport:
    return EvaluationReport.from_json((folder / "report" / METRICS).read_bytes())


def _figures(folder: Path, report: EvaluationReport) -> list[str]:
    _, run = read_run(folder / "run")
    val = Bundle.open(folder / "bundle").card.metrics["val"].figures["accuracy"]
    calibration = f"{report.calibration.ece:.3f} (chance: up to {report.calibration.ece_if_calibrated:.3f})"
    learnt = f"{run.train_photos:,} x {len(run.history)}"
    told = [_told(report.figures[key]) for key in ("accuracy", "rmse", "log_loss")]
    return [
        f"{val.value:.3f}",
        *told,
        calibration,
        learnt,
        f"{sum(row['seconds'] for row in run.history) / 60:.0f} min",
    ]


def _told(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
