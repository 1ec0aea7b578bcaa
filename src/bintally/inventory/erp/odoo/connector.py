"""`OdooConnector`: one inventory adjustment (`stock.move`, under our key) for each posting's product."""

import re
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from bintally.errors import ConfigError, ErpRefusedError
from bintally.inventory.erp.odoo import applying, drafting, records
from bintally.inventory.erp.odoo.documents import documents
from bintally.inventory.erp.odoo.rpc import Rpc
from bintally.inventory.erp.odoo.settings import OdooSettings
from bintally.inventory.erp.protocol import About, Answer, Draft, Posting, Stock
from bintally.inventory.erp.quantities import stock_of

_OLDEST: Final = 16
_FIRST_WITH_JSON2: Final = 19


class OdooConnector:
    """A `Connector` of Odoo 16 to 19. Not for several threads at once."""

    def __init__(self, settings: OdooSettings, api_key: str | None) -> None:
        """Nothing is reached yet.

        Raises:
            ConfigError: there is no API key.
        """
        if not api_key:
            raise ConfigError(
                f"There is no API key of Odoo's user {settings.user}.",
                hint="Put it into $BINTALLY_ERP_NAME_SECRET, or name a file with it in $BINTALLY_ERP_NAME_SECRET_FILE.",
            )
        self._settings, self._rpc = settings, Rpc(settings, api_key)

    def about(self) -> About:
        """Reaches it, logs in, and looks whether the user may apply counts."""
        version = self._rpc.version()
        series = re.search(r"\d+", version)  # "18.0", "saas~18.2"
        if series is None or int(series[0]) < _OLDEST:
            raise ErpRefusedError(f"Odoo {version} is too old.", hint=f"It has to be {_OLDEST} or later.")
        if self._settings.api == "json2" and int(series[0]) < _FIRST_WITH_JSON2:
            raise ErpRefusedError(f"Odoo {version} has no JSON-2.", hint="Set api=jsonrpc.")
        self._rpc.uid()
        for model in ("stock.location", "product.product", "stock.quant", "stock.move", drafting.WIZARD):
            self._rpc.call(model, "search_read", domain=[["id", "=", 0]], fields=["id"], limit=1)
        if self._settings.location is not None:
            records.top_location(self._rpc, self._settings.location)
        return About("Odoo", version, self._settings.database)

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        """What is in bins now: of lots, packages and owners all together, reserved or not."""
        places = records.bins(self._rpc, self._settings, None if bins is None else sorted(set(bins)))
        if twice := [code for code, times in Tally(code for code, _ in places).items() if times > 1]:
            raise ErpRefusedError(
                f"Two locations in Odoo have the code {twice[0]}.", hint="Give them codes of their own."
            )
        at = datetime.now(UTC)
        held = records.held(self._rpc, [id_ for _, id_ in places])
        skus = records.skus(self._rpc, self._settings, [product for each in held.values() for product in each])
        for code, id_ in places:
            there = held.get(id_, Tally()).items()
            yield stock_of("Odoo", code, [(skus[product], quantity) for product, quantity in there], as_of=at)

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        """What has become of postings: moves that carry their key, or counts that would."""
        moves = records.moves(self._rpc, keys, since=self._since())
        left = [key for key in keys if key not in moves]
        drafts = {each.key: each.as_draft() for each in (self._counts(left) if left else ())}
        return drafts | {key: applying.done(key, told) for key, told in moves.items()}

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Counts of postings; what is done already is left as it is, drafts of before are taken back."""
        moves = records.moves(self._rpc, [posting.key for posting in postings], since=self._since())
        told = {key: applying.done(key, each) for key, each in moves.items()}
        left = [posting for posting in postings if posting.key not in told]
        wanted, reasons = documents(self._rpc, self._settings, left)
        told |= {key: Draft(key, "", "refused", reason=reason) for key, reason in reasons.items()}
        return told | drafting.drafted(self._rpc, wanted, self._rpc.uid())

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """Applies counts of what is there as it was counted."""
        return applying.applied(self._rpc, drafts, uid=self._rpc.uid(), since=self._since())

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Takes counts back that were not applied."""
        if drafts:
            drafting.disarm(self._rpc, self._counts([draft.key for draft in drafts]), self._rpc.uid())

    def close(self) -> None:
        """Ends connections."""
        self._rpc.close()

    def _counts(self, keys: Sequence[str]) -> list[drafting.Counts]:
        return drafting.of_keys(self._rpc, keys, self._rpc.uid())

    def _since(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=self._settings.look_back_days)
