import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bintally.counting.counter import Counter
from bintally.errors import PhotoError, RequestError, StorageError
from bintally.inventory.verdict import Verdict
from bintally.serving.answer import CountAnswer
from bintally.serving.asked import Asked
from bintally.serving.idempotency.answers import FILE, AnswersFile, Claim, Keep, Name, Release
from bintally.serving.idempotency.once import KeptAnswers
from bintally.serving.idempotency.question import event_id_of, key_of, question_of
from tests.bundles import bin_photo
from tests.serving.services import client_of

PHOTO = bin_photo(3, image_format="JPEG")
JPEG = {"content-type": "image/jpeg"}


def asked(key: str = "k1", photo: bytes = PHOTO, **more: Any) -> Asked:
    return Asked(photo=photo, idempotency_key=key, **more)


def soon() -> Asked:
    """One whose answer is wanted soon."""
    return asked(deadline=time.monotonic() + 0.05)


class Answering:
    """Answers with a new request id each time, after `wait_s`, and once it `may`, where it is told to wait for that."""

    def __init__(self, wait_s: float = 0.0, error: Exception | None = None, *, held: bool = False) -> None:
        self.times, self._wait_s, self._error = 0, wait_s, error
        self.begun, self.may = asyncio.Event(), asyncio.Event()
        if not held:
            self.may.set()

    async def __call__(self) -> CountAnswer:
        self.times += 1
        self.begun.set()
        await self.may.wait()
        await asyncio.sleep(self._wait_s)
        if self._error is not None:
            raise self._error
        return CountAnswer(count=3, expected_count=3 + 1 / 3, probabilities={"3": 1 / 3}, request_id=str(self.times))


@asynccontextmanager
async def kept_in(folder: Path, **more: Any) -> AsyncIterator[KeptAnswers]:
    answers = KeptAnswers(folder, **{"keep_s": 3600.0, "lease_s": 60.0, **more})
    try:
        yield answers
    finally:
        await answers.close()


def trying(folder: Path, what: Callable[[KeptAnswers], Awaitable[None]], **more: Any) -> None:
    async def run() -> None:
        async with kept_in(folder, **more) as answers:
            await what(answers)

    asyncio.run(run())


