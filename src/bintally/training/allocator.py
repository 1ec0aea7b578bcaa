"""The C library's allocator, told to keep what a training step frees."""

import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_TOP_PAD: Final = -2
M_MMAP_MAX: Final = -4
"""Numbers of glibc's malloc.h; see mallopt(3)."""

NEVER: Final = 2**31 - 1
TOP_PAD_BYTES: Final = 256 * 2**20


def keep_freed_memory() -> bool:
    """Lets large buffers be reused from step to step; whether this C library could be told so.

    By default glibc gives every large block back to the system as soon as it is freed, and the next one's pages have to
    be mapped and zeroed anew: some 200,000 page faults in each step of a DenseNet-169 on 32 photos, over a quarter of
    its time (benchmarks/training.py). The process keeps its largest step's memory until it ends. Other C libraries
    (musl, macOS, Windows) are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(mallopt(option, value) == 1 for option, value in wanted)
