"""What `test_crash` kills: a process that collects what is old.

    python tests/registry/retention/crash_child.py

As `tests/registry/crash_child.py`, whose steps it counts.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from bintally.registry.retention.collect import gc
from tests.crashing import fork_for_each
from tests.registry.crash_child import Dying, Points


def work(task: dict[str, Any]) -> None:
    """Collects, and dies before the step "die"."""
    points = Points(task["place"], task["die"])
    sys.addaudithook(points.hear)
    Dying.points = points
    with Path(task["said"]).open("a") as told, Dying.open(task["place"]) as registry:
        gc(registry, by="night")
        print(task["start"], file=told, flush=True)
        print("done", points.passed, file=told, flush=True)


if __name__ == "__main__":
    fork_for_each(work)
