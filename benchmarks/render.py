"""How many photos of the rendered sample a core makes: `python benchmarks/render.py [PHOTOS]`.

Counts processor time, so that a busy machine does not look like a slow program. Target: at least 30 photos/s a core.
"""

import sys
import time

from bintally.data.rendered import RenderSettings, render_bin
from bintally.data.rendered.source import plan

WARM_UP = 20  # photos that fill the caches of tiles and fonts


def photos_per_second(photos: int) -> float:
    """Photos drawn and encoded by one process in a second of processor time."""
    settings = RenderSettings()
    start = 0.0
    for job in plan(WARM_UP + photos, seed=0, settings=settings):
        if not start and job.first_id > WARM_UP:
            start, first = time.process_time(), job.first_id
        for _ in render_bin(job.index, seed=0, settings=settings, photos=job.photos):
            pass
    return (WARM_UP + photos - first + 1) / (time.process_time() - start)


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(f"render: {photos_per_second(wanted):.0f} photos/s a core (target: at least 30)")
