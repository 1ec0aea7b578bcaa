"""The MQTT door against a real broker; the service in this process, where no kill is needed."""

import asyncio
import base64
import hashlib
import json
import queue
import threading
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bintally.counting.counter import Counter
from bintally.errors import RequestError
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.mqtt import inheritance
from bintally.serving.mqtt.messages import Arrived, question
from bintally.serving.mqtt.slots import own_slot
from bintally.serving.service import CountingService
from tests.bundles import bin_photo
from tests.serving.bins.shop import stock
from tests.serving.mqtt.brokers import Mosquitto, Robot, robot_of, wait_until
from tests.serving.mqtt.doors import serving

PHOTO = bin_photo(3, image_format="JPEG")


def as_json(photo: bytes = PHOTO, **more: object) -> bytes:
    return json.dumps({"image": base64.b64encode(photo).decode(), **more}).encode()


def test_a_photos_bytes_are_counted_and_named_by_their_digest(service: CountingService, robot: Robot) -> None:
    robot.publish(PHOTO)
    message, told = robot.next()
    assert message.topic == "bintally/counts/robot-7"
    assert message.qos == 1
    assert told["id"] == hashlib.sha256(PHOTO).hexdigest()
    assert told["answer"]["count"] == 3
    assert told["answer"]["request_id"]


def test_user_properties_say_what_is_known_of_a_photo(service: CountingService, robot: Robot) -> None:
    told = robot.ask(PHOTO, told={"idempotency_key": "scan-1", "counts": "1-2", "traceparent": "00-somebody-elses"})
    assert told["id"] == "scan-1"
    assert set(told["answer"]["probabilities"]) == {"1", "2"}


def test_json_is_counted(service: CountingService, robot: Robot) -> None:
    told = robot.ask(as_json(id="scan-2", bin_image_id="00017"))
    assert told["id"] == "scan-2"
    assert (told["answer"]["count"], told["answer"]["bin_image_id"]) == (3, "00017")


@pytest.mark.parametrize(
    ("payload", "properties", "code"),
    [
        (b"", {}, "bad_photo"),
        (b"not a photo", {}, "bad_photo"),
        (PHOTO[:200], {}, "bad_photo"),
        (b"{", {}, "invalid_request"),
        (b'{"id": "x"}', {}, "invalid_request"),
        (b'{"id": "x", "image": "AAAA", "colour": "red"}', {}, "invalid_request"),
        (b'{"url": "http://127.0.0.1/photo.jpg"}', {}, "url_not_allowed"),
        (PHOTO, {"recorded_count": "many"}, "invalid_request"),
        (PHOTO, {"id": "x", "recorded_count": "many"}, "invalid_request"),
        (PHOTO, {"counts": "7-9"}, "invalid_request"),
        (PHOTO, {"id": ""}, "invalid_idempotency_key"),
        (PHOTO + bytes(2**20), {}, "photo_too_large"),
    ],
)
def test_what_can_not_be_counted_is_answered_with_the_reason(
    service: CountingService, robot: Robot, payload: bytes, properties: dict[str, str], code: str
) -> None:
    told = robot.ask(payload, told=properties)
    assert told["error"]["code"] == code, told
    has_id = payload.startswith(b'{"id": "x"') or properties.get("id")
    assert told["id"] == ("x" if has_id else hashlib.sha256(payload).hexdigest()), "the robot knows which it was"
    assert robot.ask(PHOTO)["answer"]["count"] == 3  # and the door is open still


def test_what_is_said_twice_of_a_photo_is_refused() -> None:
    """The last one counted, silently: HTTP refuses it, too."""
    twice = (("recorded_count", "3"), ("traceparent", "00"), ("traceparent", "01"), ("recorded_count", "5"))
    arrived = Arrived(topic="bintally/photos/robot-7", payload=PHOTO, digest="", properties=twice)
    with pytest.raises(RequestError, match="say recorded_count more than once"):
        question(arrived)


def test_the_same_id_is_answered_alike_and_another_photo_with_it_is_refused(
    service: CountingService, robot: Robot
) -> None:
    first = robot.ask(PHOTO, told={"id": "scan-3"})
    again = robot.ask(PHOTO, told={"id": "scan-3"})
    other = robot.ask(bin_photo(5), told={"id": "scan-3"})
    assert again["answer"]["request_id"] == first["answer"]["request_id"]
    assert other["error"]["code"] == "idempotency_key_reused"


def test_a_photo_of_qos_0_is_counted_too(service: CountingService, robot: Robot) -> None:
    assert robot.ask(PHOTO, qos=0)["answer"]["count"] == 3


