"""`BinJudge`: what is said of a record that was given, or of a known bin."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

from bintally.counting.counter import Counter
from bintally.errors import BundleError, ConfigError, RequestError, StorageError
from bintally.records import CountEstimate
from bintally.serving.asked import Asked
from bintally.serving.bins.recorded import RecordJudge
from bintally.serving.engine.engine import Engine
from bintally.serving.models import Models
from bintally.serving.refusals import invalid
from bintally.serving.service import Judged
from bintally.serving.settings import ServeConfig

if TYPE_CHECKING:
    from bintally.serving.bins.known import KnownBins
    from bintally.serving.bins.taking import Taker


class BinJudge:
    """Judges records without a ledger, and with one follows bins. `known` None: there is no ledger."""

    def __init__(self, models: Models, records: RecordJudge, known: "KnownBins | None" = None) -> None:
        self._models, self._records, self.known = models, records, known
        self._failures: dict[str, str] = {}

    @classmethod
    def of(cls, config: ServeConfig, models: Models) -> Self:
        """The judge that `config` describes. A ledger that can't be reached now may come later.

        Raises:
            UsageError: the ledger is none, or of another version; nobody said where its photos are kept.
            ConfigError: the policy's settings, or what bins are like, are wrong.
            BundleError: the bundle's acceptance file can't be used.
            MissingExtraError: PostgreSQL's driver is not installed.
        """
        records = RecordJudge(config.policy)
        if config.policy is not None:
            records.policies(models.default.counter)
        return cls(models, records, _known(config, models))

    async def judge(self, asked: Asked, photo: bytes, estimate: CountEstimate, engine: Engine) -> Judged:
        """As `Judge.judge`."""
        counter = engine.counter
        if asked.bin_id is None:
            if asked.recorded_count is None:
                return Judged()
            return await self._verdict(counter, photo, estimate, asked.recorded_count)
        if self.known is None:
            raise RequestError(
                "This service knows no bins.",
                status=422,
                code="no_ledger",
                hint="Start it with --ledger PLACE, or leave bin_id out.",
            )
        # By name only: one that was the default when it was taken may be followed by another one meanwhile.
        is_named = any(engine is each for each in self._models.named().values())
        if is_named and engine.card.model_sha256 != self._models.default.card.model_sha256:
            raise invalid(
                "Bins are followed with the model that the service was started with.",
                hint="Leave model out, or bin_id.",
            )
        from bintally.serving.bins.delivery import Delivery
        from bintally.serving.bins.taking import check

        delivery = Delivery.of(asked, photo, estimate, engine.card)
        check(delivery)
        return await self.known.take(delivery, counter, left_s=asked.left_s)

    async def _verdict(self, counter: Counter, photo: bytes, estimate: CountEstimate, recorded_count: int) -> Judged:
        """A reload may bring a model with an acceptance file that can't be used; its counts are counts all the same."""
        try:
            verdict = await asyncio.to_thread(self._records.verdict, counter, photo, estimate, recorded_count)
        except (BundleError, ConfigError) as error:
            self._failures["policy"] = error.message
            return Judged(degraded=(f"not judged: {error.message}",))
        self._failures.pop("policy", None)
        return Judged(verdict=verdict)

    @asynccontextmanager
    async def running(self, failures: dict[str, str]) -> AsyncIterator[None]:
        """As `Judge.running`."""
        self._failures = failures
        async with AsyncExitStack() as stack:
            if self.known is not None:
                failures.update(self.known.failures)
                self.known.failures = failures
                await stack.enter_async_context(self.known.running())
            yield


def taker_of(config: ServeConfig) -> "Taker":
    """What takes photos into the ledger of `config`, which has one.

    Raises:
        UsageError: nobody said where the ledger's photos are kept.
    """
    from bintally.serving.bins.ledger_place import LedgerPlace, check_photos_folder
    from bintally.serving.bins.taking import Taker

    assert config.ledger is not None  # noqa: S101 - asked for only where there is one
    check_photos_folder(config.ledger, config.photos)
    return Taker(LedgerPlace(config.ledger), policy=config.policy, follow=config.follow, photos=config.photos)


def _known(config: ServeConfig, models: Models) -> "KnownBins | None":
    """What follows bins. Imported only here: the ledger's libraries take 0.7 s and 70 MB."""
    if config.ledger is None:
        return None
    from bintally.serving.bins.known import KnownBins
    from bintally.serving.bins.spool import Spool

    taker = taker_of(config)
    taker.how(models.default.counter)
    spool = Spool(config.state_folder / "spool", max_bytes=config.spool_mb * 2**20)
    known = KnownBins(taker, spool, lambda: models.default.counter)
    try:
        taker.place.open()
    except StorageError as error:
        known.failed(error.message)
    return known
