"""What waiting costs at least, whoever serves: photos that come at random moments wait for each other."""

from collections.abc import Iterable

import numpy as np


def least_p99_ms(moments_s: Iterable[float], *, photos_per_s: float) -> float:
    """The 99th percentile, in ms, of a server that counts photos of `moments_s` one by one and loses no time.

    A server that is never quicker than `photos_per_s`, and lets nobody jump the queue, has no lower one: all cores are
    at work on the first photo, and then on the next.
    """
    free_s, latencies_ms = 0.0, list[float]()
    for moment_s in moments_s:
        free_s = max(free_s, moment_s) + 1 / photos_per_s
        latencies_ms.append(1000 * (free_s - moment_s))
    return float(np.percentile(latencies_ms, 99, method="higher"))
