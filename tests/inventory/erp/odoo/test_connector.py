"""What the connector of Odoo makes of what people do there, against a server of its contract."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bintally.errors import ConfigError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.kinds import kind_of
from bintally.inventory.erp.odoo import OdooConnector, OdooSettings
from bintally.inventory.erp.protocol import Answer, Draft, Line, Posting
from tests.inventory.erp.answering import answering
from tests.inventory.erp.odoo.contract import API_KEY, LOSS, WIZARD, OdooContract


@pytest.fixture
def odoo() -> Iterator[OdooContract]:
    with OdooContract().serving() as server:
        for code in ("A-1", "A-2"):
            server.location(code)
            server.put(code, "BOLT", 4)
        yield server


@pytest.fixture
def connector(odoo: OdooContract) -> Iterator[OdooConnector]:
    made = odoo.connector()
    yield made
    made.close()


def posting(code: str = "A-1", *lines: Line, key: str = "") -> Posting:
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    lines = lines or (Line("BOLT", 4, 3),)
    return Posting(key=key or f"key-{code}", kind="adjust", site="S", bin=code, lines=lines, counted_at=at, by="rita")


def drafted(connector: OdooConnector, asked: Posting) -> Draft:
    return connector.prepare([asked])[asked.key]


def refusal(connector: OdooConnector, asked: Posting) -> str:
    """Why there is no draft of it."""
    draft = drafted(connector, asked)
    assert draft.fate == "refused"
    assert connector.commit([draft])[asked.key].outcome == "refused"
    return draft.reason


def committed(connector: OdooConnector, draft: Draft) -> Answer:
    return connector.commit([draft])[draft.key]


# Counts, ours and others'


def test_a_draft_is_a_count_of_ours(odoo: OdooContract, connector: OdooConnector) -> None:
    draft = drafted(connector, posting())
    (line,) = draft.answer["lines"]
    assert (draft.reference, line["expected"], line["counted"]) == ("key-A-1", 4.0, 3.0)
    assert odoo.held("A-1") == {"BOLT": 4}


def test_what_somebody_else_has_counted_is_left_alone(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.count_by_hand("A-1", "BOLT", 9)
    odoo.count_by_hand("A-2", "BOLT", 9, uid=False)
    assert "Mara Muster has counted BOLT there" in refusal(connector, posting("A-1"))
    assert "somebody has counted BOLT there" in refusal(connector, posting("A-2"))
    assert odoo.held("A-1") == {"BOLT": 4}


def test_what_somebody_counts_over_ours_is_not_applied(odoo: OdooContract, connector: OdooConnector) -> None:
    draft = drafted(connector, posting())
    odoo.count_by_hand("A-1", "BOLT", 9)
    assert committed(connector, draft).outcome == "stale"
    assert odoo.moves() == []


def test_what_somebody_applies_by_hand_is_stale_and_not_applied_again(
    odoo: OdooContract, connector: OdooConnector
) -> None:
    draft = drafted(connector, posting())
    odoo.action_apply_inventory(list(odoo.tables["stock.quant"].values())[:1], "Product Quantity Updated")
    assert committed(connector, draft).outcome == "stale"
    assert odoo.moves() == [("A-1", "BOLT", -1.0)]


def test_odoo_empties_a_bin_that_is_applied_twice_without_its_wizard(odoo: OdooContract) -> None:
    """Why `action_apply_inventory` is not called: odoo/odoo#119195."""
    odoo.count_by_hand("A-1", "BOLT", 3)
    for _ in range(2):
        odoo.action_apply_inventory(list(odoo.tables["stock.quant"].values())[:1], "")
    assert odoo.held("A-1") == {}


def test_a_draft_that_odoo_has_vacuumed_is_made_anew(odoo: OdooContract, connector: OdooConnector) -> None:
    drafted(connector, posting())
    odoo.vacuum()
    assert connector.find(["key-A-1"]) == {}
    assert committed(connector, drafted(connector, posting())).outcome == "done"
    assert odoo.moves() == [("A-1", "BOLT", -1.0)]


def test_a_count_that_another_posting_left_behind_is_taken_back(odoo: OdooContract, connector: OdooConnector) -> None:
    old = drafted(connector, posting(key="old"))
    assert committed(connector, drafted(connector, posting("A-1", Line("BOLT", 4, 2), key="new"))).outcome == "done"
    assert committed(connector, old).outcome == "refused"
    assert odoo.moves() == [("A-1", "BOLT", -2.0)]


def test_two_counts_of_a_product_in_a_bin_are_not_made_at_once(odoo: OdooContract, connector: OdooConnector) -> None:
    told = connector.prepare([posting(key="one"), posting(key="two")])
    assert [draft.fate for draft in told.values()] == ["refused", "draft"] or told["two"].fate == "refused"
    assert committed(connector, told["one"]).outcome == "done"


