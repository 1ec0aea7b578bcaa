"""`ErpNextConnector`: one Stock Reconciliation for each posting."""

from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from bintally.errors import ConfigError, ErpRefusedError
from bintally.inventory.erp.erpnext import drafting, records
from bintally.inventory.erp.erpnext.records import CANCELLED, NOT_THERE, RECONCILIATION
from bintally.inventory.erp.erpnext.rest import Rest
from bintally.inventory.erp.erpnext.settings import ErpNextSettings
from bintally.inventory.erp.erpnext.submitting import submitted
from bintally.inventory.erp.protocol import About, Answer, Draft, Posting, Stock
from bintally.inventory.erp.quantities import stock_of

_READ: Final = ("Bin", "Item", RECONCILIATION)


class ErpNextConnector:
    """A `Connector` of ERPNext 14 to 16. Not for several threads at once."""

    def __init__(self, settings: ErpNextSettings, api_secret: str | None) -> None:
        """Nothing is reached yet.

        Raises:
            ConfigError: there is no API secret.
        """
        if not api_secret:
            raise ConfigError(
                f"There is no API secret of ERPNext's key {settings.api_key}.",
                hint="Put it into $BINTALLY_ERP_NAME_SECRET, or name a file with it in $BINTALLY_ERP_NAME_SECRET_FILE.",
            )
        self._settings, self._rest = settings, Rest(settings, api_secret)

    def about(self) -> About:
        """Reaches it, logs in, and looks whether the field for our keys is there, and whether we may read."""
        version = str(self._rest.method("version").get("message", ""))
        self._find_key_field()
        if self._rest.read("Company", self._settings.company).error == NOT_THERE:
            raise ErpRefusedError(
                f"ERPNext has no company {self._settings.company}.", hint="Look at the setting company."
            )
        for doctype in _READ:
            next(self._rest.listed(doctype, [], [["name", "=", ""]]), None)
        if self._settings.parent is not None:
            records.group(self._rest, self._settings.parent)
        return About("ERPNext", version, self._settings.company)

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        """What is in bins now, by the ledger's last entries: reserved or not."""
        places = records.warehouses(self._rest, self._settings, None if bins is None else sorted(set(bins)))
        if twice := [code for code, times in Tally(code for code, _ in places).items() if times > 1]:
            raise ErpRefusedError(
                f"Two warehouses in ERPNext have the code {twice[0]}.", hint="Give them names of their own."
            )
        at = datetime.now(UTC)
        held = records.held(self._rest, [name for _, name in places])
        for code, name in places:
            yield stock_of("ERPNext", code, held.get(name, {}).items(), as_of=at)

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        """What has become of postings: documents that carry their key and were not cancelled."""
        found = {}
        for key, row in records.of_keys(self._rest, self._settings, keys).items():
            document = None
            if row["docstatus"] != CANCELLED:
                document = records.reconciliation_called(self._rest, row["name"])
            if document is not None and document.docstatus != CANCELLED:
                found[key] = drafting.as_draft(key, document)
        return found

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Drafts of postings; what is done already is left as it is, drafts of before are thrown away."""
        return drafting.drafted(self._rest, self._settings, postings) if postings else {}

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """Submits drafts whose bins hold what they start from."""
        return submitted(self._rest, drafts)

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Deletes the documents that are drafts still."""
        for draft in drafts:
            drafting.throw_away(self._rest, draft.reference)

    def close(self) -> None:
        """Ends connections."""
        self._rest.close()

    def _find_key_field(self) -> None:
        """Looks for the field of our keys, as Desk does when it opens a form.

        Raises:
            ErpRefusedError: it is not there, or would let a key in twice.
        """
        field = self._settings.key_field
        told = self._rest.method("frappe.desk.form.load.getdoctype", doctype=RECONCILIATION)
        known = {row["fieldname"]: row for meta in told.get("docs") or () for row in meta.get("fields") or ()}
        if field not in known:
            raise ErpRefusedError(
                f"ERPNext's {RECONCILIATION} has no field {field}.", hint="docs/erp.md says how it is added, once."
            )
        if not known[field].get("unique"):
            raise ErpRefusedError(
                f"ERPNext's field {field} is not unique.", hint="Tick Unique in Customize Form, or nothing is posted."
            )