def test_a_retained_photo_is_counted_once_and_not_after_each_restart(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    with serving(counter, tmp_path / "state", broker.url):
        robot.wait_for_service()
        robot.ask(PHOTO, told={"id": "left behind"}, retain=True)
    wait_until(lambda: [each["status"] for each in robot.statuses.values()] == ["offline"], "for its goodbye")
    with serving(counter, tmp_path / "state", broker.url):
        robot.wait_for_service()
        assert robot.ask(PHOTO, told={"id": "fresh"})["id"] == "fresh"
    assert len(robot.answers["left behind"]) == 1


def test_the_status_is_retained_and_told_by_the_broker_after_a_crash(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    with serving(counter, tmp_path / "state", broker.url):
        robot.wait_for_service()
        [status] = robot.statuses.values()
        assert status["model"] == "tiny"
        with robot_of(broker, "latecomer") as latecomer:
            latecomer.wait_for_service()
    wait_until(lambda: [each["status"] for each in robot.statuses.values()] == ["offline"], "for its goodbye")


def test_two_services_share_the_photos_and_each_is_counted_once(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    watched: dict[str, list[str]] = {"a": [], "b": []}
    with serving(counter, tmp_path / "a", broker.url) as one, serving(counter, tmp_path / "b", broker.url) as other:
        robot.wait_for_service(2)
        for name, service in (("a", one), ("b", other)):
            _watch(service, watched[name])
        for number in range(20):
            robot.publish(PHOTO, told={"id": f"scan-{number}"})
        wait_until(lambda: len(robot.answers) == 20, "for 20 answers")
    assert all(len(answers) == 1 for answers in robot.answers.values())
    assert sorted(watched["a"] + watched["b"]) == sorted(f"scan-{number}" for number in range(20))
    assert watched["a"]
    assert watched["b"]


def test_a_process_that_does_not_come_back_leaves_its_photos_to_the_others(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inheritance.inherit, "__kwdefaults__", {"every_s": 0.1})
    monkeypatch.setattr(inheritance, "QUIET_S", 0.3)
    gone = tmp_path / "state" / "mqtt"
    with serving(counter, tmp_path / "state", broker.url):
        robot.wait_for_service()
        with own_slot(gone) as slot:
            _subscribe_and_leave(broker, slot.name)
            for number in range(10):  # half of them are the other's
                robot.publish(PHOTO, told={"id": f"scan-{number}"})
            wait_until(lambda: len(robot.answers) >= 5, "for our half")
            assert len(robot.answers) < 10
        wait_until(lambda: len(robot.answers) == 10, "for the other half")
        wait_until(lambda: [path.name for path in gone.glob("*.lock")] == ["0.lock"], "for the end of its name")
        for number in range(10, 16):
            assert robot.ask(PHOTO, told={"id": f"scan-{number}"})["answer"]["count"] == 3
    assert all(len(answers) == 1 for answers in robot.answers.values())


def _subscribe_and_leave(broker: Mosquitto, name: str) -> None:
    """What a process of ours does that is killed before it has counted anything."""
    is_subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv5, manual_ack=True)
    client.on_connect = lambda *_: client.subscribe("$share/bintally/bintally/photos/+", qos=1) and None
    client.on_subscribe = lambda *_: is_subscribed.set()
    lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    lasting.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", broker.port, clean_start=False, properties=lasting)
    client.loop_start()
    assert is_subscribed.wait(20)
    client.disconnect()
    client.loop_stop()


def test_the_service_starts_while_the_broker_is_away_and_works_once_it_is_there(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    broker.stop()
    with serving(counter, tmp_path / "state", broker.url) as service:
        wait_until(lambda: "Connection refused" in service.failures["mqtt"], "for health to say so")
        assert f"127.0.0.1:{broker.port}" in service.failures["mqtt"]
        broker.start()
        robot.wait_for_service()
        assert robot.ask(PHOTO)["answer"]["count"] == 3
        assert "mqtt" not in service.failures
        broker.stop()
        wait_until(lambda: "mqtt" in service.failures, "for health to say so")


def test_answers_that_are_made_while_the_broker_is_away_are_published_after(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    with serving(counter, tmp_path / "state", broker.url) as service:
        robot.wait_for_service()
        count = service.count

        async def slow(asked: Asked) -> CountAnswer:
            begun.set()
            await asyncio.to_thread(go_on.wait, 30)
            return await count(asked)

        service.count = slow  # type: ignore[method-assign]
        robot.publish(PHOTO, told={"id": "scan-4"})
        assert begun.wait(20)
        broker.stop()
        wait_until(lambda: "mqtt" in service.failures, "for the outage")
        go_on.set()
        broker.start()
        wait_until(lambda: "scan-4" in robot.answers, "for the answer")
        assert robot.answers["scan-4"][0]["answer"]["count"] == 3
        service.count = count  # type: ignore[method-assign]
        assert robot.ask(PHOTO, told={"id": "scan-5"})["answer"]["count"] == 3  # all of them are acknowledged


def test_a_service_that_is_busy_with_others_counts_the_photo_later(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    with serving(counter, tmp_path / "state", broker.url, max_waiting=2) as service:
        robot.wait_for_service()
        service.enter(1)
        service.enter(1)
        robot.publish(PHOTO, told={"id": "scan-6"})
        with pytest.raises(queue.Empty):
            robot.heard.get(timeout=0.5)
        service.leave(1)
        assert robot.next()[1]["answer"]["count"] == 3


def test_a_broker_that_refuses_us_is_told_by_health_without_the_password(
    counter: Counter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "users").write_text("")
    broker = Mosquitto(folder, "allow_anonymous false", f"password_file {folder}/users")
    broker.start()
    url = broker.url.replace("//", "//someone:hunter2@")
    try:
        with serving(counter, tmp_path / "state", url) as service:
            wait_until(lambda: "refuses us" in service.failures["mqtt"], "for the refusal")
            assert "Not authorized" in service.failures["mqtt"]
            assert "hunter2" not in service.failures["mqtt"] + caplog.text
    finally:
        broker.stop()


def test_without_a_place_for_its_name_the_service_goes_on_without_mqtt(
    counter: Counter, tmp_path: Path, broker: Mosquitto
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "mqtt").write_text("a file where a folder should be")
    with serving(counter, tmp_path / "state", broker.url) as service:
        assert "can't be written" in service.failures["mqtt"]


def _watch(service: CountingService, ids: list[str]) -> None:
    count = service.count

    async def watched(asked: Asked) -> CountAnswer:
        ids.append(asked.idempotency_key or "")
        return await count(asked)

    service.count = watched  # type: ignore[method-assign]


def test_a_bin_is_followed(counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot) -> None:
    ledger = stock(str(tmp_path / "ledger.sqlite"))
    with serving(counter, tmp_path / "state", broker.url, ledger=ledger):
        robot.wait_for_service()
        known: dict[str, Any] = {"id": "scan-8", "bin_id": "A", "captured_at": "2026-01-31T12:00:00Z"}
        first = robot.ask(PHOTO, told=known)
        again = robot.ask(as_json(**known))
        unknown = robot.ask(PHOTO, told={"bin_id": "Z"})
    assert first["answer"]["bin"]["bin_id"] == "A"
    assert first["answer"]["bin"]["photos"] == 1
    assert again["answer"] == first["answer"]  # the same question, whichever way it came
    assert unknown["error"]["code"] == "unknown_bin"


def test_a_photo_that_nobody_waits_for_any_more_is_not_answered(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    with serving(counter, tmp_path / "state", broker.url, max_waiting=1) as service:
        robot.wait_for_service()
        service.enter(1)
        robot.publish(PHOTO, told={"id": "late"}, expires_s=1)
        with pytest.raises(queue.Empty):
            robot.heard.get(timeout=2.5)
        service.leave(1)
        assert robot.ask(PHOTO, told={"id": "fresh"})["id"] == "fresh"
    assert "late" not in robot.answers


def test_photos_that_are_under_way_are_answered_before_the_service_stops(
    counter: Counter, tmp_path: Path, broker: Mosquitto, robot: Robot
) -> None:
    with serving(counter, tmp_path / "state", broker.url) as service:
        robot.wait_for_service()
        begun, count = threading.Event(), service.count

        async def slow(asked: Asked) -> CountAnswer:
            begun.set()
            await asyncio.sleep(0.5)
            return await count(asked)

        service.count = slow  # type: ignore[method-assign]
        robot.publish(PHOTO, told={"id": "scan-9"})
        assert begun.wait(20)
    assert robot.next()[1]["answer"]["count"] == 3


def test_what_the_service_stumbles_over_is_answered_without_its_insides(
    service: CountingService, robot: Robot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Asked) -> CountAnswer:
        raise ZeroDivisionError("a secret of the house")

    monkeypatch.setattr(service, "count", broken)
    told = robot.ask(PHOTO)
    assert told["error"]["code"] == "internal"
    assert "secret" not in json.dumps(told)
    assert "a secret of the house" in caplog.text