def test_stock_that_has_moved_before_the_draft_is_stale(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.put("A-1", "BOLT", 7)
    draft = drafted(connector, posting())
    assert (draft.fate, draft.reason) == ("draft", "its stock moved: 7 of BOLT there, 4 expected")
    assert odoo.tables[WIZARD] == {}
    assert committed(connector, draft).outcome == "stale"


def test_stock_that_moves_while_the_draft_is_made_is_stale(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.faults = [(f"{WIZARD}.create", lambda: odoo.pick("A-1", "BOLT", 1))]
    draft = drafted(connector, posting())
    assert draft.reason == "its stock moved: 3 of BOLT there, 4 expected"
    assert committed(connector, draft).outcome == "stale"
    assert not any(quant["inventory_quantity_set"] for quant in odoo.tables["stock.quant"].values())


def test_stock_that_moves_at_the_last_moment_is_stale(odoo: OdooContract, connector: OdooConnector) -> None:
    draft = drafted(connector, posting())
    odoo.faults = [(f"{WIZARD}.action_apply", lambda: odoo.pick("A-1", "BOLT", 1))]
    answer = committed(connector, draft)
    assert (answer.outcome, answer.reason) == ("stale", "its stock moved while it was applied")
    assert odoo.held("A-1") == {"BOLT": 3}
    assert odoo.moves() == []


# What it does not take


def test_what_odoo_can_not_say_is_refused_with_the_reason(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.product("TWIN")
    odoo.product("TWIN")
    odoo.product("MILK", tracking="lot")
    odoo.location("SAME")
    odoo.location("SAME")
    assert "all that is in the bin together" in refusal(connector, posting("A-1", Line(None, 4, 3)))
    assert "no product of the code WASHER" in refusal(connector, posting("A-1", Line("WASHER", 4, 3)))
    assert "several products of the code TWIN" in refusal(connector, posting("A-1", Line("TWIN", 4, 3)))
    assert "MILK by lot number" in refusal(connector, posting("A-1", Line("MILK", 4, 3)))
    assert "no location of the code NOWHERE" in refusal(connector, posting("NOWHERE"))
    assert "several locations of the code SAME" in refusal(connector, posting("SAME"))
    with pytest.raises(ErpRefusedError, match="Two locations in Odoo have the code SAME"):
        list(connector.read(["SAME"]))


def test_packages_and_owners_are_refused_and_read(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.quant("A-1", "BOLT", package_id=12, quantity=2.0)
    assert "by lot, package or owner" in refusal(connector, posting())
    assert [dict(stock.lines) for stock in connector.read(["A-1"])] == [{"BOLT": 6}]


def test_a_quant_that_odoo_has_split_is_refused(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.quant("A-1", "BOLT", quantity=-1.0)
    assert "two records of BOLT there" in refusal(connector, posting())


def test_half_an_item_and_a_product_without_a_code_are_told(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.product(False)
    nameless = max(odoo.tables["product.product"])
    odoo.quant("A-2", "NUT", quantity=1.0, product_id=nameless)
    assert [dict(stock.lines) for stock in connector.read(["A-2"])] == [{"BOLT": 4, f"#{nameless}": 1}]
    odoo.put("A-1", "NUT", 1.5)
    [stock] = connector.read(["A-1"])
    assert (dict(stock.lines), "1.5 of NUT in A-1" in str(stock.why_not)) == ({}, True)


@pytest.mark.parametrize(("by", "code"), [("complete_name", "WH/Stock/Shelf"), ("name", "Shelf")])
def test_bins_and_products_go_by_other_names(odoo: OdooContract, by: str, code: str) -> None:
    odoo.location("123", name="Shelf", complete_name="WH/Stock/Shelf")
    odoo.product("CAP", barcode="4006381333931")
    odoo.put("123", "CAP", 4)
    named = odoo.connector(bins_by=by, products_by="barcode")
    assert [(stock.bin, dict(stock.lines)) for stock in named.read([code])] == [(code, {"4006381333931": 4})]
    asked = posting(code, Line("4006381333931", 4, 3), key="key-shelf")
    assert committed(named, drafted(named, asked)).outcome == "done"
    named.close()


def test_only_bins_under_the_location_are_known(odoo: OdooContract, connector: OdooConnector) -> None:
    odoo.add("stock.location", name="Far", complete_name="Far", barcode="FAR", usage="internal")
    odoo.add("stock.location", name="Customers", complete_name="Customers", barcode="OUT", usage="customer")
    assert list(connector.read(["FAR", "OUT"])) == []
    everywhere = odoo.connector(location=None)
    assert [stock.bin for stock in everywhere.read(["FAR", "OUT"])] == ["FAR"]
    everywhere.close()


# Who may do it, and what goes wrong


@pytest.mark.parametrize("api", ["jsonrpc", "json2"])
def test_a_user_without_rights_is_said(api: str) -> None:
    with OdooContract("19.0", is_manager=False).serving() as odoo:
        connector = odoo.connector(api=api)
        with pytest.raises(ErpRefusedError, match=f"not allowed to access '{WIZARD}'") as caught:
            connector.about()
        connector.close()
    assert API_KEY not in f"{caught.value} {caught.value!r} {caught.value.hint} {connector!r}"


@pytest.mark.parametrize(
    ("series", "changed", "words"),
    [
        ("15.0", {}, "15.0 is too old"),
        ("18.0", {"api": "json2"}, "has no JSON-2"),
        ("saas~18.2", {"location": "WH/Nowhere"}, "no location called WH/Nowhere"),
        ("18.0", {"user": "stranger"}, "does not let stranger in"),
        ("19.0", {"api": "json2", "database": "nothing"}, "database does not exist"),
    ],
)
def test_wrong_settings_are_said(series: str, changed: dict[str, str], words: str) -> None:
    with OdooContract(series).serving() as odoo:
        connector = odoo.connector(**changed)
        with pytest.raises(ErpRefusedError, match=words):
            connector.about()
        connector.close()


def test_it_needs_an_api_key() -> None:
    settings = OdooSettings(url="http://127.0.0.1:9", database="depot", user="bintally")
    with pytest.raises(ConfigError, match="no API key of Odoo's user bintally"):
        kind_of("odoo").open(settings, None)


@pytest.mark.parametrize("url", ["example.odoo.com", "https://rita:secret@example.com", "ftp://example.com"])
def test_an_address_is_checked(url: str) -> None:
    with pytest.raises(ConfigError, match="no address of a server"):
        OdooSettings.of({"url": url, "database": "depot", "user": "bintally"})


def error(name: str, words: str = "No.\nNot that.") -> dict[str, object]:
    return {"jsonrpc": "2.0", "error": {"code": 0, "data": {"name": name, "message": words}}}


@pytest.mark.parametrize(
    ("api", "status", "body", "kind", "words"),
    [
        ("jsonrpc", 502, "oops", ErpUnavailableError, "HTTP 502"),
        ("jsonrpc", 429, "", ErpUnavailableError, "HTTP 429"),
        ("jsonrpc", 200, "<html>Welcome</html>", ErpRefusedError, "no Odoo"),
        ("jsonrpc", 404, "{}", ErpRefusedError, r"no Odoo \(HTTP 404\)"),
        ("jsonrpc", 200, error("odoo.exceptions.UserError"), ErpRefusedError, r"^No\. Not that\. Look at"),
        ("jsonrpc", 200, error("werkzeug.exceptions.NotFound"), ErpRefusedError, "no JSON-RPC"),
        ("jsonrpc", 200, error("odoo.exceptions.AccessDenied"), ErpRefusedError, "does not let bintally in"),
        ("jsonrpc", 200, error("psycopg2.errors.SerializationFailure"), ErpUnavailableError, "SerializationFailure"),
        ("jsonrpc", 200, error("builtins.ValueError", f"it said {API_KEY}"), ErpUnavailableError, "it said …"),
        ("json2", 503, "{}", ErpUnavailableError, "HTTP 503"),
        ("json2", 409, {"name": "LockError", "message": "busy"}, ErpUnavailableError, "HTTP 409"),
        ("json2", 401, {"name": "Unauthorized", "message": "no"}, ErpRefusedError, "does not let bintally in"),
        ("json2", 422, {"name": "UserError", "message": "Not\nthat."}, ErpRefusedError, r"^Not that\. Look at"),
        ("json2", 404, "<html>", ErpRefusedError, "no Odoo"),
    ],
)
def test_answers_mean_later_or_never(
    api: str, status: int, body: str | dict[str, object], kind: type[Exception], words: str
) -> None:
    with answering(status, body, Retry_After="7") as url:
        settings = OdooSettings.of({"url": url, "database": "depot", "user": "bintally", "api": api})
        connector = OdooConnector(settings, API_KEY)
        with pytest.raises(kind, match=words) as caught:
            connector.find(["key"])
        connector.close()
    assert API_KEY not in str(caught.value)
    if status == 429:
        assert isinstance(caught.value, ErpUnavailableError)
        assert caught.value.retry_after_s == 7


def test_the_loss_location_is_no_bin(odoo: OdooContract, connector: OdooConnector) -> None:
    assert LOSS not in odoo.tables["stock.location"]
    assert sorted(stock.bin for stock in connector.read()) == ["A-1", "A-2"]
