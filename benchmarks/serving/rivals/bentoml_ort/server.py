"""BentoML: `workers` processes, or adaptive batches in one.

https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html (a worker a core),
https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html (`max_batch_size`, `max_latency_ms`),
https://docs.bentoml.com/en/latest/build-with-bentoml/iotypes.html (a root input: the photo is the body).
"""

import bentoml
from benchmarks.serving.rivals import counting
from PIL.Image import Image

BATCHES = counting.MAX_BATCH > 1


@bentoml.service(workers=counting.WORKERS, threads=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Counting:
    """Counts photos."""

    def __init__(self) -> None:
        self.counter = counting.load()

    if BATCHES:

        @bentoml.api(route="/predict", batchable=True, max_batch_size=counting.MAX_BATCH, max_latency_ms=1000)
        def predict(self, images: list[Image]) -> list[str]:
            """Counts photos that came at about the same time."""
            return counting.count(self.counter, [counting.pixels_of_image(self.counter, image) for image in images])

    else:

        @bentoml.api(route="/predict")
        def predict(self, image: Image, /) -> str:
            """Counts one photo."""
            return counting.count(self.counter, [counting.pixels_of_image(self.counter, image)])[0]
