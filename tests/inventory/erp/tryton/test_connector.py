"""The connector of Tryton, against a real one: a `trytond` process with stock, lots, and a user of the group Stock."""

import base64
from datetime import UTC, datetime

import msgspec
import pytest

from bintally.errors import ConfigError, ErpRefusedError
from bintally.inventory.erp.conformance import Bench, ConnectorConformance
from bintally.inventory.erp.kinds import kind_of
from bintally.inventory.erp.protocol import Line, Posting
from bintally.inventory.erp.tryton import TrytonConnector, TrytonSettings
from tests.inventory.erp.tryton_server import PASSWORD, USER, Tryton, TrytonBench

BOLT, NUT = Bench.products


class TestTryton(ConnectorConformance):
    @pytest.fixture
    def erp(self, bench: TrytonBench) -> Bench:
        return bench


def posting(code: str, *lines: Line, key: str = "") -> Posting:
    key = key or f"bintally-{code}"
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    lines = lines or (Line(BOLT, 4, 3),)
    return Posting(key=key, kind="adjust", site="S", bin=code, lines=lines, counted_at=at, by="rita", note="one lost")


def refusal(connector: TrytonConnector, asked: Posting) -> str:
    """Why there is no draft of it."""
    draft = connector.prepare([asked])[asked.key]
    assert draft.fate == "refused"
    assert connector.commit([draft])[asked.key].outcome == "refused"
    return draft.reason


# What it is made of


def test_the_posting_hangs_on_its_inventory(tryton: Tryton, connector: TrytonConnector, bench: TrytonBench) -> None:
    asked = posting(bench.new_bin())
    tryton.put(asked.bin, BOLT, 4)
    draft = connector.prepare([asked])[asked.key]
    fields = ["name", "description", "data"]
    (file,) = tryton.call("ir.attachment", "search_read", [["resource", "=", draft.reference]], 0, None, None, fields)
    assert file["name"] == f"{asked.key}.json"
    assert file["description"] == "Counted 2026-03-02 09:30 UTC, by rita\none lost"
    assert msgspec.json.decode(base64.b64decode(file["data"]["base64"]), type=Posting) == asked
    answer = connector.commit([draft])[asked.key].answer
    assert (answer["state"], answer["number"]) == ("done", draft.answer["number"])
    assert answer["lines"] == [{"product": BOLT, "expected": 4.0, "quantity": 3.0}]


def test_what_somebody_confirms_by_hand_is_found(
    tryton: Tryton, connector: TrytonConnector, bench: TrytonBench
) -> None:
    asked = posting(bench.new_bin())
    tryton.put(asked.bin, BOLT, 4)
    draft = connector.prepare([asked])[asked.key]
    tryton.call("stock.inventory", "confirm", [int(draft.reference.split(",")[1])])
    assert connector.find([asked.key])[asked.key].fate == "done"
    assert connector.prepare([asked])[asked.key].fate == "done"
    assert connector.commit([draft])[asked.key].outcome == "done"
    assert tryton.held(asked.bin) == {BOLT: 3}


def test_a_draft_that_starts_from_other_stock_can_be_confirmed_by_nobody(
    tryton: Tryton, connector: TrytonConnector, bench: TrytonBench
) -> None:
    asked = posting(bench.new_bin())
    tryton.put(asked.bin, BOLT, 7)
    draft = connector.prepare([asked])[asked.key]
    with pytest.raises(AssertionError, match="empty quantity"):
        tryton.call("stock.inventory", "confirm", [int(draft.reference.split(",")[1])])
    assert connector.commit([draft])[asked.key].outcome == "stale"


def test_more_than_a_batch_is_sent_in_parts(tryton: Tryton, bench: TrytonBench) -> None:
    asked = [posting(bench.new_bin(), Line(NUT, 0, 2)) for _ in range(5)]
    connector = tryton.connector(batch_size=2)
    answers = connector.commit(list(connector.prepare(asked).values()))
    connector.close()
    assert [answers[each.key].outcome for each in asked] == ["done"] * 5


# What it does not take


def test_what_tryton_can_not_say_is_refused_with_the_reason(tryton: Tryton, connector: TrytonConnector) -> None:
    tryton.product("HELP", type="service")
    tryton.location("TWICE", "TWICE", "ONCE")
    assert "all that is in the bin together" in refusal(connector, posting("ONCE", Line(None, 4, 3)))
    assert "no product of the code WASHER" in refusal(connector, posting("ONCE", Line("WASHER", 4, 3)))
    assert "HELP, which is no goods" in refusal(connector, posting("ONCE", Line("HELP", 0, 1)))
    assert "no storage location of the code NOWHERE" in refusal(connector, posting("NOWHERE"))
    assert "several storage locations of the code TWICE" in refusal(connector, posting("TWICE"))
    with pytest.raises(ErpRefusedError, match="have the code TWICE"):
        list(connector.read(["TWICE"]))


