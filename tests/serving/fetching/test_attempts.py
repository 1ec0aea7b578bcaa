import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from bintally.errors import RequestError
from bintally.serving.fetching.fetcher import HostFetcher
from tests.serving.fetching.internet import Forbidden, Internet, camera, listening

HOSTS = ("camera.example:*", "8.8.8.8", ".cameras.example")


class Attempt(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    urls: list[str]
    names: dict[str, list[list[str]]] = {}
    hosts: tuple[str, ...] = HOSTS
    private: bool = False
    statuses: tuple[int, ...] = (403,)


def attempts() -> list[Attempt]:
    text = (Path(__file__).parent / "attempts.toml").read_text()
    return msgspec.convert(tomllib.loads(text)["attempts"], list[Attempt])


def sent(url: str) -> str:
    """`{to:X}` as the camera's URL that leads to X."""
    return re.sub(r"\{to:(.*)\}", lambda found: f"http://camera.example/to/{quote(found[1], safe='')}", url)


def test_there_are_more_than_a_hundred_of_them_and_rebinding_is_among_them() -> None:
    assert sum(len(attempt.urls) for attempt in attempts()) > 200
    assert len({url for attempt in attempts() for url in attempt.urls}) > 200
    assert any(len(answers) > 1 for attempt in attempts() for answers in attempt.names.values())


@pytest.mark.parametrize("attempt", attempts(), ids=lambda attempt: attempt.name)
def test_no_attempt_reaches_a_server_that_it_must_not(attempt: Attempt) -> None:
    async def attack() -> None:
        forbidden = Forbidden()
        async with listening(camera) as camera_port, listening(forbidden) as forbidden_port:
            for url in attempt.urls:
                internet = Internet(camera=camera_port, forbidden=forbidden_port)
                internet.names |= attempt.names
                told = await refusal(internet, url)
                assert told.status in attempt.statuses, (url, told)
                assert forbidden.connections == 0, url
                assert {address for address, _ in internet.connections} <= {"9.9.9.9"}, url

    async def refusal(internet: Internet, url: str) -> RequestError:
        fetcher = HostFetcher(attempt.hosts, allow_private=attempt.private, network=internet)
        with pytest.raises(RequestError) as told:
            await fetcher.fetch(sent(url), max_bytes=2000, deadline=None)
            pytest.fail(f"{url!r} was fetched")
        return told.value

    asyncio.run(attack())


def test_the_forbidden_listener_is_really_reached_by_who_does_not_look() -> None:
    """So that the count of zero above means something."""

    async def attack() -> Any:
        forbidden = Forbidden()
        async with listening(camera) as camera_port, listening(forbidden) as forbidden_port:
            internet = Internet(camera=camera_port, forbidden=forbidden_port)
            internet.names["camera.example"] = [["127.0.0.1"]]
            fetcher = HostFetcher(HOSTS, allow_private=True, network=internet)
            await fetcher.fetch("http://camera.example/", max_bytes=2000, deadline=None)
            return forbidden.connections

    assert asyncio.run(attack()) == 1


def test_a_name_is_looked_up_once_so_a_second_answer_changes_nothing() -> None:
    """Rebinding between the look and the connection: the second lookup would find this machine."""

    async def fetch() -> tuple[int, list[str], list[tuple[str, int]]]:
        forbidden = Forbidden()
        async with listening(camera) as camera_port, listening(forbidden) as forbidden_port:
            internet = Internet(camera=camera_port, forbidden=forbidden_port)
            internet.names["camera.example"] = [["9.9.9.9"], ["127.0.0.1"]]
            fetcher = HostFetcher(HOSTS, network=internet)
            await fetcher.fetch("http://camera.example/photo.jpg", max_bytes=2000, deadline=None)
            return forbidden.connections, internet.lookups, internet.connections

    assert asyncio.run(fetch()) == (0, ["camera.example"], [("9.9.9.9", 80)])
