"""`TrytonConnector`: one inventory (`stock.inventory`) for each posting."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from bintally.errors import ConfigError, ErpRefusedError
from bintally.inventory.erp.protocol import About, Answer, Draft, Posting, Stock
from bintally.inventory.erp.quantities import stock_of
from bintally.inventory.erp.tryton import confirming, drafting, keys
from bintally.inventory.erp.tryton.records import INVENTORY, bins, inventories, quantities, top_location
from bintally.inventory.erp.tryton.rpc import Rpc
from bintally.inventory.erp.tryton.settings import TrytonSettings

_RIGHTS: Final = {INVENTORY: ("read", "create", "write"), "stock.location": ("read",), "product.product": ("read",)}

_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")


class TrytonConnector:
    """A `Connector` of Tryton 8. Not for several threads at once."""

    def __init__(self, settings: TrytonSettings, password: str | None) -> None:
        """Nothing is reached yet.

        Raises:
            ConfigError: there is no password.
        """
        if not password:
            raise ConfigError(
                f"There is no password of Tryton's user {settings.user}.",
                hint="Put it into $BINTALLY_ERP_NAME_SECRET, or name a file with it in $BINTALLY_ERP_NAME_SECRET_FILE.",
            )
        self._settings, self._rpc = settings, Rpc(settings, password)
        self._top: int | None = None

    def about(self) -> About:
        """Reaches it, logs in, and looks whether the user may do what we have to."""
        version, user = self._rpc.version(), self._settings.user
        if not self._rpc.context().get("company"):
            raise ErpRefusedError(f"Tryton's user {user} has no company.", hint="Give the user one, in Tryton.")
        access = self._rpc.call("ir.model.access", "get_access", list(_RIGHTS))
        for model, rights in _RIGHTS.items():
            for right in rights:
                if not access[model][right]:
                    raise ErpRefusedError(
                        f"Tryton's user {user} may not {right} {model}.", hint="Add the user to the group Stock there."
                    )
        self._find_top()
        return About("Tryton", version, self._settings.database)

    def read(self, bins_wanted: Sequence[str] | None = None) -> Iterator[Stock]:
        """What is in bins now, done moves only: a call for each bin."""
        seen = set()
        for code, location in list(bins(self._rpc, self._find_top(), bins_wanted)):
            if code in seen:
                raise ErpRefusedError(
                    f"Two storage locations in Tryton have the code {code}.", hint="Give them codes of their own."
                )
            seen.add(code)
            at = datetime.now(UTC)
            yield stock_of("Tryton", code, quantities(self._rpc, location).values(), as_of=at)

    def find(self, wanted: Sequence[str]) -> dict[str, Draft]:
        """What has become of postings: of several inventories, the one that is done."""
        chosen = {key: keys.chosen(each) for key, each in keys.found(self._rpc, wanted, since=self._since()).items()}
        known = inventories(self._rpc, chosen.values())
        return {key: drafting.as_draft(key, known[id_]) for key, id_ in chosen.items() if id_ in known}

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Inventories of postings; what is done already is left as it is, drafts of before are thrown away."""
        top, since = self._find_top(), self._since()
        return self._batched(lambda batch: drafting.drafted(self._rpc, batch, top=top, since=since), postings)

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """Confirms inventories whose bins hold what they expect."""
        return self._batched(lambda batch: confirming.confirmed(self._rpc, batch), drafts)

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Cancels the inventories that are drafts still."""
        drafting.cancel(self._rpc, [id_ for draft in drafts if (id_ := drafting.id_of(draft)) is not None])

    def close(self) -> None:
        """Logs out, and ends connections."""
        self._rpc.close()

    def _since(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=self._settings.look_back_days)

    def _find_top(self) -> int | None:
        if self._top is None and self._settings.location is not None:
            self._top = top_location(self._rpc, self._settings.location)
        return self._top

    def _batched(
        self, work: Callable[[Sequence[_Asked]], dict[str, _Told]], asked: Sequence[_Asked]
    ) -> dict[str, _Told]:
        size = self._settings.batch_size
        told: dict[str, _Told] = {}
        for start in range(0, len(asked), size):
            told |= work(asked[start : start + size])
        return told