def test_half_an_item_is_not_read(tryton: Tryton, connector: TrytonConnector) -> None:
    tryton.product("SAND", unit="kg")
    tryton.location("HEAP")
    tryton.put("HEAP", "SAND", 1.5)
    [stock] = connector.read(["HEAP"])
    assert (dict(stock.lines), "1.5 of SAND in HEAP" in str(stock.why_not)) == ({}, True)


def test_stock_that_is_kept_by_lot_is_refused(tryton: Tryton, connector: TrytonConnector) -> None:
    tryton.product("MILK", lot_required=["storage", "lost_found"])
    tryton.location("LOTS", "NO-LOTS")
    milk = tryton.id("product.product", code="MILK")
    (lot,) = tryton.call("stock.lot", "create", [{"number": "L1", "product": milk}])
    tryton.receive("LOTS", "MILK", 4, lot=lot)
    assert "by lot" in refusal(connector, posting("LOTS", Line("MILK", 4, 3)))
    asked = posting("NO-LOTS", Line("MILK", 0, 1))
    answer = connector.commit(list(connector.prepare([asked]).values()))[asked.key]
    assert answer.outcome == "refused"
    assert "lot" in answer.reason.lower()


def test_what_tryton_wants_to_be_asked_twice_is_for_a_person(
    tryton: Tryton, connector: TrytonConnector, bench: TrytonBench
) -> None:
    asked = posting(bench.new_bin())
    tryton.put(asked.bin, BOLT, 4)
    tryton.call("stock.configuration", "write", [1], {"inventory_quantity_tolerance": 0.1})
    try:
        answer = connector.commit(list(connector.prepare([asked]).values()))[asked.key]
    finally:
        tryton.call("stock.configuration", "write", [1], {"inventory_quantity_tolerance": None})
    assert answer.outcome == "refused"
    assert "tolerance" in answer.reason
    assert tryton.held(asked.bin) == {BOLT: 4}


def test_only_bins_under_the_location_are_known(tryton: Tryton, connector: TrytonConnector) -> None:
    (hall,) = tryton.call("stock.location", "create", [{"name": "Hall", "code": "HALL", "type": "view"}])
    tryton.call("stock.location", "create", [{"name": "Far", "code": "FAR", "type": "storage", "parent": hall}])
    tryton.receive("FAR", BOLT, 4)
    assert list(connector.read(["FAR"])) == []
    far = tryton.connector(location="HALL")
    assert [(stock.bin, dict(stock.lines)) for stock in far.read()] == [("FAR", {BOLT: 4})]
    far.close()


# Who may do it


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"database": "nothing"}, "no database nothing"), ({"location": "NOPE"}, "no location of the code NOPE")],
)
def test_wrong_settings_are_said(tryton: Tryton, changed: dict[str, str], words: str) -> None:
    connector = tryton.connector(**changed)
    with pytest.raises(ErpRefusedError, match=words):
        connector.about()
    connector.close()


def test_a_user_without_company_or_rights_is_said(tryton: Tryton) -> None:
    company = {"company": 1, "companies": [["add", [1]]]}
    users = [{"name": name, "login": name, "password": PASSWORD} for name in ("stray", "guest")]
    tryton.call("res.user", "create", [users[0] | {"company": None, "companies": []}, users[1] | company])
    for name, words in (("stray", "has no company"), ("guest", "may not read stock.inventory")):
        connector = tryton.connector(user=name)
        with pytest.raises(ErpRefusedError, match=words) as caught:
            connector.about()
        assert PASSWORD not in f"{caught.value} {caught.value!r} {connector!r}"
        connector.close()


def test_a_session_that_has_ended_is_begun_anew(tryton: Tryton, connector: TrytonConnector) -> None:
    connector.about()
    tryton.forget_sessions()
    assert connector.about().product == "Tryton"


def test_it_needs_a_password(tryton: Tryton) -> None:
    kind = kind_of("tryton")
    with pytest.raises(ConfigError, match="no password of Tryton's user bintally"):
        kind.open(tryton.settings(), None)


@pytest.mark.parametrize("url", ["tryton.example.com", "https://rita:secret@example.com", "ftp://example.com"])
def test_an_address_is_checked(url: str) -> None:
    with pytest.raises(ConfigError, match="no address of a server"):
        TrytonSettings.of({"url": url, "database": "depot", "user": USER})
