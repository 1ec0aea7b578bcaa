"""A service made of its settings: the one place where parts are chosen and put together."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bintally.counting.counter import Counter
from bintally.errors import UsageError
from bintally.serving.bins.judge import BinJudge
from bintally.serving.capturing import SampledCapture
from bintally.serving.engine.batching import BatchingEngine
from bintally.serving.engine.engine import Engine
from bintally.serving.fetching.fetcher import fetcher_of
from bintally.serving.idempotency.once import KeptAnswers
from bintally.serving.models import Models
from bintally.serving.mqtt import broker
from bintally.serving.operation.watchers import watchers
from bintally.serving.service import CountingService, Parts
from bintally.serving.settings import ServeConfig

if TYPE_CHECKING:
    from bintally.serving.following.follower import RegistryFollower
    from bintally.serving.shadow.shadowing import Shadowing


def build(config: ServeConfig, models: Models | None = None) -> CountingService:
    """The service that `config` describes. `models`: already loaded ones.

    Raises:
        BundleError: no usable model.
        UsageError: settings that make no sense together, a ledger or registry that is none, or no champion in it.
        StorageError: the registry can't be reached, and no version is known that answered before.
        MissingExtraError: a part that is asked for is not installed.
    """
    broker.check(config)
    follower = _follower(config) if models is None and config.registry is not None else None
    if follower is not None:
        models = follower.models
    models = models or models_of(config, config.bundle)
    return CountingService(
        models,
        Parts(
            fetcher=fetcher_of(config),
            judge=BinJudge.of(config, models),
            answered=KeptAnswers.of(config),
            capture=SampledCapture.of(config),
            follower=follower,
            shadow=_shadow(config, follower),
            watchers=watchers(),
        ),
        max_photo_bytes=config.max_photo_bytes,
        max_waiting=config.max_waiting,
        max_waiting_bytes=config.max_waiting_mb * 2**20,
    )


def models_of(config: ServeConfig, bundle: Path | str | None) -> Models:
    """The models of a service that starts with `bundle`.

    Raises:
        BundleError: it can't be used.
    """
    return Models(bundle, lambda counter: make_engine(counter, config), threads=config.threads, trust=config.trust)


def make_engine(counter: Counter, config: ServeConfig) -> Engine:
    """What counts with `counter`, as `config` wants it."""
    return BatchingEngine(
        counter,
        threads=config.threads,
        max_batch=config.max_batch,
        max_waiting=config.max_waiting,
        max_pixels=config.max_megapixels * 10**6,
    )


@asynccontextmanager
async def running(service: CountingService, config: ServeConfig | None = None) -> AsyncIterator[None]:
    """What runs beside requests, in the event loop that answers them: started here, ended here.

    With `config`, its MQTT door is opened, too.
    """
    judge, follower, shadow = service.parts.judge, service.parts.follower, service.parts.shadow
    try:
        async with (
            nullcontext() if judge is None else judge.running(service.failures),
            nullcontext() if follower is None else follower.running(service),
            nullcontext() if shadow is None else shadow.running(service.failures),
            nullcontext() if config is None or config.mqtt is None else _mqtt_door(service, config),
        ):
            yield
    finally:
        service.is_stopping = True
        await service.models.close()
        for part in (service.parts.answered, service.parts.capture):
            if part is not None:
                await part.close()


def _follower(config: ServeConfig) -> "RegistryFollower":
    from bintally.serving.following.starting import begin  # the registry's libraries take half a second

    return begin(config, lambda bundle: models_of(config, bundle))


def _shadow(config: ServeConfig, follower: "RegistryFollower | None") -> "Shadowing | None":
    if config.shadow and config.registry is None:
        raise UsageError("Which version is in the shadow, a registry says.", hint="Name one with --registry PLACE.")
    if follower is None:
        return None
    from bintally.serving.shadow.shadowing import Shadowing

    return Shadowing.of(config, follower)


def _mqtt_door(service: CountingService, config: ServeConfig) -> AbstractAsyncContextManager[None]:
    from bintally.serving.mqtt.door import open_door  # paho is an extra

    return open_door(service, config)