async def refused(asking: Awaitable[object]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await asking
    return caught.value


def test_the_same_question_with_the_same_key_is_answered_once_to_the_byte(tmp_path: Path) -> None:
    answer = Answering()

    async def ask(answers: KeptAnswers) -> None:
        first = await answers.once(asked(), answer)
        again = await answers.once(asked(request_id="another", deadline=time.monotonic() + 5), answer)
        assert again.to_json() == first.to_json()
        assert (first.replayed, again.replayed, answer.times) == (False, True, 1)
        assert "replayed" not in again.to_plain()

    trying(tmp_path, ask)
    trying(tmp_path, lambda answers: _same(answers, answer))  # and after a restart


async def _same(answers: KeptAnswers, answer: Answering) -> None:
    assert (await answers.once(asked(), answer)).request_id == "1"


def test_an_answer_with_everything_in_it_comes_back_as_it_was(tmp_path: Path) -> None:
    verdict = Verdict(
        outcome="match", recorded_count=3, count=3, right=0.123456789, prior_right=None, score=1.5, threshold=None,
        promised=0.01, kind="photo", reasons=("because",),
    )  # fmt: skip
    whole = CountAnswer(count=3, request_id="r", verdict=verdict, degraded=("not captured: no",))

    async def answer() -> CountAnswer:
        return whole

    async def ask(answers: KeptAnswers) -> None:
        await answers.once(asked(), answer)
        assert await answers.once(asked(), answer) == msgspec.structs.replace(whole, replayed=True)

    trying(tmp_path, ask)


def test_another_question_with_the_same_key_is_refused(tmp_path: Path) -> None:
    others: list[dict[str, Any]] = [
        {"photo": bin_photo(4)}, {"counts": "1-5"}, {"bin_image_id": "x"}, {"bin_id": "A"}, {"site": "S"},
        {"recorded_count": 3}, {"captured_at": datetime(2026, 1, 1, tzinfo=UTC)}, {"model": "m"},
        {"photo": None, "url": "https://camera.example/3.jpg"},
    ]  # fmt: skip

    async def ask(answers: KeptAnswers) -> None:
        await answers.once(asked(), Answering())
        for other in others:
            error = await refused(answers.once(msgspec.structs.replace(asked(), **other), Answering()))
            assert (error.status, error.code) == (422, "idempotency_key_reused"), other

    trying(tmp_path, ask)


def test_each_client_has_keys_of_its_own(tmp_path: Path) -> None:
    async def ask(answers: KeptAnswers) -> None:
        await answers.once(asked(client="a"), Answering())
        assert not (await answers.once(asked(client="b", photo=b"other"), Answering())).replayed

    trying(tmp_path, ask)


@pytest.mark.parametrize("error", [PhotoError("no photo"), RequestError("no", status=503, code="overloaded")])
def test_a_refusal_is_not_kept(tmp_path: Path, error: Exception) -> None:
    async def ask(answers: KeptAnswers) -> None:
        with pytest.raises(type(error)):
            await answers.once(asked(), Answering(error=error))
        assert (await answers.once(asked(photo=bin_photo(5)), Answering())).request_id == "1"

    trying(tmp_path, ask)


def test_who_asks_while_it_is_being_answered_waits_for_that_answer(tmp_path: Path) -> None:
    answer = Answering(wait_s=0.05)

    async def ask(answers: KeptAnswers) -> None:
        given = await asyncio.gather(*(answers.once(asked(), answer) for _ in range(5)))
        assert answer.times == 1
        assert sum(each.replayed for each in given) == 4
        assert len({each.to_json() for each in given}) == 1

    trying(tmp_path, ask)


def test_who_can_not_wait_for_it_is_told_to_come_back(tmp_path: Path) -> None:
    async def ask(answers: KeptAnswers) -> None:
        answer = Answering(held=True)
        first = asyncio.create_task(answers.once(asked(), answer))
        await answer.begun.wait()
        error = await refused(answers.once(soon(), Answering()))
        assert (error.status, error.code) == (409, "idempotency_key_in_use")
        assert error.retry_after_s is not None
        answer.may.set()
        assert (await first).request_id == "1"

    trying(tmp_path, ask)


def test_the_answer_of_one_who_gave_up_waiting_is_kept_or_can_be_given_anew(tmp_path: Path) -> None:
    async def ask(answers: KeptAnswers) -> None:
        for number in range(20):
            task = asyncio.create_task(answers.once(asked(f"k{number}"), Answering(wait_s=0.001)))
            await asyncio.sleep(number / 5000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await answers.once(asked(f"k{number}"), Answering())).count == 3

    trying(tmp_path, ask)


def test_two_processes_answer_one_question_once(tmp_path: Path) -> None:
    async def ask(answers: KeptAnswers) -> None:
        async with kept_in(tmp_path) as elsewhere:
            answer = Answering(held=True)
            first = asyncio.create_task(elsewhere.once(asked(), answer))
            await answer.begun.wait()
            assert (await refused(answers.once(soon(), Answering()))).status == 409
            assert (await refused(answers.once(asked(photo=b"other"), Answering()))).status == 422
            second = asyncio.create_task(answers.once(asked(), Answering()))
            await asyncio.wait([second], timeout=0.2)
            assert not second.done()
            answer.may.set()
            assert (await second).replayed
            assert (await second).to_json() == (await first).to_json()

    trying(tmp_path, ask)


DYING = """
import sys, time
from pathlib import Path
from bintally.serving.idempotency.answers import *
from bintally.serving.idempotency.question import question_of
from tests.serving.test_idempotency import asked
answers = AnswersFile(Path(sys.argv[1]), keep_s=3600, lease_s=3600)
print(answers.submit(Claim(Name("", "k1"), question_of(asked()))).result(30), flush=True)
time.sleep(60)
"""


def test_a_question_whose_process_was_killed_is_answered_at_once(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", DYING, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "ours\n"

        async def while_it_lives(answers: KeptAnswers) -> None:
            assert (await refused(answers.once(soon(), Answering()))).status == 409

        trying(tmp_path, while_it_lives)
        child.send_signal(signal.SIGKILL)
        child.wait(10)

    async def after(answers: KeptAnswers) -> None:
        assert (await answers.once(asked(), Answering())).request_id == "1"

    trying(tmp_path, after)
    assert [path.name for path in tmp_path.glob("*.owner")] == []  # the dead are forgotten


def test_answers_go_after_their_time_and_a_key_may_then_ask_something_else(tmp_path: Path) -> None:
    now = [1e9]
    file = AnswersFile(tmp_path, keep_s=100, lease_s=10, clock=lambda: now[0])

    def say(step: Claim | Keep | Release) -> object:
        return file.submit(step).result(10)

    one, other = b"one", b"other"
    assert say(Claim(Name("", "k"), one)) == "ours"
    say(Keep(Name("", "k"), one, b"answer"))
    now[0] += 99
    assert say(Claim(Name("", "k"), one)) == b"answer"
    assert say(Claim(Name("", "k"), other)) == "another_question"
    now[0] += 2
    assert say(Claim(Name("", "k"), other)) == "ours"
    now[0] -= 1e8  # a clock that is set back keeps no answer for ever
    assert say(Claim(Name("", "k"), one)) == "ours"
    file.close()


def test_an_answer_that_can_not_be_read_any_more_is_given_anew_once(tmp_path: Path) -> None:
    """Another version of bintally wrote it. Once each repeat was counted again."""
    file = AnswersFile(tmp_path, keep_s=3600, lease_s=60)
    file.submit(Keep(Name("", "k1"), question_of(asked()), b"an answer of long ago")).result(10)
    file.close()
    answer = Answering()

    async def ask(answers: KeptAnswers) -> None:
        given = [await answers.once(asked(), answer) for _ in range(3)]
        assert [each.replayed for each in given] == [False, True, True]

    trying(tmp_path, ask)
    assert answer.times == 1


def test_old_answers_are_removed_from_the_file(tmp_path: Path) -> None:
    for at in (0.0, 1e6, 1e6 + 50):
        file = AnswersFile(tmp_path, keep_s=100, lease_s=10, clock=lambda at=at: at)  # type: ignore[misc]
        file.submit(Keep(Name("", f"k{at}"), b"", b"answer")).result(10)
        file.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        assert [row[0] for row in database.execute("SELECT key FROM answers")] == ["k1000000.0", "k1000050.0"]
    database.close()


@pytest.mark.parametrize("damage", [b"this is no database" * 1000, None])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: bytes | None) -> None:
    trying(tmp_path, lambda answers: _same(answers, Answering()))
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes(damage or whole[:100] + random.Random(0).randbytes(4096) + whole[4196:])

    async def ask(answers: KeptAnswers) -> None:
        assert not (await answers.once(asked("new"), Answering())).degraded
        assert (await answers.once(asked("new"), Answering())).replayed
        assert answers.failure is None

    trying(tmp_path, ask)
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*"))) == 1


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    async def ask(answers: KeptAnswers) -> None:
        async with kept_in(tmp_path / "kept") as elsewhere:
            for each in (answers, elsewhere):
                await each.once(asked(), Answering())
            (tmp_path / "kept").rename(tmp_path / "gone")
            assert not (await answers.once(asked(), Answering())).replayed
            assert (await elsewhere.once(asked(), Answering())).replayed
            assert (await answers.once(asked(), Answering())).replayed

    trying(tmp_path / "kept", ask)


def test_where_answers_can_not_be_kept_questions_are_answered_all_the_same(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.write_text("in the way")

    async def ask(answers: KeptAnswers) -> None:
        for number in (1, 2):
            answer = await answers.once(asked(), Answering())
            assert "not kept for its Idempotency-Key" in answer.degraded[0], number
        assert answers.failure is not None
        place.unlink()
        assert not (await answers.once(asked(), Answering())).degraded
        assert answers.failure is None

    trying(place, ask)


def test_a_file_that_is_locked_for_too_long_is_told_as_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bintally.serving.idempotency.answers._WAIT_S", 0.05)
    file = AnswersFile(tmp_path, keep_s=100, lease_s=10)
    file.submit(Claim(Name("", "k"), b"")).result(10)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        file.submit(Claim(Name("", "k2"), b"")).result(10)
    other.execute("ROLLBACK")
    other.close()
    assert file.submit(Claim(Name("", "k2"), b"")).result(10) == "ours"
    file.close()


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"abc"', "abc"),
        ("abc", "abc"),
        (r'"a\"b\\c"', r"""a"b\c"""),
        (" x ", "x"),
    ],
)
def test_a_key_stands_in_quotes_or_not(header: str, key: str) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize("header", ["", '""', "   ", "x" * 256, "schlüssel", "a\tb", "a\x00b"])
def test_what_can_be_no_key_is_refused(header: str) -> None:
    with pytest.raises(RequestError) as caught:
        key_of(header)
    assert caught.value.status == 400


