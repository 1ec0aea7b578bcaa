"""What goes over the wire to Odoo, to be compared with its documentation: JSON-RPC, and JSON-2."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from bintally.inventory.erp.protocol import Line, Posting
from tests.inventory.erp.odoo.contract import API_KEY, DATABASE, UID, USER, WIZARD, OdooContract

KEY = "bintally-0001"
MODE = {"inventory_mode": True}
NO_COUNT = {"inventory_quantity": 0, "inventory_quantity_set": False, "user_id": False}


@pytest.fixture(params=["18.0", "19.0"])
def odoo(request: pytest.FixtureRequest) -> Iterator[OdooContract]:
    with OdooContract(request.param).serving() as server:
        server.location("A-1")
        server.put("A-1", "BOLT", 4)
        yield server


def posting() -> Posting:
    lines = (Line("BOLT", 4, 3), Line("NUT", 0, 2))
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    return Posting(key=KEY, kind="adjust", site="S", bin="A-1", lines=lines, counted_at=at, by="rita")


def written(odoo: OdooContract) -> list[tuple[str, str, Any]]:
    """Requests that change something: method, path and body."""
    reading = ("search_read", "context_get", "version", "authenticate")
    return [
        (request.method, request.path, request.body)
        for request in odoo.requests
        if not odoo.call_of(request).endswith(reading)
    ]


def told_and_taken_back(odoo: OdooContract, api: str) -> list[tuple[str, str, Any]]:
    """What a posting changes there: prepared, thrown away, prepared again and carried out."""
    connector = odoo.connector(api=api)
    connector.cancel(list(connector.prepare([posting()]).values()))
    answers = connector.commit(list(connector.prepare([posting()]).values()))
    connector.close()
    assert answers[KEY].outcome == "done"
    return written(odoo)


def test_json_rpc(odoo: OdooContract) -> None:
    def execute_kw(method: str, positional: list[Any], **named: Any) -> tuple[str, str, Any]:
        args = [DATABASE, UID, API_KEY, WIZARD, method, positional, {**named, "context": MODE}]
        params = {"service": "object", "method": "execute_kw", "args": args}
        return "POST", "/jsonrpc", {"jsonrpc": "2.0", "method": "call", "params": params, "id": 0}

    (bolt, nut), place = sorted(odoo.tables["product.product"]), max(odoo.tables["stock.location"])
    quant = min(odoo.tables["stock.quant"])
    count = {"inventory_quantity": 3, "inventory_quantity_set": True, "user_id": UID}
    new = {"product_id": nut, "location_id": place, "inventory_quantity": 2}
    first, both = [[1, quant, count], [4, quant, 0], [0, 0, new]], [quant, quant + 1]
    again = [[1, quant, count], [4, quant, 0], [1, quant + 1, count | {"inventory_quantity": 2}], [4, quant + 1, 0]]
    nothing = {"inventory_adjustment_name": "", "quant_ids": [*[[1, id_, NO_COUNT] for id_ in both], [6, 0, []]]}
    requests = told_and_taken_back(odoo, "jsonrpc")
    wizard = min(odoo.tables[WIZARD])
    assert requests == [
        execute_kw("create", [[{"inventory_adjustment_name": KEY, "quant_ids": first}]]),
        execute_kw("write", [[wizard]], vals=nothing),
        execute_kw("create", [[{"inventory_adjustment_name": KEY, "quant_ids": again}]]),
        execute_kw("action_apply", [[wizard + 1]]),
    ]
    login = {"service": "common", "method": "authenticate", "args": [DATABASE, USER, API_KEY, {}]}
    assert [request.body["params"] for request in odoo.requests].count(login) == 1
    assert bolt != nut
    assert odoo.held("A-1") == {"BOLT": 3, "NUT": 2}


def test_json_2(odoo: OdooContract) -> None:
    requests = told_and_taken_back(odoo, "json2")
    wizard = min(odoo.tables[WIZARD])
    assert [(method, path) for method, path, _ in requests] == [
        ("POST", f"/json/2/{WIZARD}/{method}") for method in ("create", "write", "create", "action_apply")
    ]
    bodies = [body for *_, body in requests]
    assert bodies[0].keys() == {"vals_list", "context"}
    assert bodies[1].keys() == {"ids", "vals", "context"}
    assert bodies[3] == {"ids": [wizard + 1], "context": MODE}
    assert {request.headers["authorization"] for request in odoo.requests} == {f"bearer {API_KEY}"}
    assert {request.headers["x-odoo-database"] for request in odoo.requests} == {DATABASE}


def test_a_correction_is_found_by_the_reference_of_its_moves(odoo: OdooContract) -> None:
    connector = odoo.connector()
    connector.commit(list(connector.prepare([posting()]).values()))
    odoo.vacuum()
    odoo.requests.clear()
    found = connector.find([KEY, "bintally-000", "bintally-0002"])
    connector.close()
    assert {key: draft.fate for key, draft in found.items()} == {KEY: "done"}
    domain = odoo.requests[0].body["params"]["args"][6]["domain"]
    assert domain[:2] == [["is_inventory", "=", True], ["state", "=", "done"]]
    assert domain[3:] == [
        "|",
        "|",
        ["reference", "=like", f"{KEY}%"],
        ["reference", "=like", "bintally-000%"],
        ["reference", "=like", "bintally-0002%"],
        ["id", ">", 0],
    ]
    moved = [(move["reference"], move["product_uom_qty"]) for move in found[KEY].answer["moves"]]
    suffix = " (Bintally)" if odoo.series == "18.0" else ""
    assert moved == [(f"{KEY}{suffix}", 1.0), (f"{KEY}{suffix}", 2.0)]
