"""Plain FastAPI: a path function that is no coroutine runs in a thread, `uvicorn --workers` are processes.

https://fastapi.tiangolo.com/deployment/server-workers/ (a worker a core), https://fastapi.tiangolo.com/async/ (what
blocks goes into `def`), https://www.uvicorn.org/#quickstart (uvloop and httptools come with `uvicorn[standard]`).
"""

from typing import Annotated

import uvicorn
from benchmarks.serving.rivals import counting
from fastapi import Body, FastAPI, Response

app = FastAPI()
counter = counting.load()


@app.post("/predict")
def predict(photo: Annotated[bytes, Body(media_type="image/jpeg")]) -> Response:
    """Counts one photo."""
    [answer] = counting.count(counter, [counting.pixels_of(counter, photo)])
    return Response(answer, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run("server:app", port=counting.PORT, workers=counting.WORKERS, access_log=False, log_level="warning")
