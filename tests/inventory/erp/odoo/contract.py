"""A server written from Odoo's documented contract: not Odoo.

Sources: developer/reference/external_api of the documentation of 16 to 19 (JSON-RPC, JSON-2); and of odoo/odoo
`addons/rpc/controllers/{jsonrpc,json2}.py`, `odoo/http.py` (errors; a result of None is left out),
`addons/stock/models/stock_quant.py` (counts, `is_outdated`, `_apply_inventory`, `_get_inventory_move_values`),
`addons/stock/wizard/stock_inventory_adjustment_name.py`, `addons/stock/security/ir.model.access.csv` (nobody deletes
wizards), and `Many2many.write_real` of `odoo/fields.py`.

What it does not do: prices, reservations, several companies, locks of rows (one call at a time here).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from bintally.inventory.erp.conformance import Bench
from bintally.inventory.erp.odoo import OdooConnector, OdooSettings
from tests.inventory.erp.contract_http import ContractServer, Reply, Request

DATABASE, USER, UID, API_KEY = "depot", "bintally", 7, "0ddba11-api-key"
WIZARD = "stock.inventory.adjustment.name"
LOSS = 5  # the location of inventory adjustments

Record = dict[str, Any]


class OdooError(Exception):
    """An error of Odoo, by its class's name there. `status`: in JSON-2."""

    def __init__(self, name: str, words: str, status: int = 422) -> None:
        super().__init__(words)
        self.name, self.words, self.status = name, words, status


