"""`Guarded`: a connector whose mistakes cost no posting: the relay hears only what it has asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from bintally.errors import ErpError, ErpUnavailableError
from bintally.inventory.erp.protocol import About, Answer, Connector, Draft, Posting, Stock

_T = TypeVar("_T")
_Told = TypeVar("_Told", Draft, Answer)


class Guarded:
    """A `Connector` around another one. Each call's answers are of the keys and bins that it was asked for.

    An error that is none of ours, and an answer about something else, are mistakes in the connector: nobody knows what
    became of the call.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def about(self) -> About:
        """As the connector says."""
        return _called(self._connector.about)

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        """All of it, or nothing."""
        stocks = _called(lambda: list(self._connector.read(bins)))
        asked = None if bins is None else set(bins)
        return iter([stock for stock in stocks if asked is None or stock.bin in asked])

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        """What has become of `keys`."""
        return _of(keys, _called(lambda: self._connector.find(keys)))

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Drafts of `postings`."""
        return _of([posting.key for posting in postings], _called(lambda: self._connector.prepare(postings)))

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """What became of `drafts`."""
        return _of([draft.key for draft in drafts], _called(lambda: self._connector.commit(drafts)))

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Throws `drafts` away."""
        _called(lambda: self._connector.cancel(drafts))

    def close(self) -> None:
        """Ends connections."""
        self._connector.close()


def _called(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except ErpError:
        raise
    except Exception as error:
        raise ErpUnavailableError(
            f"The connector failed: {type(error).__name__}: {error}.", hint="That is a mistake in it: tell its makers."
        ) from error


def _of(keys: Sequence[str], told: Mapping[str, _Told]) -> dict[str, _Told]:
    """What was told, if it is about `keys`: an answer that was mixed up may hide what was carried out."""
    asked = set(keys)
    if any(key not in asked or each.key != key for key, each in told.items()):
        raise ErpUnavailableError(
            "The connector answered about other postings than it was asked for.",
            hint="That is a mistake in it: tell its makers.",
        )
    return dict(told)
