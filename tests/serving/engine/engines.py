"""Engines for tests, whose threads can be kept busy, and photos that are hard to count."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from bintally.bundle import MODEL
from bintally.counting.counter import Counter
from bintally.counting.network import Seen
from bintally.records import CountEstimate, Timings
from bintally.serving.asked import Asked
from bintally.serving.engine.batching import BatchingEngine
from tests.bundles import bin_photo, make_bundle, no_bin_pixels, recard
from tests.data.bin_folder import encoded


class Gated(Counter):
    """A counter that keeps whoever has counted a photo at a gate, so that a test knows what waits meanwhile."""

    def __init__(self, bundle: Path, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        self.gate = threading.Event()
        self.gate.set()

    def read(self, pixels_nhwc: NDArray[np.uint8], seen: Seen, timings: Sequence[Timings]) -> list[CountEstimate]:
        assert self.gate.wait(30), "nobody opened the gate"
        return super().read(pixels_nhwc, seen, timings)


@asynccontextmanager
async def engine_of(counter: Counter, **settings: Any) -> AsyncIterator[BatchingEngine]:
    """An engine of one thread, unless `settings` say otherwise."""
    engine = BatchingEngine(counter, **({"threads": 1} | settings))
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def held(engine: BatchingEngine, *, threads: int = 1) -> AsyncIterator[None]:
    """While it lasts, all threads of an engine are busy with a photo each, and what comes has to wait."""
    assert isinstance(engine.counter, Gated)
    engine.counter.gate.clear()
    try:
        first = [asyncio.create_task(engine.count(Asked(), bin_photo(0))) for _ in range(threads)]
        await until(lambda: engine.load().working == threads)
        yield
    finally:
        engine.counter.gate.set()
    await asyncio.gather(*first)


async def together(
    engine: BatchingEngine, photos: Sequence[bytes], asked: Sequence[Asked] = (), *, threads: int = 1
) -> list[Any]:
    """What is answered to photos that all wait before any is worked on; errors as they are."""
    async with held(engine, threads=threads):
        each = asked or [Asked() for _ in photos]
        tasks = [asyncio.create_task(engine.count(*one)) for one in zip(each, photos, strict=True)]
        await asyncio.sleep(0)  # each has begun to wait, or was refused
    return await asyncio.gather(*tasks, return_exceptions=True)


async def until(happened: Callable[[], bool], *, seconds: float = 30) -> None:
    """Waits for something that is about to happen."""
    ends = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < ends, "it did not happen"
        await asyncio.sleep(0.001)


def counts(answers: Sequence[CountEstimate | BaseException]) -> list[int | type | None]:
    """The count of each answer, or the class of the error."""
    return [answer.count if isinstance(answer, CountEstimate) else type(answer) for answer in answers]


def bundle_with_nan(folder: Path) -> Path:
    """A bundle like `make_bundle`'s that answers NaN to photos brighter than 240."""
    bundle = make_bundle(folder)
    model = onnx.load(str(bundle / MODEL))
    graph = model.graph
    [softmax] = [node for node in graph.node if node.op_type == "Softmax"]
    softmax.output[0] = "sound"
    graph.initializer.append(helper.make_tensor("brightest", TensorProto.FLOAT, [1], [240.0]))
    graph.initializer.append(helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0]))
    graph.node.extend(
        [
            helper.make_node("Sub", ["brightest", "mean_n"], ["left_n"]),
            helper.make_node("Sqrt", ["left_n"], ["root_n"]),
            helper.make_node("Mul", ["root_n", "nothing"], ["zero_or_nan_n"]),
            helper.make_node("Reshape", ["zero_or_nan_n", "row"], ["zero_or_nan_n1"]),
            helper.make_node("Add", ["sound", "zero_or_nan_n1"], ["probabilities"]),
        ]
    )
    onnx.save(model, str(bundle / MODEL))
    return recard(bundle)


BRIGHT = encoded(Image.fromarray(np.full((60, 80, 3), 250, np.uint8)), "PNG")
"""What `bundle_with_nan` answers NaN to."""

LARGE = bin_photo(3, height_px=2500, width_px=3000)
"""A PNG that takes some 100 ms to decode."""

NO_BIN = encoded(Image.fromarray(no_bin_pixels()), "PNG")
