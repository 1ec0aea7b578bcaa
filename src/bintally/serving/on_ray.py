"""The service as a Ray Serve application: the same app, in as many replicas as the load asks for (deploy/ray).

A replica is one process with the cores that `num_cpus` gives it (Ray sets OMP_NUM_THREADS to them, and counting keeps
to that). Ray's proxies take requests from the network and share them among the replicas.
"""

import io
import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from PIL import Image
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bintally.errors import BintallyError, RequestError, UsageError
from bintally.serving.asked import Asked
from bintally.serving.assembly import build, running
from bintally.serving.http.app import create_app
from bintally.serving.operation.readiness import unready
from bintally.serving.settings import ServeConfig

DEPLOYMENT: Final = "counting"
"""What a Serve config file calls the deployment whose options it changes."""

ELSEWHERE: Final = {
    "sagemaker": "An endpoint starts the container's `serve`, not Ray.",
    "host": "`http_options.host` of the Serve config file says where to listen.",
    "port": "`http_options.port` of the Serve config file says where to listen.",
    "tls_cert": "`http_options.ssl_certfile` of the Serve config file is the proxies'.",
    "tls_key": "`http_options.ssl_keyfile` of the Serve config file is the proxies'.",
    "workers": "Replicas take their place: `autoscaling_config` says how many.",
    "mqtt": "Each replica would take every photo: run one `bintally serve --mqtt` beside the cluster.",
}
"""Settings that make no sense in a replica, and what does instead."""

_ALIVE_S: Final = 20.0  # Ray waits 30 s for a health check


def build_app(args: Mapping[str, Any]) -> Application:
    """The application that a Serve config file names: `import_path: bintally.serving.on_ray:build_app`.

    `args` are settings as in `serving.settings.ServeConfig`; what is not given is taken from the environment. API keys
    are required unless `require_keys` says "never": what may reach the cluster's proxies is not known here.

    Raises:
        ConfigError: a setting is wrong.
        UsageError: a setting that Ray decides.
    """
    config = ServeConfig.from_environment(args)
    for name, instead in ELSEWHERE.items():
        if getattr(config, name) != ServeConfig.model_fields[name].default:
            raise UsageError(f"A replica on Ray has no {name!r}.", hint=instead)
    config = config.model_copy(update={"host": "0.0.0.0"})  # noqa: S104 - nothing listens there: the proxies are open
    deployment = serve.deployment(
        name=DEPLOYMENT,
        # The service's own refusal of one photo too many says more than Ray's, and comes first.
        max_ongoing_requests=2 * config.max_waiting,
        max_queued_requests=config.max_waiting,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1.0),
        autoscaling_config=AutoscalingConfig(min_replicas=1, max_replicas=2, target_ongoing_requests=4),
        ray_actor_options={"num_cpus": 1},
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=config.shutdown_s,
    )
    return deployment(serve.ingress()(CountingReplica)).bind(config)


class CountingReplica:
    """One replica: a service, and the app around it, which Ray's proxies call."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._service = build(config)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The app; Ray runs its lifespan, and ends it after the last request."""
        app = create_app(self._service, self._config, lifespan=lambda _: running(self._service))
        app.middleware_stack = NamedByRay(app.middleware_stack or app.build_middleware_stack())
        return app

    async def check_health(self) -> None:
        """Counts a blank photo: a replica that can't, or hangs, is replaced. One that is busy is not ill."""
        asked = Asked(photo=_BLANK, deadline=time.monotonic() + _ALIVE_S)
        try:
            await self._service.models.default.count(asked, _BLANK)
        except RequestError:
            why = unready(self._service)
            if why is not None:
                raise BintallyError(why, hint="Its log says more.") from None


class NamedByRay:
    """Ray's proxy names each request, which is then our name for it, and tells it in the answer: we need not, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the app; its X-Request-Id is left out."""

        async def send_unnamed(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-request-id"]
            await send(message)

        await self._app(scope, receive, send_unnamed)


def _blank() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(file, "JPEG")
    return file.getvalue()


_BLANK: Final = _blank()
