"""Taking the model from its folder anew, while requests go on."""

import logging
from collections.abc import Callable

from bintally.bundle import Card
from bintally.errors import BintallyError, RequestError
from bintally.serving.operation.logs import FIELDS
from bintally.serving.service import CountingService

_log = logging.getLogger(__name__)


class Reloading:
    """Reloads `service`'s model. `tell_others` has the other workers do it, too."""

    def __init__(self, service: CountingService) -> None:
        self._service = service
        self.tell_others: Callable[[], None] = lambda: None

    async def reload(self) -> Card:
        """Takes the model anew; a bundle that can't be used is refused, and the old model stays.

        Raises:
            RequestError: 409, no usable model is there.
        """
        try:
            await self._service.models.reload()
        except BintallyError as error:
            _log.error("The model stays: %s", error)
            raise RequestError(
                f"The model in the bundle's folder can't be used: {error.message}",
                status=409,
                code="model_damaged",
                hint=f"The one that was loaded before goes on counting. {error.hint}".strip(),
            ) from error
        card = self._service.models.default.card
        _log.info("The model was reloaded.", extra={FIELDS: {"model": card.name, "sha256": card.model_sha256}})
        return card

    async def on_signal(self) -> None:
        """As `reload`, for whom nobody waits: what is wrong stands in the log and in health."""
        try:
            await self.reload()
        except RequestError:
            return
