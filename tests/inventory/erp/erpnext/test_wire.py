"""What goes over the wire to ERPNext, to be compared with its documentation."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bintally.inventory.erp.protocol import Line, Posting
from tests.inventory.erp.erpnext.contract import API_KEY, API_SECRET, COMPANY, RECONCILIATION, ErpNextContract

KEY = "bintally-0001"


@pytest.fixture
def erpnext() -> Iterator[ErpNextContract]:
    with ErpNextContract().serving() as server:
        server.warehouse("A-1")
        server.put("A-1", "BOLT", 4)
        yield server


def posting() -> Posting:
    lines = (Line("BOLT", 4, 3), Line("NUT", 0, 2))
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    return Posting(key=KEY, kind="adjust", site="S", bin="A-1", lines=lines, counted_at=at, by="rita")


def test_a_draft_is_made_and_submitted_as_of_when_it_was_made(erpnext: ErpNextContract) -> None:
    connector = erpnext.connector()
    draft = connector.prepare([posting()])[KEY]
    before = dict(erpnext.documents[RECONCILIATION][draft.reference])
    answer = connector.commit([draft])[KEY]
    connector.close()
    written = [each for each in erpnext.requests if each.method != "GET"]
    assert [(each.method, each.path, each.body) for each in written] == [
        (
            "POST",
            f"/api/resource/{RECONCILIATION}",
            {
                "company": COMPANY,
                "purpose": "Stock Reconciliation",
                "bintally_key": KEY,
                "items": [
                    {"item_code": "BOLT", "warehouse": "A-1 - D", "qty": 3},
                    {"item_code": "NUT", "warehouse": "A-1 - D", "qty": 2},
                ],
            },
        ),
        (
            "PUT",
            f"/api/resource/{RECONCILIATION}/{draft.reference}",
            {
                "docstatus": 1,
                "set_posting_time": 1,
                "posting_date": before["posting_date"],
                "posting_time": before["posting_time"],
                "modified": before["modified"],
            },
        ),
    ]
    assert {each.headers["authorization"] for each in erpnext.requests} == {f"token {API_KEY}:{API_SECRET}"}
    assert (answer.outcome, answer.reference, answer.answer["docstatus"]) == ("done", draft.reference, 1)
    assert answer.answer["lines"] == [
        {"product": "BOLT", "expected": 4.0, "quantity": 3.0},
        {"product": "NUT", "expected": 0.0, "quantity": 2.0},
    ]


def test_a_draft_is_saved_once_more_and_deleted(erpnext: ErpNextContract) -> None:
    connector = erpnext.connector()
    draft = connector.prepare([posting()])[KEY]
    modified = erpnext.documents[RECONCILIATION][draft.reference]["modified"]
    connector.cancel([draft])
    connector.close()
    path = f"/api/resource/{RECONCILIATION}/{draft.reference}"
    assert [(each.method, each.path, each.body) for each in erpnext.requests[-2:]] == [
        ("PUT", path, {"modified": modified}),
        ("DELETE", path, None),
    ]
    assert erpnext.documents[RECONCILIATION] == {}


def test_stock_is_read_from_bins(erpnext: ErpNextContract) -> None:
    connector = erpnext.connector(parent="Stores - D")
    assert [(stock.bin, dict(stock.lines)) for stock in connector.read(["A-1"])] == [("A-1", {"BOLT": 4})]
    connector.close()
    _, warehouses, bins = erpnext.requests
    assert (warehouses.path, bins.path) == ("/api/resource/Warehouse", "/api/resource/Bin")
    assert json.loads(warehouses.query["filters"]) == [
        ["company", "=", COMPANY],
        ["is_group", "=", 0],
        ["disabled", "=", 0],
        ["lft", ">", 1],
        ["rgt", "<", 10_000],
        ["warehouse_name", "in", ["A-1"]],
    ]
    assert json.loads(bins.query["filters"]) == [["actual_qty", "!=", 0], ["warehouse", "in", ["A-1 - D"]]]
    assert json.loads(bins.query["fields"]) == ["name", "warehouse", "item_code", "actual_qty"]
    assert (bins.query["order_by"], bins.query["limit_page_length"]) == ("name asc", "500")


def test_a_posting_is_found_by_its_key(erpnext: ErpNextContract) -> None:
    connector = erpnext.connector()
    draft = connector.prepare([posting()])[KEY]
    erpnext.requests.clear()
    assert connector.find([KEY, "other"]) == {KEY: draft}
    connector.close()
    listed, read = erpnext.requests
    assert json.loads(listed.query["filters"]) == [["bintally_key", "in", [KEY, "other"]]]
    assert json.loads(listed.query["fields"]) == ["name", "docstatus", "bintally_key"]
    assert read.path == f"/api/resource/{RECONCILIATION}/{draft.reference}"
