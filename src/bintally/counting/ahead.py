"""Photos decoded by threads while the network works on those before.

Shapes: H x W the model's size. pixels_hwc uint8 [H, W, 3], RGB.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Card
from bintally.counting.decode import decode
from bintally.counting.inputs import STDIN, read_input
from bintally.errors import PhotoError

Row = TypeVar("Row")

_AHEAD: Final = 3
"""Batches decoded ahead of the network: enough that it never waits, few enough that memory stays flat."""


class Decoded(msgspec.Struct, frozen=True):
    """A photo brought to the model's size, or why it could not be."""

    pixels_hwc: NDArray[np.uint8] | None
    decode_ms: float
    error: str | None


def decoded_ahead(
    rows: Iterable[Row], photos_of: Callable[[Row], Sequence[str]], card: Card, *, batch_size: int, workers: int
) -> Generator[list[tuple[Row, list[Decoded]]]]:
    """Rows in batches, each beside its photos, which threads decode ahead of whoever asks.

    A photo that several rows in sight name is decoded once: the new photo of one row is the earlier one of the next.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[tuple[Row, dict[str, Future[Decoded]]]] = deque()
    coming = iter(rows)

    def submitted(name: str) -> Future[Decoded]:
        for _, known in reversed(waiting):
            if name in known:
                return known[name]
        # stdin is read here: a thread blocked on it could not be interrupted.
        photo = read_input(name) if name == STDIN else None
        return pool.submit(_decode, name, photo, card.height_px, card.width_px)

    try:
        while True:
            for row in islice(coming, _AHEAD * batch_size - len(waiting)):
                waiting.append((row, {name: submitted(name) for name in photos_of(row)}))
            if not waiting:
                return
            batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
            yield [(row, [known[name].result() for name in photos_of(row)]) for row, known in batch]
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(name: str, photo: bytes | None, height_px: int, width_px: int) -> Decoded:
    started = time.perf_counter()
    pixels_hwc, error = None, None
    try:
        pixels_hwc = decode(read_input(name) if photo is None else photo, height_px=height_px, width_px=width_px)
    except PhotoError as problem:
        error = problem.message
    return Decoded(pixels_hwc, 1000 * (time.perf_counter() - started), error)
