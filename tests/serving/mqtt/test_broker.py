from pathlib import Path

import pytest

from bintally.errors import UsageError
from bintally.serving.mqtt.broker import Broker, check
from bintally.serving.mqtt.slots import left_slot, own_slot
from bintally.serving.settings import ServeConfig


def test_a_url_says_where_the_broker_is_and_who_we_are() -> None:
    broker = Broker.of("mqtts://robot%40site:p%2Fw@[::1]:9883?ca=/etc/ca.pem")
    assert (broker.host, broker.port, broker.tls, broker.user, broker.password) == (
        "::1",
        9883,
        True,
        "robot@site",
        "p/w",
    )
    assert broker.ca == Path("/etc/ca.pem")
    assert Broker.of("mqtt://broker.example").port == 1883
    assert Broker.of("mqtts://broker.example").port == 8883
    assert Broker.of("tcp://broker.example") == Broker.of("mqtt://broker.example")
    assert Broker.of("ssl://broker.example?ca=ca.pem") == Broker.of("mqtts://broker.example?ca=ca.pem")


def test_a_broker_shows_no_password() -> None:
    broker = Broker.of("mqtt://someone:hunter2@broker.example")
    assert str(broker) == repr(broker) == "mqtt://broker.example:1883"


@pytest.mark.parametrize(
    "url",
    [
        "broker.example",
        "http://a:hunter2@broker.example",
        "mqtt://",
        "mqtt://a:hunter2@host:port",
        "mqtt://a:hunter2@[half",
        "mqtt://a:hunter2@broker.example/topic",
        "mqtts://a:hunter2@broker.example?cafile=x",
        "mqtt://a:hunter2@broker.example?ca=/etc/ca.pem",
    ],
)
def test_what_is_no_broker_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Broker.of(url)
    assert "hunter2" not in str(error.value)
    assert error.value.hint


def test_files_and_topics_that_can_not_be_used_are_said_before_the_service_starts(tmp_path: Path) -> None:
    for settings in (
        {"mqtt": f"mqtts://broker.example?ca={tmp_path}/missing.pem"},
        {"mqtt": "mqtt://broker.example", "mqtt_topic": "site/#"},
        {"mqtt": "mqtt://broker.example", "mqtt_topic": "/"},
        {"mqtt": "mqtt://broker.example", "mqtt_topic": "$SYS"},
    ):
        with pytest.raises(UsageError):
            check(ServeConfig.of(settings))
    check(ServeConfig.of({"mqtt": "mqtt://broker.example", "mqtt_topic": "site/1"}))
    check(ServeConfig.of({}))


def test_a_process_keeps_its_name_and_shares_it_with_none(tmp_path: Path) -> None:
    with own_slot(tmp_path) as first, own_slot(tmp_path) as second:
        assert first.name != second.name
        assert all(len(slot.name) <= 23 and slot.name.isalnum() for slot in (first, second))
        with left_slot(tmp_path) as left:
            assert left is None
    with own_slot(tmp_path) as again:
        assert again.name == first.name
        with left_slot(tmp_path) as left:
            assert left is not None
            assert left.name == second.name
            left.give_up()
        with left_slot(tmp_path) as left:
            assert left is None
    with own_slot(tmp_path / "another") as other:
        assert other.name not in (first.name, second.name)
