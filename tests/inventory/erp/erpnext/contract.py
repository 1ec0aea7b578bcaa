"""A server written from ERPNext's documented contract: not ERPNext.

Sources: docs.frappe.io/framework/user/en/api/rest; of frappe/frappe (14 to 16) `frappe/api/v1.py`,
`frappe/exceptions.py`, `frappe/utils/response.py` (errors), `frappe/model/document.py` (`check_if_latest`, docstatus),
`frappe/model/delete_doc.py`; of frappe/erpnext
`stock/doctype/stock_reconciliation/stock_reconciliation.{py,json}` (rows without change, quantities as of the posting
time) and `utilities/transaction_base.py` (`validate_posting_time`).

What it does not do: values, serial numbers and batches, permissions of single documents, background jobs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from bintally.inventory.erp.conformance import Bench
from bintally.inventory.erp.erpnext import ErpNextConnector, ErpNextSettings
from tests.inventory.erp.contract_http import ContractServer, Reply, Request

COMPANY, API_KEY, API_SECRET = "Depot", "4cc355", "open-sesame-secret"
RECONCILIATION = "Stock Reconciliation"
_START = datetime(2026, 3, 2, 9)

Record = dict[str, Any]


class FrappeError(Exception):
    """An error of Frappe, by its class's name there."""

    def __init__(self, name: str, words: str, status: int = 417) -> None:
        super().__init__(words)
        self.name, self.words, self.status = name, words, status


