"""Where a robot wants its answer."""

from pathlib import Path

import pytest

from bintally.counting.counter import Counter
from bintally.serving.service import CountingService
from tests.bundles import bin_photo
from tests.serving.mqtt.brokers import Mosquitto, Robot, robot_of, wait_until
from tests.serving.mqtt.doors import serving

PHOTO = bin_photo(3, image_format="JPEG")


def test_the_answer_goes_where_the_robot_wants_it_with_its_correlation_data(
    service: CountingService, robot: Robot
) -> None:
    robot.publish(PHOTO, response_topic="elsewhere/7/counted", correlation=b"\x00\xff17")
    message, told = robot.next()
    assert message.topic == "elsewhere/7/counted"
    assert getattr(message.properties, "CorrelationData") == b"\x00\xff17"  # noqa: B009 - paho makes it at run time
    assert getattr(message.properties, "ContentType") == "application/json"  # noqa: B009
    assert told["answer"]["count"] == 3


@pytest.mark.parametrize("topic", ["bintally/photos/robot-7", "bintally/status/x"])
def test_no_answer_is_published_where_it_would_be_a_photo_or_a_status(
    service: CountingService, robot: Robot, topic: str
) -> None:
    told = robot.ask(PHOTO, response_topic=topic)
    assert told["error"]["code"] == "invalid_request"
    assert topic in told["error"]["message"]


def test_an_answer_that_the_broker_does_not_let_us_publish_is_logged_and_the_photo_not_asked_for_again(
    counter: Counter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "guarded"
    folder.mkdir()
    rules = ["topic readwrite bintally/#", "topic read elsewhere/#"]
    (folder / "rules").write_text("\n".join(rules))
    broker = Mosquitto(folder, "allow_anonymous true", f"acl_file {folder}/rules")
    broker.start()
    try:
        with robot_of(broker) as robot, serving(counter, tmp_path / "state", broker.url):
            robot.wait_for_service()
            robot.publish(PHOTO, response_topic="elsewhere/forbidden")
            wait_until(lambda: "was lost" in caplog.text, "for the log")
            assert robot.ask(PHOTO, told={"id": "scan-10"})["id"] == "scan-10"
    finally:
        broker.stop()
