import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bintally.counting.counter import Counter
from bintally.errors import ConfigError
from bintally.monitoring.capture_reader import read_captures
from bintally.serving.asked import Asked
from bintally.serving.capturing import SampledCapture, attributes_of, is_drawn
from bintally.serving.idempotency.question import question_of
from bintally.serving.settings import ServeConfig
from tests.bundles import bin_photo
from tests.serving.services import client_of, service_of

PHOTO = bin_photo(3, image_format="JPEG")


def test_what_http_answers_is_what_is_captured(counter: Counter, tmp_path: Path) -> None:
    with client_of(counter, state=tmp_path, capture=100, endpoint="bins", variant="blue") as client:
        headers = {"content-type": "image/jpeg", "Idempotency-Key": "k1"}
        answers = [client.post("/invocations", content=PHOTO, headers=headers) for _ in range(2)]
        plain = client.post("/invocations", content=bin_photo(1), headers={"content-type": "image/png"})
    first, second = read_captures(tmp_path / "capture/bins/blue")
    assert (first.photo, first.content_type, first.answer) == (PHOTO, "image/jpeg", answers[0].text)
    assert (second.photo, second.content_type, second.answer) == (bin_photo(1), "image/png", plain.text)


def test_a_photo_in_json_is_captured_as_the_photo_it_is(counter: Counter, tmp_path: Path) -> None:
    service = service_of(counter, state=tmp_path, capture=100)
    taken = datetime(2026, 3, 2, tzinfo=UTC)
    asked = Asked(
        photo=PHOTO, bin_image_id="7", captured_at=taken, content_type="application/json", inference_id="mine",
        custom_attributes="robot=7",
    )  # fmt: skip

    async def ask() -> str:
        answer = await service.count(asked)
        for part in (service.parts.answered, service.parts.capture):
            assert part is not None
            await part.close()
        await service.models.close()
        return answer.to_json()

    told = asyncio.run(ask())
    [event] = read_captures(tmp_path)
    assert (event.photo, event.content_type, event.answer, event.inference_id) == (PHOTO, "image/jpeg", told, "mine")
    assert event.attributes[0] == "robot=7"
    assert json.loads(event.attributes[1]) == {"bin_image_id": "7", "captured_at": "2026-03-02T00:00:00Z"}


def test_a_question_s_photo_is_hashed_once(counter: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counting(asked: Asked) -> bytes:
        hashed.append(asked.request_id)
        return question_of(asked)

    monkeypatch.setattr("bintally.serving.idempotency.question.question_of", counting)
    with client_of(counter, state=tmp_path, capture=100) as client:
        client.post("/invocations", content=PHOTO, headers={"content-type": "image/jpeg", "Idempotency-Key": "k1"})
    assert len(hashed) == 1
    [event] = read_captures(tmp_path)
    assert event.photo == PHOTO


def test_a_share_is_drawn_and_a_question_that_is_asked_again_is_drawn_again() -> None:
    asking = [Asked(photo=b"", request_id=str(number)) for number in range(4000)]
    assert 0.17 < sum(is_drawn(each, 20) for each in asking) / 4000 < 0.23
    assert all(is_drawn(each, 100) for each in asking)
    keyed = [Asked(photo=b"", idempotency_key=str(number)) for number in range(200)]
    quoted = [Asked(photo=b"", idempotency_key=f'"{number}"') for number in range(200)]
    assert [is_drawn(each, 20) for each in keyed] == [is_drawn(each, 20) for each in quoted]


def test_nothing_is_captured_where_nothing_was_asked_for(counter: Counter, tmp_path: Path) -> None:
    assert SampledCapture.of(ServeConfig.of({"state": tmp_path})) is None
    with client_of(counter, state=tmp_path) as client:
        client.post("/invocations", content=PHOTO, headers={"content-type": "image/jpeg"})
    assert not (tmp_path / "capture").exists()


def test_a_url_is_captured_without_its_secrets() -> None:
    [told] = attributes_of(Asked(url="https://rita:secret@camera.example/3.jpg?X-Amz-Signature=secret"))
    assert "secret" not in told
    assert "camera.example" in told


@pytest.mark.parametrize("name", ["..", "a/b", "", "a b"])
def test_an_endpoint_has_a_name_that_a_folder_may_have(name: str) -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        ServeConfig.of({"endpoint": name})
