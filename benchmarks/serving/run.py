"""The service beside LitServe, BentoML, FastAPI and Ray Serve: same bundle, same client, same machine, in turns.

    python benchmarks/serving/run.py --photos DIR [--bundle fast] [--only NAMES] [--rounds 3] [--seconds 5] [--save]

Each round starts each system alone, holds its answers against the right ones, and measures photos/s (16 connections),
the time of one photo (one connection) and latencies at 70% of its own photos/s (random arrivals). The bare loop
(decoding and model in one process, no HTTP) is the limit; "overhead" is by how much one photo takes longer than in a
bare loop that is asked in turns with the service, and works with as many threads.
Ratios are taken within a round. Without `--photos`: rendered ones.

Rivals are installed into virtual environments of their own in bintally's cache folder; each one's tuning names the page
of its documentation (rivals/*/server.py). Prices: AWS Fargate, Linux/x86, us-east-1, list price of June 2026.
"""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))  # this folder's modules, where it is run as a file

from benchmarks.serving.measure import Asked, Measured, limits, measure
from benchmarks.serving.report import Round, cost, goals, plot, table, tail_limit
from benchmarks.serving.systems import System, systems
from benchmarks.serving.venvs import REPOSITORY, venv_of

from bintally.artifacts import write_json
from bintally.counting.counter import Counter
from bintally.data.rendered.source import render_source
from bintally.settings import cpu_count

RESULT = REPOSITORY / "benchmarks" / "results" / "serving.json"
PLOT = REPOSITORY / "docs" / "images" / "serving.png"
CHECKED = 6
GB = 4.0


def main() -> None:
    """Measures and prints; with --save keeps figures and plot."""
    asked = _arguments()
    chosen = _chosen(systems(ours=asked.ours or [""]), asked.only)
    with TemporaryDirectory(prefix="bintally-bench-") as scratch:
        folder = asked.photos or render_source(Path(scratch), photos=asked.limit) / "bin-images"
        shared = _shared(folder, asked.limit, asked.bundle, asked.seconds)
        about = _about(asked, len(shared.photos))
        print(", ".join(map(str, about.values())), flush=True)
        for rival in {"", *(system.rival for system in chosen)}:
            venv_of(rival)
        rounds = [_round(number, chosen, shared) for number in range(asked.rounds)]
    told = goals(rounds)
    price = cost(
        rounds,
        cores=cpu_count(),
        usd_per_vcpu_hour=asked.usd_per_vcpu_hour,
        usd_per_gb_hour=asked.usd_per_gb_hour,
        gb=GB,
    )
    print("", table(rounds), "", *[f"- {goal}" for goal in told], "", tail_limit(rounds), "", price, sep="\n")
    if asked.save:
        figures = [{"limits": limit, "systems": measured} for limit, measured in rounds]
        write_json(RESULT, msgspec.to_builtins({**about, "rounds": figures, "goals": told, "cost": price}))
        plot(rounds, PLOT)


def _round(number: int, chosen: list[System], shared: Asked) -> Round:
    """Every system once; each round begins with another, so that none always comes after the same."""
    bare = limits(shared)
    turn = number % len(chosen)
    measured: dict[str, Measured] = {}
    for system in [*chosen[turn:], *chosen[:turn]]:
        measured[system.name] = one = measure(system, shared, seed=number)
        print(
            f"round {number + 1}, load {os.getloadavg()[0]:.1f}: {system.name:<28} {one.photos_per_s:6.1f} photos/s "
            f"({one.cpu_ms:5.1f} ms CPU), one {one.single_ms:5.1f} ms, p99 {one.p99_ms:6.1f} ms, {one.failed} failed",
            flush=True,
        )
    return bare, [measured[system.name] for system in chosen]


def _told(arguments: list[str], photos: Path | None) -> list[str]:
    """The arguments as a reader repeats them: whose folder of photos it was is nobody's business."""
    return ["DIR" if photos is not None and Path(each) == photos else each for each in arguments]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs")
    parser.add_argument("--limit", type=int, default=100, help="photos to send, again and again")
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--only", default="", help="beginnings of systems' names, by commas; ours is always there")
    parser.add_argument(
        "--ours", action="append", help='arguments of `bintally serve`; repeat it: --ours "" --ours ...'
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of a system's three measurements")
    parser.add_argument("--usd-per-vcpu-hour", type=float, default=0.04048)
    parser.add_argument("--usd-per-gb-hour", type=float, default=0.004445)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/serving.json and the plot")
    return parser.parse_args()


def _chosen(every: list[System], only: str) -> list[System]:
    starts = tuple(part.strip().lower() for part in only.split(",") if part.strip())
    return [each for each in every if not starts or each.is_ours or each.name.lower().startswith(starts)]


def _shared(folder: Path, limit: int, bundle: str, seconds: float) -> Asked:
    photos = tuple(path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:limit])
    if not photos:
        sys.exit(f"{folder} holds no .jpg.")
    counter = Counter(bundle)
    right = tuple(counter.count(photo).probabilities for photo in photos[:CHECKED])
    return Asked(bundle, photos, right, folder, seconds)


def _about(asked: argparse.Namespace, photos: int) -> dict[str, object]:
    return {
        "command": " ".join(["python", "benchmarks/serving/run.py", *_told(sys.argv[1:], asked.photos)]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {cpu_count()} cores, Python {platform.python_version()}",
        "bundle": asked.bundle,
        "photos": photos,
        "load_average": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()
