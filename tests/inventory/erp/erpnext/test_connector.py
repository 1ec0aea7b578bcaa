"""What the connector of ERPNext makes of what people do there, against a server of its contract."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bintally.errors import ConfigError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.erpnext import ErpNextConnector, ErpNextSettings
from bintally.inventory.erp.kinds import kind_of
from bintally.inventory.erp.protocol import Answer, Draft, Line, Posting
from tests.inventory.erp.answering import answering
from tests.inventory.erp.erpnext.contract import API_SECRET, RECONCILIATION, ErpNextContract

POST, PUT = f"POST {RECONCILIATION}", f"PUT {RECONCILIATION}"


@pytest.fixture
def erpnext() -> Iterator[ErpNextContract]:
    with ErpNextContract().serving() as server:
        server.warehouse("A-1")
        server.put("A-1", "BOLT", 4)
        yield server


@pytest.fixture
def connector(erpnext: ErpNextContract) -> Iterator[ErpNextConnector]:
    made = erpnext.connector()
    yield made
    made.close()


def posting(code: str = "A-1", *lines: Line, key: str = "key") -> Posting:
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    lines = lines or (Line("BOLT", 4, 3),)
    return Posting(key=key, kind="adjust", site="S", bin=code, lines=lines, counted_at=at, by="rita")


def drafted(connector: ErpNextConnector, asked: Posting) -> Draft:
    return connector.prepare([asked])[asked.key]


def committed(connector: ErpNextConnector, draft: Draft) -> Answer:
    return connector.commit([draft])[draft.key]


def refusal(connector: ErpNextConnector, asked: Posting) -> str:
    """Why there is no draft of it."""
    draft = drafted(connector, asked)
    assert draft.fate == "refused"
    assert committed(connector, draft).outcome == "refused"
    return draft.reason


# Stock that moves


def test_what_is_picked_while_it_is_submitted_is_reckoned_in(
    erpnext: ErpNextContract, connector: ErpNextConnector
) -> None:
    """A reconciliation as of now would say 3, and undo the pick."""
    draft = drafted(connector, posting())
    erpnext.faults = [(PUT, lambda: erpnext.pick("A-1", "BOLT", 1))]
    assert committed(connector, draft).outcome == "done"
    assert erpnext.held("A-1") == {"BOLT": 2}


def test_what_can_not_be_reckoned_in_is_stale(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    draft = drafted(connector, posting())
    erpnext.faults = [(PUT, lambda: erpnext.pick("A-1", "BOLT", 4))]
    answer = committed(connector, draft)
    assert (answer.outcome, answer.reason) == ("stale", "its stock moved: Units of BOLT needed to complete")
    assert erpnext.held("A-1") == {}


@pytest.mark.parametrize("there", [7, 3])
def test_stock_that_has_moved_before_the_draft_is_stale(
    erpnext: ErpNextContract, connector: ErpNextConnector, there: int
) -> None:
    """3 is what is to be: ERPNext makes no document that would change nothing."""
    erpnext.put("A-1", "BOLT", there)
    draft = drafted(connector, posting())
    assert draft.fate == "draft"
    assert draft.reason.startswith("its stock moved: ")
    assert erpnext.documents[RECONCILIATION] == {}
    assert committed(connector, draft).outcome == "stale"
    assert connector.find(["key"]) == {}


def test_a_row_that_erpnext_drops_makes_the_draft_stale(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    erpnext.put("A-1", "NUT", 2)
    draft = drafted(connector, posting("A-1", Line("BOLT", 4, 3), Line("NUT", 1, 2)))
    assert committed(connector, draft).outcome == "stale"
    assert erpnext.held("A-1") == {"BOLT": 4, "NUT": 2}


# What people do


def test_what_somebody_changes_is_not_submitted(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    draft = drafted(connector, posting())
    document = erpnext.documents[RECONCILIATION][draft.reference]
    erpnext.faults = [(PUT, lambda: document.update(modified="2026-03-02 10:00:00.000001"))]
    answer = committed(connector, draft)
    assert (answer.outcome, answer.reason) == ("stale", "somebody has changed it in ERPNext meanwhile")
    assert erpnext.moves() == []


def test_what_somebody_submits_by_hand_is_found(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    draft = drafted(connector, posting())
    erpnext._changed(erpnext.documents[RECONCILIATION][draft.reference], {"docstatus": 1})
    assert connector.find(["key"])["key"].fate == "done"
    assert drafted(connector, posting()).fate == "done"
    assert committed(connector, draft).outcome == "done"
    assert erpnext.moves() == [("A-1", "BOLT", -1.0)]


def test_what_somebody_cancels_is_not_posted_again(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    draft = drafted(connector, posting())
    committed(connector, draft)
    erpnext.documents[RECONCILIATION][draft.reference]["docstatus"] = 2
    assert connector.find(["key"]) == {}
    assert f"somebody has cancelled {draft.reference}" in refusal(connector, posting())
    assert committed(connector, draft).outcome == "refused"


def test_a_draft_that_arrives_late_is_thrown_away(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    """The key is taken by the time we make our own."""
    body = {"company": "Depot", "bintally_key": "key", "items": []}
    row = {"item_code": "BOLT", "warehouse": "A-1 - D", "qty": 3}
    erpnext.faults = [(POST, lambda: erpnext._made(body | {"items": [row]}))]
    assert committed(connector, drafted(connector, posting())).outcome == "done"
    assert len(erpnext.documents[RECONCILIATION]) == 1
    assert erpnext.moves() == [("A-1", "BOLT", -1.0)]


def test_what_is_submitted_between_our_two_looks_is_done(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    """Its own submission is no reason to call it stale."""
    draft = drafted(connector, posting())
    submit = {"docstatus": 1}
    document = erpnext.documents[RECONCILIATION][draft.reference]
    erpnext.faults = [("GET Bin", lambda: erpnext._changed(document, submit))]
    assert committed(connector, draft).outcome == "done"
    assert erpnext.moves() == [("A-1", "BOLT", -1.0)]


# What it does not take


def test_what_erpnext_can_not_say_is_refused_with_the_reason(
    erpnext: ErpNextContract, connector: ErpNextConnector
) -> None:
    for code, values in {
        "HELP": {"is_stock_item": 0},
        "PHONE": {"has_serial_no": 1},
        "MILK": {"has_batch_no": 1},
        "SHIRT": {"has_variants": 1},
        "OLD": {"disabled": 1},
        "FREE": {"valuation_rate": 0},
    }.items():
        erpnext.item(code, **values)
    told = {code: refusal(connector, posting("A-1", Line(code, 0, 1))) for code in ("HELP", "PHONE", "MILK", "SHIRT")}
    assert told["HELP"] == "ERPNext's item HELP is no stock item"
    assert "by serial number" in told["PHONE"]
    assert "by batch" in told["MILK"]
    assert "is a template" in told["SHIRT"]
    assert "is disabled" in refusal(connector, posting("A-1", Line("OLD", 0, 1)))
    assert refusal(connector, posting("A-1", Line("FREE", 0, 1))) == "Valuation Rate required for Item FREE"
    assert "no item WASHER" in refusal(connector, posting("A-1", Line("WASHER", 4, 3)))
    assert "all that is in the bin together" in refusal(connector, posting("A-1", Line(None, 4, 3)))
    assert "no warehouse of the code NOWHERE" in refusal(connector, posting("NOWHERE"))


def test_half_an_item_is_not_read(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    erpnext.put("A-1", "NUT", 1.5)
    [stock] = connector.read(["A-1"])
    assert (dict(stock.lines), "1.5 of NUT in A-1" in str(stock.why_not)) == ({}, True)


def test_only_bins_of_the_company_and_the_group_are_known(
    erpnext: ErpNextContract, connector: ErpNextConnector
) -> None:
    erpnext.warehouse("FAR", lft=20_000, rgt=20_001)
    erpnext.warehouse("THEIRS", company="Others")
    erpnext.warehouse("GONE", disabled=1)
    assert sorted(stock.bin for stock in connector.read()) == ["A-1", "FAR"]
    near = erpnext.connector(parent="Stores - D", bins_by="name")
    assert [stock.bin for stock in near.read()] == ["A-1 - D"]
    near.close()


def test_two_warehouses_of_a_code_are_not_read(erpnext: ErpNextContract, connector: ErpNextConnector) -> None:
    erpnext.documents["Warehouse"]["other"] = erpnext.documents["Warehouse"]["A-1 - D"] | {"name": "other"}
    with pytest.raises(ErpRefusedError, match="Two warehouses in ERPNext have the code A-1"):
        list(connector.read(["A-1"]))
    assert "several warehouses of the code A-1" in refusal(connector, posting())


# Who may do it, and what goes wrong


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({}, "has no field bintally_key"),
        ({"fieldname": "bintally_key", "unique": 0}, "field bintally_key is not unique"),
    ],
)
def test_the_field_for_keys_has_to_be_there_and_unique(field: dict[str, object], words: str) -> None:
    with ErpNextContract(field=field).serving() as erpnext:
        connector = erpnext.connector()
        with pytest.raises(ErpRefusedError, match=words):
            connector.about()
        connector.close()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"company": "Nobody"}, "no company Nobody"),
        ({"parent": "Stores"}, "no warehouse Stores"),
        ({"api_key": "other"}, r"does not allow that \(HTTP 401\)\. Authentication failed"),
    ],
)
def test_wrong_settings_are_said(erpnext: ErpNextContract, changed: dict[str, str], words: str) -> None:
    connector = erpnext.connector(**changed)
    with pytest.raises(ErpRefusedError, match=words) as caught:
        connector.about()
    connector.close()
    assert API_SECRET not in f"{caught.value} {caught.value!r} {connector!r}"


def test_it_needs_an_api_secret() -> None:
    settings = ErpNextSettings(url="http://127.0.0.1:9", api_key="key", company="Depot")
    with pytest.raises(ConfigError, match="no API secret of ERPNext's key key"):
        kind_of("erpnext").open(settings, None)


def refused(name: str, words: str) -> dict[str, object]:
    return {"exc_type": name, "_server_messages": json.dumps([json.dumps({"message": words})])}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (500, refused("OperationalError", "x"), ErpUnavailableError, "HTTP 500"),
        (503, "maintenance", ErpUnavailableError, "HTTP 503"),
        (429, "", ErpUnavailableError, "HTTP 429"),
        (417, refused("DocumentLockedError", "queued"), ErpUnavailableError, "busy .DocumentLockedError.: queued"),
        (403, refused("PermissionError", "No <b>Stock</b> for &amp; you"), ErpRefusedError, "No Stock for & you"),
        (417, refused("DataError", f"Field {API_SECRET}\nno"), ErpRefusedError, "^Field … no"),
        (417, {"exception": "frappe.exceptions.ValidationError: Nope", "exc_type": "X"}, ErpRefusedError, "^Nope"),
        (417, {"exc_type": "X", "_server_messages": "no json"}, ErpRefusedError, r"ERPNext refuses \(X\)"),
        (200, "<html>Welcome</html>", ErpRefusedError, "no ERPNext"),
        (200, '{"message": "other"}', ErpRefusedError, "no ERPNext"),
    ],
)
def test_answers_mean_later_or_never(
    status: int, body: str | dict[str, object], kind: type[Exception], words: str
) -> None:
    with answering(status, body, Retry_After="7") as url:
        connector = ErpNextConnector(ErpNextSettings(url=url, api_key="key", company="Depot"), API_SECRET)
        with pytest.raises(kind, match=words) as caught:
            connector.find(["key"])
        connector.close()
    assert API_SECRET not in str(caught.value)
    if status == 429:
        assert isinstance(caught.value, ErpUnavailableError)
        assert caught.value.retry_after_s == 7