def test_an_event_has_the_name_of_its_question_or_one_of_its_own() -> None:
    def name(question: Asked) -> str:
        return asyncio.run(event_id_of(question))

    assert name(asked(request_id="a")) == name(asked('"k1"', request_id="b"))
    others = {name(asked()), name(asked("k2")), name(asked(client="b")), name(asked(photo=b"other"))}
    assert len(others) == 4
    assert name(Asked(photo=PHOTO, request_id="a")) != name(Asked(photo=PHOTO, request_id="a"))
    assert question_of(asked()) == question_of(asked("k2", client="c", request_id="d", door="mqtt"))


def test_over_http_a_replay_is_the_same_body_and_says_so(counter: Counter, tmp_path: Path) -> None:
    with client_of(counter, state=tmp_path) as client:
        first = client.post("/invocations", content=PHOTO, headers={**JPEG, "Idempotency-Key": '"k1"'})
        again = client.post("/invocations", content=PHOTO, headers={**JPEG, "Idempotency-Key": '"k1"'})
        assert first.status_code == again.status_code == 200, first.text
        assert again.content == first.content
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        other = client.post(
            "/invocations", content=bin_photo(2), headers={"content-type": "image/png", "Idempotency-Key": "k1"}
        )
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
        bad = client.post("/invocations", content=PHOTO, headers={**JPEG, "Idempotency-Key": "x" * 300})
        assert bad.status_code == 400
        assert client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200  # no key, no matter