class OdooContract(ContractServer):
    """`series` as Odoo tells it; `is_manager`: whether our user is an Inventory / Administrator."""

    STATE: ClassVar = ("tables",)

    def __init__(self, series: str = "18.0", *, is_manager: bool = True) -> None:
        super().__init__()
        self.series, self.is_manager = series, is_manager
        self._major = int(re.findall(r"\d+", series)[0])
        self.tables: dict[str, dict[int, Record]] = {
            "stock.location": {},
            "product.product": {},
            "stock.quant": {},
            "stock.move": {},
            WIZARD: {},
        }
        warehouse = self.add("stock.location", name="WH", complete_name="WH", barcode=False, usage="view")
        self.stock = self.add(
            "stock.location", name="Stock", complete_name="WH/Stock", barcode=False, usage="internal", parent=warehouse
        )
        for sku in Bench.products:
            self.product(sku)

    # What people do there

    def add(self, model: str, **values: Any) -> int:
        """A new record's id."""
        id_ = max((LOSS, *self.tables[model])) + 1
        self.tables[model][id_] = {"id": id_, "active": True, "create_uid": UID} | values
        return id_

    def product(self, sku: str | bool, *, tracking: str = "none", barcode: str | bool = False) -> int:
        return self.add("product.product", default_code=sku, barcode=barcode, tracking=tracking)

    def location(self, code: str, **values: Any) -> int:
        made = {"name": code, "complete_name": f"WH/Stock/{code}", "barcode": code, "usage": "internal"}
        return self.add("stock.location", **made | {"parent": self.stock} | values)

    def quant(self, code: str, sku: str, **values: Any) -> int:
        """A record of so much of a product in a bin, beside those that are there."""
        made = dict.fromkeys(("lot_id", "package_id", "owner_id", "user_id"), False)
        count = {"inventory_quantity": 0.0, "inventory_quantity_set": False, "inventory_diff_quantity": 0.0}
        place = {"product_id": self._id("product.product", sku), "location_id": self._id("stock.location", code)}
        return self.add("stock.quant", **{"quantity": 0.0} | made | count | place | values)

    def put(self, code: str, sku: str, quantity: float) -> None:
        """Somebody sees to it that so many are there."""
        with self._lock:
            there = self._there(code, sku)
            id_ = there[0]["id"] if there else self.quant(code, sku)
            self.tables["stock.quant"][id_]["quantity"] = float(quantity)

    def pick(self, code: str, sku: str, quantity: float) -> None:
        """Somebody takes so many."""
        self.put(code, sku, self.held(code).get(sku, 0) - quantity)

    def count_by_hand(self, code: str, sku: str, quantity: float, *, uid: int | bool = 2) -> None:
        """Somebody else writes down what they counted."""
        values = {"inventory_quantity": quantity, "inventory_quantity_set": True, "user_id": uid}
        self.write_quant(self._there(code, sku)[0], values)

    def vacuum(self) -> None:
        """Odoo throws wizards away that are older than an hour."""
        self.tables[WIZARD].clear()

    def held(self, code: str) -> dict[str, float]:
        """What is in a bin."""
        skus = {id_: row["default_code"] for id_, row in self.tables["product.product"].items()}
        found: dict[str, float] = {}
        for row in self.tables["stock.quant"].values():
            if row["location_id"] == self._id("stock.location", code) and row["quantity"]:
                found[skus[row["product_id"]]] = found.get(skus[row["product_id"]], 0.0) + row["quantity"]
        return found

    def moves(self) -> list[tuple[str, str, float]]:
        """All adjustments, in order: (bin, SKU, change)."""
        told = []
        for move in self.tables["stock.move"].values():
            sign = 1 if move["location_id"] == LOSS else -1
            place = move["location_dest_id"] if sign == 1 else move["location_id"]
            code = self.tables["stock.location"][place]["barcode"]
            sku = self.tables["product.product"][move["product_id"]]["default_code"]
            told.append((code, sku, sign * move["product_uom_qty"]))
        return told

    def connector(self, *, api_key: str = API_KEY, **changed: Any) -> OdooConnector:
        values = {"url": self.url, "database": DATABASE, "user": USER, "location": "WH/Stock", "timeout_s": 5.0}
        return OdooConnector(OdooSettings.of(values | changed), api_key)

    # Its two APIs

    def call_of(self, request: Request) -> str:
        if request.path != "/jsonrpc":
            return ".".join(request.path.split("/")[3:])
        params = request.body["params"]
        return ".".join(params["args"][3:5]) if params["service"] == "object" else str(params["method"])

    def answer(self, request: Request) -> Reply:
        if request.path == "/jsonrpc":
            return self._jsonrpc(request.body)
        if request.path == "/web/version":
            return Reply(200, {"version": self.series, "version_info": [self._major, 0, 0, "final", 0, ""]})
        return self._json2(request)

    def failed(self) -> Reply:
        return Reply(500, {"name": "psycopg2.OperationalError", "message": "connection lost"})

    def _jsonrpc(self, body: Any) -> Reply:
        assert (body["jsonrpc"], body["method"]) == ("2.0", "call")
        envelope = {"jsonrpc": "2.0", "id": body["id"]}
        try:
            result = self._service(body["params"]["service"], body["params"]["method"], body["params"]["args"])
        except OdooError as error:
            data = {"name": f"odoo.exceptions.{error.name}", "message": error.words, "arguments": [error.words]}
            told = {"code": 0, "message": "Odoo Server Error", "data": {**data, "debug": "Traceback ..."}}
            return Reply(200, envelope | {"error": told})
        return Reply(200, envelope if result is None else envelope | {"result": result})

    def _service(self, service: str, method: str, arguments: list[Any]) -> Any:
        if (service, method) == ("common", "version"):
            return {"server_version": self.series, "server_version_info": [self._major, 0, 0, "final", 0, ""]}
        database, login, key = arguments[:3]
        if (service, method) == ("common", "authenticate"):
            return UID if (database, login, key) == (DATABASE, USER, API_KEY) else False
        if (service, method, database, login, key) != ("object", "execute_kw", DATABASE, UID, API_KEY):
            raise OdooError("AccessDenied", "Access Denied", 401)
        model, name, positional, named = arguments[3:]
        named, context = dict(named), named.get("context", {})
        named.pop("context", None)
        if name == "create":
            (values,) = positional
            return self.create(model, values, context)
        return self.call(model, name, positional[0] if positional else [], named, context)

    def _json2(self, request: Request) -> Reply:
        try:
            if request.headers.get("authorization") != f"bearer {API_KEY}":
                raise OdooError("Unauthorized", "Invalid apikey", 401)
            if request.headers.get("x-odoo-database") != DATABASE:
                raise OdooError("NotFound", "the database does not exist", 404)
            model, method = request.path.split("/")[3:]
            named = dict(request.body)
            ids, context = named.pop("ids", []), named.pop("context", {})
            if method == "create":
                return Reply(200, self.create(model, named["vals_list"], context))
            return Reply(200, self.call(model, method, ids, named, context))
        except OdooError as error:
            body = {"name": f"odoo.exceptions.{error.name}", "message": error.words, "arguments": [error.words]}
            return Reply(error.status, body)

    # Its models

    def call(self, model: str, method: str, ids: list[int], named: Record, context: Record) -> Any:
        if (model, method) == ("res.users", "context_get"):
            return {"lang": "en_US", "tz": "UTC", "uid": UID}
        if model == WIZARD and not self.is_manager:
            raise OdooError("AccessError", f"You are not allowed to access '{WIZARD}' records.", 403)
        known: dict[tuple[str, str], Callable[..., Any]] = {
            (WIZARD, "write"): self.write_wizards,
            (WIZARD, "action_apply"): self.action_apply,
        }
        if method == "search_read":
            return self.search_read(model, **named)
        if (model, method) not in known:
            raise OdooError("AccessError", f"You are not allowed to {method} '{model}' records.", 403)
        for id_ in ids:
            if id_ not in self.tables[model]:
                raise OdooError("MissingError", "Record does not exist or has been deleted.", 404)
        return known[model, method](ids, context, **named)

    def search_read(
        self, model: str, *, domain: list[Any], fields: list[str], limit: int = 0, order: str = "id"
    ) -> list[Record]:
        assert order == "id"
        rows = [row for _, row in sorted(self.tables[model].items()) if self._fits(model, row, domain)]
        return [self._told(model, row, fields) for row in rows[: limit or None]]

    def create(self, model: str, values: list[Record], context: Record) -> list[int]:
        if model != WIZARD or not self.is_manager:
            raise OdooError("AccessError", f"You are not allowed to create '{model}' records.", 403)
        ids = []
        for each in values:
            ids.append(self.add(WIZARD, inventory_adjustment_name=each["inventory_adjustment_name"], quant_ids=[]))
            self._write_quant_ids(self.tables[WIZARD][ids[-1]], each["quant_ids"], context)
        return ids

    def write_wizards(self, ids: list[int], context: Record, *, vals: Record) -> bool:
        for id_ in ids:
            wizard = self.tables[WIZARD][id_]
            wizard["inventory_adjustment_name"] = vals["inventory_adjustment_name"]
            self._write_quant_ids(wizard, vals["quant_ids"], context)
        return True

    def action_apply(self, ids: list[int], context: Record) -> Record | None:
        """`quants = self.quant_ids.filtered('inventory_quantity_set')`, and those are applied."""
        (id_,) = ids
        wizard = self.tables[WIZARD][id_]
        known = self.tables["stock.quant"]
        there = [known[each] for each in wizard["quant_ids"] if each in known]
        return self.action_apply_inventory(
            [each for each in there if each["inventory_quantity_set"]], wizard["inventory_adjustment_name"]
        )

    def action_apply_inventory(self, quants: Sequence[Record], name: str) -> Record | None:
        """Of quants; what has no count counts as 0, which is why this is not called for them."""
        if any(_is_outdated(quant) for quant in quants):
            return {"type": "ir.actions.act_window", "res_model": "stock.inventory.conflict", "target": "new"}
        for quant in quants:
            change = quant["inventory_quantity"] - quant["quantity"]
            places = (LOSS, quant["location_id"]) if change > 0 else (quant["location_id"], LOSS)
            suffix = " (Bintally)" if self._major < 19 and quant["user_id"] else ""
            self.add(
                "stock.move",
                is_inventory=True,
                state="done",
                date=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
                reference=name + suffix,
                product_id=quant["product_id"],
                product_uom_qty=abs(change),
                location_id=places[0],
                location_dest_id=places[1],
            )
            quant["quantity"] += change
            self.write_quant(quant, {"inventory_quantity": 0.0, "inventory_quantity_set": False, "user_id": False})
        return None

    def write_quant(self, quant: Record, values: Record) -> None:
        """A count, and the difference that it makes to what is there now (`_compute_inventory_diff_quantity`)."""
        quant.update({"inventory_quantity_set": True} | values)
        is_set = quant["inventory_quantity_set"]
        quant["inventory_diff_quantity"] = quant["inventory_quantity"] - quant["quantity"] if is_set else 0.0

    def _write_quant_ids(self, wizard: Record, commands: list[list[Any]], context: Record) -> None:
        """`Many2many.write_real`: UPDATE writes, and does not link; what is created comes last."""
        made = []
        for command, id_, *rest in commands:
            if command == 0:
                made.append(rest[0])
            elif command == 1:
                assert context.get("inventory_mode")
                self.write_quant(self.tables["stock.quant"][id_], rest[0])
            elif command == 4:
                wizard["quant_ids"].append(id_)
            elif command == 6:
                wizard["quant_ids"] = list(rest[0])
        for values in made:
            wizard["quant_ids"].append(self._count_new(values))

    def _count_new(self, values: Record) -> int:
        """`StockQuant.create` in inventory mode: of the quant that is there, or of a new one."""
        assert values.keys() <= {"product_id", "location_id", "inventory_quantity"}
        place = {name: values[name] for name in ("product_id", "location_id")}
        rows = self.tables["stock.quant"].values()
        there = [row for row in rows if place.items() <= row.items() and not row["lot_id"]]
        if not there:
            none = dict.fromkeys(("lot_id", "package_id", "owner_id"), False)
            there = [self.tables["stock.quant"][self.add("stock.quant", quantity=0.0, **none | place)]]
        self.write_quant(there[0], {"inventory_quantity": values["inventory_quantity"], "user_id": UID})
        return int(there[0]["id"])

    def _id(self, model: str, code: str) -> int:
        field = "default_code" if model == "product.product" else "barcode"
        return next(id_ for id_, row in self.tables[model].items() if row[field] == code)

    def _there(self, code: str, sku: str) -> list[Record]:
        place = (self._id("stock.location", code), self._id("product.product", sku))
        return [row for row in self.tables["stock.quant"].values() if (row["location_id"], row["product_id"]) == place]

    def _told(self, model: str, row: Record, fields: list[str]) -> Record:
        told: Record = {"id": row["id"]}
        for field in fields:
            if field == "is_outdated":
                told[field] = _is_outdated(row)
            elif field not in row:
                raise OdooError("ValueError", f"Invalid field {field!r} on model {model!r}", 500)
            elif field.endswith("_id") and row[field]:
                told[field] = [row[field], "Mara Muster" if row[field] == 2 else f"Record {row[field]}"]
            else:
                told[field] = row[field]
        return told

    def _fits(self, model: str, row: Record, domain: list[Any]) -> bool:
        terms = iter(domain)
        fits = [self._term(model, row, term, terms) for term in terms]
        has_active = any(term[0] == "active" for term in domain if isinstance(term, list))
        return all(fits) and (has_active or bool(row["active"]))

    def _term(self, model: str, row: Record, term: Any, rest: Iterator[Any]) -> bool:
        if term == "|":
            either = [self._term(model, row, next(rest), rest) for _ in range(2)]
            return any(either)
        field, operator, value = term
        if operator == "child_of":
            return value in self._line_of(row["id"])
        known = row[field]
        if isinstance(known, list):
            assert operator == "in"
            return bool(set(known) & set(value))
        compared: dict[str, Callable[[], bool]] = {
            "=": lambda: bool(known == value),
            "!=": lambda: bool(known != value),
            "in": lambda: known in value,
            ">": lambda: bool(known > value),
            ">=": lambda: bool(known >= value),
            "=like": lambda: str(known).startswith(value.rstrip("%")),
        }
        return compared[operator]()

    def _line_of(self, id_: int) -> list[int]:
        line = [id_]
        while parent := self.tables["stock.location"][line[-1]].get("parent"):
            line.append(parent)
        return line


def _is_outdated(quant: Record) -> bool:
    expected = quant["inventory_quantity"] - quant["inventory_diff_quantity"]
    return bool(quant["inventory_quantity_set"] and expected != quant["quantity"])


class OdooBench(Bench):
    """Bins C-001 and so on of a contract server."""

    def __init__(self, server: OdooContract, **settings: Any) -> None:
        self._server, self._settings, self._used = server, settings, 0

    def connect(self) -> OdooConnector:
        return self._server.connector(**self._settings)

    def new_bin(self) -> str:
        self._used += 1
        self._server.location(f"C-{self._used:03}")
        return f"C-{self._used:03}"

    def put(self, code: str, product: str, quantity: int) -> None:
        self._server.put(code, product, quantity)

    def held(self, code: str) -> dict[str, int]:
        return {sku: int(quantity) for sku, quantity in self._server.held(code).items()}

    def unreachable(self) -> OdooConnector:
        return self._server.connector(url="http://127.0.0.1:9")

    def locked_out(self) -> OdooConnector:
        return self._server.connector(api_key="wrong", **self._settings)