class ErpNextContract(ContractServer):
    """`field`: the custom field of Stock Reconciliation, if there is one."""

    STATE: ClassVar = ("documents", "ledger")

    def __init__(self, *, field: Record | None = None) -> None:
        super().__init__()
        self.field = {"fieldname": "bintally_key", "fieldtype": "Data", "unique": 1} if field is None else field
        self.documents: dict[str, dict[str, Record]] = {
            "Company": {COMPANY: {"name": COMPANY}},
            "Warehouse": {},
            "Item": {},
            RECONCILIATION: {},
        }
        self.ledger: list[tuple[datetime, str, str, float, bool]] = []  # at, warehouse, item, quantity, absolute?
        self.told: list[tuple[str, str, float]] = []
        self._ticks = 0
        self.warehouse("Stores", lft=1, rgt=10_000, is_group=1)
        for sku in Bench.products:
            self.item(sku)

    # What people do there

    def now(self) -> datetime:
        """Its own clock, which never stands still."""
        self._ticks += 1
        return _START + timedelta(milliseconds=self._ticks, microseconds=1)

    def warehouse(self, code: str, **values: Any) -> str:
        """A new warehouse's name."""
        bound = 2 * len(self.documents["Warehouse"])
        made = {
            "warehouse_name": code,
            "company": COMPANY,
            "is_group": 0,
            "disabled": 0,
            "lft": bound,
            "rgt": bound + 1,
        }
        name = f"{code} - D"
        self.documents["Warehouse"][name] = {"name": name} | made | values
        return name

    def item(self, code: str, **values: Any) -> None:
        made = {"is_stock_item": 1, "has_serial_no": 0, "has_batch_no": 0, "has_variants": 0, "disabled": 0}
        self.documents["Item"][code] = {"name": code, "valuation_rate": 2.5} | made | values

    def put(self, code: str, sku: str, quantity: float) -> None:
        """Somebody sees to it that so many are there, now."""
        self.ledger.append((self.now(), f"{code} - D", sku, float(quantity), True))

    def pick(self, code: str, sku: str, quantity: float) -> None:
        """Somebody takes so many, now."""
        self.ledger.append((self.now(), f"{code} - D", sku, -float(quantity), False))

    def held(self, code: str) -> dict[str, float]:
        """What is in a bin."""
        name = f"{code} - D"
        skus = dict.fromkeys(entry[2] for entry in self.ledger if entry[1] == name)
        return {sku: quantity for sku in skus if (quantity := self.balance(name, sku))}

    def moves(self) -> list[tuple[str, str, float]]:
        """All that was submitted, in order: (bin, item, change as of its posting time)."""
        return [(name.removesuffix(" - D"), sku, change) for name, sku, change in self.told]

    def balance(self, warehouse: str, sku: str, at: datetime | None = None) -> float:
        """How many there were then; None: how many there are."""
        quantity = 0.0
        for moved_at, place, item, moved, is_absolute in sorted(self.ledger, key=lambda entry: entry[0]):
            if (place, item) == (warehouse, sku) and (at is None or moved_at <= at):
                quantity = moved if is_absolute else quantity + moved
        return quantity

    def connector(self, *, api_secret: str = API_SECRET, **changed: Any) -> ErpNextConnector:
        values = {"url": self.url, "api_key": API_KEY, "company": COMPANY, "timeout_s": 5.0}
        return ErpNextConnector(ErpNextSettings.of(values | changed), api_secret)

    # Its API

    def call_of(self, request: Request) -> str:
        return f"{request.method} {request.path.split('/')[3]}"

    def answer(self, request: Request) -> Reply:
        try:
            if request.headers.get("authorization") != f"token {API_KEY}:{API_SECRET}":
                raise FrappeError("AuthenticationError", "Authentication failed", 401)
            _, _, kind, *parts = request.path.split("/")
            if kind == "method":
                return Reply(200, self._method(parts[0]))
            return self._resource(request, *parts)
        except FrappeError as error:
            words = json.dumps([json.dumps({"message": error.words, "title": "Message", "indicator": "red"})])
            body = {"exception": f"frappe.exceptions.{error.name}: {error.words}", "exc_type": error.name}
            return Reply(error.status, body | {"_server_messages": words})

    def failed(self) -> Reply:
        return Reply(500, {"exception": "pymysql.err.OperationalError", "exc_type": "OperationalError"})

    def _method(self, name: str) -> Record:
        if name == "version":
            return {"message": "15.40.2"}
        assert name == "frappe.desk.form.load.getdoctype"
        fields = [{"fieldname": "company", "unique": 0}, *([self.field] if self.field else [])]
        return {"docs": [{"name": RECONCILIATION, "fields": fields}], "user_settings": "{}"}

    def _resource(self, request: Request, doctype: str, name: str | None = None) -> Reply:
        if name is None and request.method == "GET":
            return Reply(200, {"data": self._listed(doctype, request.query)})
        if name is None:
            assert (request.method, doctype) == ("POST", RECONCILIATION)
            return Reply(200, {"data": self._made(request.body)})
        if name not in self.documents[doctype]:
            raise FrappeError("DoesNotExistError", f"{doctype} {name} not found", 404)
        document = self.documents[doctype][name]
        if request.method == "PUT":
            self._changed(document, request.body)
        elif request.method == "DELETE":
            if document["docstatus"] == 1:
                raise FrappeError("ValidationError", f"{doctype} {name}: Submitted Record cannot be deleted.")
            del self.documents[doctype][name]
            return Reply(202, {"data": "ok"})
        return Reply(200, {"data": document})

    def _listed(self, doctype: str, query: Mapping[str, str]) -> list[Record]:
        assert query["order_by"] == "name asc"
        rows = self._bins() if doctype == "Bin" else list(self.documents[doctype].values())
        filters, fields = json.loads(query["filters"]), json.loads(query["fields"])
        fit = [row for row in sorted(rows, key=lambda row: row["name"]) if all(_fits(row, each) for each in filters)]
        return [{field: row.get(field) for field in fields} for row in fit[: int(query["limit_page_length"])]]

    def _bins(self) -> list[Record]:
        places = dict.fromkeys((place, item) for _, place, item, *_ in self.ledger)
        return [
            {"name": f"{place}/{sku}", "warehouse": place, "item_code": sku, "actual_qty": self.balance(place, sku)}
            for place, sku in places
        ]

    # Stock Reconciliation

    def _made(self, values: Record) -> Record:
        key = values.get("bintally_key")
        if any(key == each.get("bintally_key") for each in self.documents[RECONCILIATION].values()):
            raise FrappeError("UniqueValidationError", "Bintally Key must be unique")
        document = dict(values) | {"docstatus": 0, "set_posting_time": 0}
        document["items"] = [dict(row) for row in values["items"]]
        document["name"] = f"MAT-RECO-2026-{self._ticks:05}"
        self._validate(document)
        self.documents[RECONCILIATION][document["name"]] = document
        return document

    def _changed(self, document: Record, values: Record) -> None:
        if values.get("modified", document["modified"]) != document["modified"]:
            raise FrappeError("TimestampMismatchError", "Error: Document has been modified after you have opened it")
        if document["docstatus"] != 0:
            raise FrappeError("UpdateAfterSubmitError", "Not allowed to change after submission")
        document.update(values)
        self._validate(document)
        if document["docstatus"] == 1:
            self._submit(document)

    def _validate(self, document: Record) -> None:
        """Posting time, current quantities, and the rows that change something (`remove_items_with_no_change`)."""
        now = self.now()
        document["modified"] = f"{now:%Y-%m-%d %H:%M:%S.%f}"
        if not document["set_posting_time"]:
            document |= {"posting_date": f"{now:%Y-%m-%d}", "posting_time": f"{now:%H:%M:%S.%f}"}
        for row in document["items"]:
            if row["warehouse"] not in self.documents["Warehouse"]:
                raise FrappeError("LinkValidationError", f"Could not find Warehouse: {row['warehouse']}")
            if not self.documents["Item"][row["item_code"]]["valuation_rate"]:
                raise FrappeError("ValidationError", f"Valuation Rate required for Item <b>{row['item_code']}</b>")
            row["current_qty"] = self.balance(row["warehouse"], row["item_code"], _posted_at(document))
        document["items"] = [row for row in document["items"] if row["qty"] != row["current_qty"]]
        if not document["items"]:
            words = "None of the items have any change in quantity or value."
            raise FrappeError("EmptyStockReconciliationItemsError", words)

    def _submit(self, document: Record) -> None:
        at = _posted_at(document)
        for row in document["items"]:
            self.ledger.append((at, row["warehouse"], row["item_code"], float(row["qty"]), True))
            if self.balance(row["warehouse"], row["item_code"]) < 0:
                raise FrappeError("NegativeStockError", f"Units of {row['item_code']} needed to complete")
        for row in document["items"]:
            self.told.append((row["warehouse"], row["item_code"], row["qty"] - row["current_qty"]))


