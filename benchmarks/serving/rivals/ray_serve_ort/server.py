"""Ray Serve: replicas with a core each, or dynamic batches in one, behind its HAProxy and with its fast settings.

https://docs.ray.io/en/latest/serve/advanced-guides/performance.html,
https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html and
https://docs.ray.io/en/master/kuberay/user-guides/serve-high-throughput.html (RAY_SERVE_THROUGHPUT_OPTIMIZED).
"""

import time

import ray
from benchmarks.serving.rivals import counting
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(
    num_replicas=counting.WORKERS, max_ongoing_requests=64, ray_actor_options={"num_cpus": counting.THREADS}
)
class Counting:
    """Counts photos."""

    def __init__(self) -> None:
        self.counter = counting.load()

    def count_one(self, photo: bytes) -> str:
        """Counts one photo."""
        return counting.count(self.counter, [counting.pixels_of(self.counter, photo)])[0]

    @serve.batch(max_batch_size=counting.MAX_BATCH, batch_wait_timeout_s=0.005)
    async def count_many(self, photos: list[bytes]) -> list[str]:
        """Counts photos that came at about the same time."""
        return counting.count(self.counter, [counting.pixels_of(self.counter, photo) for photo in photos])

    async def __call__(self, request: Request) -> Response:
        """Counts the photo that is the body."""
        photo = await request.body()
        answer = await self.count_many(photo) if counting.MAX_BATCH > 1 else self.count_one(photo)
        return Response(answer, media_type="application/json")


if __name__ == "__main__":
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": counting.PORT})
    serve.run(Counting.bind(), route_prefix="/predict")  # type: ignore[attr-defined] # a deployment now
    while True:
        time.sleep(1)
