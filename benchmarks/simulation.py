"""The figures of docs/simulation.md, and the photo bank that is shipped.

    python benchmarks/simulation.py [--data DATA] [--days 90 --bins 150 --seeds 5] [--out FOLDER]
    python benchmarks/simulation.py bank --data DATA

The first lives through the sites and puts the picture into docs/images; the second makes the bundled model's bank anew,
from the test photos of a data folder (`bintally fetch DIR --out DATA`, `check`, `split DATA --how given`).
"""

import argparse
import os
import shutil
import time
from pathlib import Path

from bintally.cli.common import progress_for
from bintally.cli.simulate import show
from bintally.inventory.judging.how import How
from bintally.settings import BUNDLED_CHAMPION
from bintally.simulation.bank_made import SHIPPED, make_bank
from bintally.simulation.run import PLOT, simulate
from bintally.simulation.settings import SimulationSettings

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "simulation.png"


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("figures", "bank"), default="figures")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--bins", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/simulation"))
    asked = parser.parse_args()
    if asked.what == "bank":
        if asked.data is None:
            parser.error("the bank is made of photos: --data DATA")
        bank(asked.data)
    else:
        figures(asked.data, asked.days, asked.bins, asked.seeds, asked.out)


def bank(data: Path) -> None:
    """Makes the shipped bank."""
    counter = How.open(BUNDLED_CHAMPION).counter
    made = make_bank(counter, data, split="test", progress=progress_for(json_output=False))
    made.about = made.about.removesuffix(f" of {data.name}") + " of the Amazon Bin Image Dataset"
    made.write(SHIPPED)
    print(f"{made.about}: {SHIPPED.stat().st_size / 1e3:,.0f} kB")


def figures(data: Path | None, days: int, bins: int, seeds: int, out: Path) -> None:
    """Lives through the sites."""
    print(f"load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    started = time.perf_counter()
    settings = SimulationSettings(days=days, bins=bins, seeds=seeds)
    report = simulate(settings=settings, data=data, out=out, progress=progress_for(json_output=False))
    show(report)
    print(f"{time.perf_counter() - started:,.0f} s; likeness of photos: {report.likeness}")
    shutil.copyfile(out / PLOT, PICTURE)


if __name__ == "__main__":
    main()