def _posted_at(document: Record) -> datetime:
    return datetime.fromisoformat(f"{document['posting_date']} {document['posting_time']}")


def _fits(row: Record, term: Sequence[Any]) -> bool:
    field, operator, value = term
    if field not in row:
        return bool(operator == "!=")
    known = row[field]
    compared: dict[str, Callable[[], bool]] = {
        "=": lambda: bool(known == value),
        "!=": lambda: bool(known != value),
        "in": lambda: known in value,
        ">": lambda: bool(known > value),
        "<": lambda: bool(known < value),
    }
    return compared[operator]()


class ErpNextBench(Bench):
    """Bins C-001 and so on of a contract server."""

    def __init__(self, server: ErpNextContract) -> None:
        self._server, self._used = server, 0

    def connect(self) -> ErpNextConnector:
        return self._server.connector(parent="Stores - D")

    def new_bin(self) -> str:
        self._used += 1
        self._server.warehouse(f"C-{self._used:03}")
        return f"C-{self._used:03}"

    def put(self, code: str, product: str, quantity: int) -> None:
        self._server.put(code, product, quantity)

    def held(self, code: str) -> dict[str, int]:
        return {sku: int(quantity) for sku, quantity in self._server.held(code).items()}

    def unreachable(self) -> ErpNextConnector:
        return self._server.connector(url="http://127.0.0.1:9")

    def locked_out(self) -> ErpNextConnector:
        return self._server.connector(api_secret="wrong")
