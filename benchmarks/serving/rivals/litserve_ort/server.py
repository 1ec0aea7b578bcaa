"""LitServe: `workers_per_device` processes, or batches in one.

https://lightning.ai/docs/litserve/features/batching, https://lightning.ai/docs/litserve/features/multiple-workers and
https://lightning.ai/docs/litserve/speed-up-serving-by-200x (batches decoded together in `batch`, as there).
"""

from typing import Annotated, Any

import litserve
import numpy as np
from benchmarks.serving.rivals import counting
from fastapi import Body, Response
from numpy.typing import NDArray


class CountingAPI(litserve.LitAPI):
    """Counts photos."""

    def setup(self, device: str) -> None:
        """Once a worker."""
        self.counter = counting.load()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> NDArray[np.uint8]:
        """One photo's pixels."""
        return counting.pixels_of(self.counter, request)

    def batch(self, inputs: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """A batch is a list of photos here."""
        return inputs

    def predict(self, x: Any) -> Any:
        """One photo's pixels, or a list of them in batches."""
        return counting.count(self.counter, x) if isinstance(x, list) else counting.count(self.counter, [x])[0]

    def unbatch(self, output: list[str]) -> list[str]:
        """An answer a photo."""
        return output

    def encode_response(self, output: str) -> Response:
        """An answer."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    api = CountingAPI(max_batch_size=counting.MAX_BATCH, batch_timeout=0.005 if counting.MAX_BATCH > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=counting.WORKERS)
    server.run(port=counting.PORT, log_level="warning", access_log=False, generate_client_file=False)
