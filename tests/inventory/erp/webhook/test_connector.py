"""Each posting is a signed event, sent until it is taken; what the receiver says is heeded."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from bintally.errors import ConfigError, ErpAccessError, ErpError, ErpGoneError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.conformance import Bench, ConnectorConformance
from bintally.inventory.erp.conformance.steps import carry_out, new_key, posted, prepared, stocked, with_lines
from bintally.inventory.erp.kinds import kind_of
from bintally.inventory.erp.protocol import Line
from bintally.inventory.erp.webhook import WebhookConnector, WebhookSettings
from tests.inventory.erp.webhook.bench import SECRET, WebhookBench, listening, secret_of


class TestWebhook(ConnectorConformance):
    @pytest.fixture
    def erp(self, hook: WebhookBench) -> Bench:
        return hook


@pytest.fixture
def connector(hook: WebhookBench) -> Iterator[WebhookConnector]:
    made = hook.connect(timeout_s=1)
    yield made
    made.close()


# What is sent


def test_an_event_says_all_of_a_posting(hook: WebhookBench, connector: WebhookConnector) -> None:
    posting = with_lines(stocked(hook), Line("BOLT", 4, 3), site="Lager Nord/2", approved_by=None)
    assert posted(connector, posting).outcome == "done"
    [event] = hook.told(posting.key)
    assert event["specversion"] == "1.0"
    assert (event["type"], event["source"]) == ("bintally.stock.adjusted.v1", "/bintally/sites/Lager%20Nord%2F2")
    assert (event["subject"], event["datacontenttype"]) == (posting.bin, "application/json")
    assert datetime.fromisoformat(event["time"]) == posting.counted_at
    assert event["headers"]["content-type"] == "application/cloudevents+json"
    assert event["data"] == {
        "key": posting.key,
        "kind": "adjust",
        "site": "Lager Nord/2",
        "bin": posting.bin,
        "lines": [{"product": "BOLT", "before": 4, "after": 3, "change": -1}],
        "counted_at": posting.counted_at.isoformat().replace("+00:00", "Z"),
        "by": "rita",
        "approved_by": None,
        "note": "counted twice",
        "reverses": None,
    }


def test_a_secret_can_be_changed_while_events_are_sent(hook: WebhookBench) -> None:
    for secrets in (f"{secret_of('n')} {SECRET}", f"{SECRET},{secret_of('n')}\n"):
        connector = hook.connect(secrets)
        assert posted(connector, stocked(hook)).outcome == "done"
        connector.close()


@pytest.mark.parametrize("secret", [None, "", " ", "whsec_", "whsec_c2hvcnQ=", SECRET[6:], f"{SECRET}!", "password"])
def test_what_is_no_secret_is_said_before_anything_is_sent(secret: str | None) -> None:
    with pytest.raises(ConfigError, match="secret") as raised:
        WebhookConnector(WebhookSettings(url="https://example.com"), secret)
    assert (secret or "whsec_") in ("whsec_", " ") or str(secret) not in str(raised.value)


# What is answered


@pytest.mark.parametrize("fault", ["after", "before", "slow", "503"])
def test_an_event_that_was_not_answered_is_sent_again_and_taken_once(
    hook: WebhookBench, connector: WebhookConnector, fault: str
) -> None:
    posting = stocked(hook)
    draft = prepared(connector, posting)
    hook.faults(fault)
    with pytest.raises(ErpUnavailableError):
        carry_out(connector, draft)
    other = hook.connect()  # after a kill
    assert posted(other, posting).outcome == "done"
    other.close()
    first, second = hook.told(posting.key)
    assert first["data"] == second["data"]
    assert hook.held(posting.bin) == {"BOLT": 3}


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        ('409:{"detail": "7 there"}', "stale", "7 there"),
        ("409", "stale", "its stock has moved"),
        ('422:{"title": "no\\nsuch bin"}', "refused", "nosuch bin"),
        ("400:no", "refused", "HTTP 400"),
    ],
)
def test_what_is_wrong_with_one_event_ends_that_one(
    hook: WebhookBench, connector: WebhookConnector, fault: str, outcome: str, reason: str
) -> None:
    hook.faults(fault)
    answer = posted(connector, stocked(hook))
    assert (answer.outcome, answer.answer["status"]) == (outcome, int(fault[:3]))
    assert reason in answer.reason


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("301:Location=http://127.0.0.1:9/elsewhere", ErpAccessError),
        ("307:Location=/stock", ErpAccessError),
        ("401", ErpAccessError),
        ("404", ErpAccessError),
        ("410", ErpGoneError),
        ("408", ErpUnavailableError),
        ("429", ErpUnavailableError),
        ("500", ErpUnavailableError),
        ("599", ErpUnavailableError),
    ],
)
def test_what_is_wrong_with_all_events_is_an_error(
    hook: WebhookBench, connector: WebhookConnector, fault: str, error: type[ErpError]
) -> None:
    posting = stocked(hook)
    hook.faults(fault)
    with pytest.raises(ErpError, match=f"HTTP {fault[:3]}") as raised:
        posted(connector, posting)
    assert type(raised.value) is error
    assert len(hook.told(posting.key)) == 1


@pytest.mark.parametrize("in_s", [None, "7", "date", "-1", "soon"])
def test_a_receiver_that_wants_to_be_left_alone_is(
    hook: WebhookBench, connector: WebhookConnector, in_s: str | None
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=7), usegmt=True)
    hook.faults("503" if in_s is None else f"503:Retry-After={date if in_s == 'date' else in_s}")
    with pytest.raises(ErpUnavailableError) as raised:
        posted(connector, stocked(hook))
    if in_s not in ("7", "date"):
        assert raised.value.retry_after_s is None
        connector.about()
        return
    assert raised.value.retry_after_s == pytest.approx(7, abs=3)
    with pytest.raises(ErpUnavailableError, match="left alone"):
        connector.about()


def test_of_a_batch_what_was_answered_counts(hook: WebhookBench, connector: WebhookConnector) -> None:
    postings = [stocked(hook) for _ in range(3)]
    drafts = connector.prepare(postings)
    hook.faults("200", "500")
    assert list(connector.commit(list(drafts.values()))) == [postings[0].key]
    assert hook.told(postings[2].key) == []


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        ('200:{"document": [1, null]}', {"document": [1, None]}),
        ("200:thanks", "thanks"),
        ("204", ""),
        ("200:" + "[" * 5000, "[" * 5000),
        ("200:1e999", "1e999"),
        ("200:Content-Encoding=gzip", None),
        ("endless", None),
        ("cut", None),
    ],
)
def test_what_was_said_is_kept_whatever_it_was(
    hook: WebhookBench, connector: WebhookConnector, fault: str, kept: Any
) -> None:
    posting = stocked(hook)
    hook.faults(fault)
    answer = posted(connector, posting)
    assert (answer.outcome, answer.answer["body"]) == ("done", kept)


# Whether it is there


def test_a_ping_asks_whether_it_is_there_and_no_more_often_than_need_be(hook: WebhookBench) -> None:
    connector = hook.connect()
    before = pings(hook)
    for _ in range(3):
        connector.about()
    assert pings(hook) == before + 1
    hook.faults("500")
    with pytest.raises(ErpUnavailableError):
        posted(connector, stocked(hook))
    connector.about()
    assert pings(hook) == before + 2
    hook.faults("500", "ping 503")
    with pytest.raises(ErpUnavailableError):
        posted(connector, stocked(hook))
    with pytest.raises(ErpUnavailableError):
        connector.about()
    connector.close()


def test_a_receiver_that_wants_no_pings_gets_none(hook: WebhookBench) -> None:
    connector = hook.connect(ping=False)
    before = pings(hook)
    connector.about()
    hook.faults("410")
    with pytest.raises(ErpGoneError):
        posted(connector, stocked(hook))
    with pytest.raises(ErpGoneError):
        connector.about()
    connector.about()  # it was told that once; a person may have resumed it
    assert pings(hook) == before
    connector.close()


def pings(hook: WebhookBench) -> int:
    return sum(event["type"] == "bintally.ping.v1" for event in hook.state()["events"])


# Who is told


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"url": "http://stock.example.com"}, "use https"),
        ({"url": "ftp://stock.example.com"}, "no address"),
        ({"url": "https://user:password@stock.example.com"}, "no address"),
        ({"url": "stock"}, "no address"),
        ({"url": "https://stock.example.com", "timeout_s": 0}, "timeout_s"),
    ],
)
def test_an_address_that_is_none_is_not_taken(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        kind_of("webhook").settings.of(settings)


@pytest.mark.parametrize(
    ("address", "allow_private", "why"),
    [
        ("10.1.2.3", False, "private address"),
        ("127.0.0.1", False, "private address"),
        ("fd12::1", False, "private address"),
        ("169.254.169.254", True, "no receiver"),
        ("::ffff:10.1.2.3", True, "no receiver"),
        ("0.0.0.0", True, "no receiver"),
    ],
)
def test_a_name_leads_to_no_address_that_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, address: str, allow_private: bool, why: str
) -> None:
    resolved(monkeypatch, "93.184.215.14", address)
    connector = WebhookConnector(
        WebhookSettings(url="https://stock.example.com", allow_private=allow_private, timeout_s=1), SECRET
    )
    with pytest.raises(ErpRefusedError, match=why):
        connector.about()
    connector.close()


def test_the_address_that_was_looked_at_is_the_one_that_is_told(
    hook: WebhookBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved(monkeypatch, "127.0.0.1")
    port = hook.url.rpartition(":")[2]
    url = f"http://stock.example.com:{port}/stock"
    connector = WebhookConnector(WebhookSettings(url=url, allow_private=True, allow_http=True), SECRET)
    posting = stocked(hook)
    assert posted(connector, posting).outcome == "done"
    assert hook.told(posting.key)[0]["headers"]["host"] == f"stock.example.com:{port}"
    connector.close()


def test_a_name_that_has_no_address_may_have_one_later() -> None:
    connector = WebhookConnector(WebhookSettings(url="https://stock.invalid"), SECRET)
    with pytest.raises(ErpUnavailableError, match="did not answer"):
        connector.about()
    connector.close()


def test_a_certificate_is_looked_at(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(files[2])
    with listening(*files[:2]) as port:
        known = WebhookConnector(WebhookSettings(url=f"https://localhost:{port}/stock", ca_file=files[2]), SECRET)
        assert known.about().product == "Webhook"
        other_name = WebhookSettings(url=f"https://127.0.0.1:{port}/stock", ca_file=files[2])
        unknown = WebhookSettings(url=f"https://localhost:{port}/stock")
        for settings in (other_name, unknown):
            stranger = WebhookConnector(settings, SECRET)
            with pytest.raises(ErpUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                stranger.about()
            stranger.close()
        known.close()
    with pytest.raises(ConfigError, match="ca_file"):
        WebhookConnector(WebhookSettings(url="https://localhost", ca_file=tmp_path / "none.pem"), SECRET)


def test_it_does_not_tell_what_is_in_stock(connector: WebhookConnector) -> None:
    assert connector.about().reads is False
    with pytest.raises(ErpRefusedError):
        connector.read()
    assert connector.find([new_key()]) == {}


def resolved(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """All names have these addresses."""
    real = socket.getaddrinfo

    def look_up(host: str, port: int | None, *_: Any, **__: Any) -> list[Any]:
        if host.endswith(".com"):
            return [found for address in addresses for found in real(address, port, type=socket.SOCK_STREAM)]
        return real(host, port, type=socket.SOCK_STREAM)

    monkeypatch.setattr("socket.getaddrinfo", look_up)
