"""A delivery goes into the ledger, and what the ledger then says of the bin."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bintally.counting.counter import Counter
from bintally.errors import BintallyError, ConflictError, DataError, RequestError, StorageError, UsageError
from bintally.inventory.judging.arrivals import Arrived, take_and_judge
from bintally.inventory.judging.how import How
from bintally.inventory.known import bin_of
from bintally.inventory.ledger import Ledger, site_of
from bintally.inventory.people import SYSTEM
from bintally.inventory.values import moment_of, name_of, quantity_of
from bintally.records import CountEstimate
from bintally.serving.bins.delivery import Delivery
from bintally.serving.bins.ledger_place import LedgerPlace
from bintally.serving.bins.state import bin_state
from bintally.serving.refusals import invalid
from bintally.serving.service import Judged


class Taker:
    """Takes deliveries in; threads share it. `photos`: their folder; None: beside a ledger that is a file."""

    def __init__(
        self, place: LedgerPlace, *, policy: Path | None = None, follow: Path | None = None, photos: Path | None = None
    ) -> None:
        self.place = place
        self._policy, self._follow, self._photos = policy, follow, photos
        self._how: tuple[Counter, How] | None = None

    def how(self, counter: Counter) -> How:
        """How bins are judged with a loaded model, whose network is shared.

        Raises:
            ConfigError, BundleError: as `How.open`.
        """
        held = self._how  # read once: another thread may have another model
        if held is None or held[0] is not counter:
            held = self._how = counter, How.open(counter, self._policy, self._follow)
        return held[1]

    def take(self, delivery: Delivery, counter: Counter) -> Judged:
        """Takes a delivery in; one that was taken in before changes nothing, and is answered as it stands now.

        Raises:
            RequestError: the ledger will never take it: 422 unknown bin or site, or what can't be; 409 the photo is
                known with another time, or is one of another bin.
            StorageError: the ledger can't be used now, or its photos' folder.
            ModelError: the photos can't be compared.
        """
        check(delivery)
        how = self._how_now(counter)
        with self.place.opened() as ledger:
            _check_known(ledger, delivery)
            with _refusals():
                arrived = take_and_judge(
                    ledger=ledger,
                    how=how,
                    bin=delivery.bin_id,
                    photo=delivery.photo,
                    taken_at=delivery.captured_at,
                    site=delivery.site,
                    folder=self._photos,
                    received_at=delivery.received_at,
                    recorded=delivery.recorded_count,
                    seen=delivery.seen_by(how.card),
                    by=delivery.client or SYSTEM,
                )
            with ledger.read() as connection:
                state = bin_state(connection, how, arrived)
        return Judged(verdict=arrived.verdict, bin=state, estimate=_estimate(delivery, arrived))

    def _how_now(self, counter: Counter) -> How:
        """A model that was loaded since may have come with an acceptance file that can't be used."""
        try:
            return self.how(counter)
        except BintallyError as error:
            raise StorageError(f"Bins can't be judged: {error.message}", hint=error.hint) from error


def check(delivery: Delivery) -> None:
    """That no ledger is needed to refuse it.

    Raises:
        RequestError: 422.
    """
    try:
        name_of("bin", delivery.bin_id)
        if delivery.site is not None:
            name_of("site", delivery.site)
        if delivery.captured_at is not None:
            moment_of(delivery.captured_at, of="captured_at")
        if delivery.recorded_count is not None:
            quantity_of(delivery.recorded_count, of="recorded_count")
    except DataError as error:
        raise invalid(error.message, hint=error.hint) from None


def _check_known(ledger: Ledger, delivery: Delivery) -> None:
    """Looked at before the photo is kept: strangers' bins leave no files behind."""
    with ledger.read() as connection:
        try:
            site = site_of(connection, delivery.site)
        except UsageError as error:
            hint = error.hint.replace("Say --site:", "Say site:")  # what is a command's option there, is a field here
            raise RequestError(error.message, status=422, code="unknown_site", hint=hint) from None
        try:
            bin_of(connection, site, delivery.bin_id)
        except DataError as error:
            raise _refused(error, 422, "unknown_bin") from None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ConflictError as error:
        raise RequestError(
            error.message,
            status=409,
            code="photo_known",
            hint="Leave captured_at out, or send the time that the photo was sent with before.",
        ) from None
    except DataError as error:
        raise _refused(error, 409, "photo_of_another_bin") from None


def _refused(error: BintallyError, status: int, code: str) -> RequestError:
    return RequestError(error.message, status=status, code=code, hint=error.hint)


def _estimate(delivery: Delivery, arrived: Arrived) -> CountEstimate | None:
    """What the ledger holds, with this time's timings; None: some counts only were asked for."""
    if arrived.estimate is None or delivery.estimate is None:
        return None
    return msgspec.structs.replace(arrived.estimate, timings=delivery.estimate.timings)
