import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bintally.errors import RequestError
from bintally.serving.fetching.fetcher import AT_ONCE, MAX_REDIRECTS, HostFetcher
from bintally.serving.fetching.network import RealNetwork
from tests.serving.fetching.internet import PHOTO, Internet, camera, listening

HOST = "http://camera.example"


def fetch(
    url: str, *, hosts: tuple[str, ...] = ("camera.example",), limit_s: float = 5, deadline_s: float | None = None
) -> bytes:
    async def fetched() -> bytes:
        async with listening(camera) as port:
            fetcher = HostFetcher(hosts, limit_s=limit_s, network=Internet(camera=port, forbidden=port))
            deadline = None if deadline_s is None else time.monotonic() + deadline_s
            return await fetcher.fetch(url, max_bytes=2000, deadline=deadline)

    return asyncio.run(fetched())


def refused(url: str, says: str, *, limit_s: float = 5, deadline_s: float | None = None) -> int:
    with pytest.raises(RequestError, match=says) as refusal:
        fetch(url, limit_s=limit_s, deadline_s=deadline_s)
    return refusal.value.status


@pytest.mark.parametrize("path", ["/photo.jpg", "/photo.jpg?at=1", "/moved", "/chunked", "/hinted"])
def test_a_photo_is_fetched_however_it_is_sent(path: str) -> None:
    assert fetch(f"{HOST}{path}") == PHOTO


@pytest.mark.parametrize("host", ["camera.example:80", "camera.example:*", "CAMERA.example"])
def test_a_host_may_be_named_in_several_ways(host: str) -> None:
    assert fetch(f"{HOST}/photo.jpg", hosts=(host,)) == PHOTO


def test_redirects_end() -> None:
    assert refused(f"{HOST}/round", f"more than {MAX_REDIRECTS} times") == 400


@pytest.mark.parametrize("path", ["/large", "/said-large", "/unending", "/unending-chunks", "/unending-100s"])
def test_what_is_too_large_is_given_up(path: str) -> None:
    assert refused(f"{HOST}{path}", "MB") == 413


def test_headers_that_do_not_end_are_given_up() -> None:
    assert refused(f"{HOST}/unending-headers", "can't be read") == 400


@pytest.mark.parametrize("path", ["/dripping", "/dripping-headers", "/silent"])
def test_a_server_that_drips_is_left_in_time(path: str) -> None:
    started = time.monotonic()
    assert refused(f"{HOST}{path}", "too long", limit_s=0.3) == 400
    assert refused(f"{HOST}{path}", "too long", deadline_s=0.3) == 400
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/gone", "404"),
        ("/nowhere", "302"),
        ("/gzip", "packed"),
        ("/cut", "can't be read"),
        ("/two-lengths", "can't be read"),
        ("/nothing", "can't be read"),
        ("/no-http", "can't be read"),
    ],
)
def test_a_photo_that_is_not_to_be_had_says_why(path: str, says: str) -> None:
    assert refused(f"{HOST}{path}", says) == 400


def test_a_port_that_nobody_listens_on_and_a_name_that_does_not_exist() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    class NoNames(RealNetwork):
        async def resolve(self, host: str) -> tuple[()]:
            raise socket.gaierror(-2, "Name or service not known")

    async def fetched(url: str) -> bytes:
        fetcher = HostFetcher(["127.0.0.1:*", "no.example"], allow_private=True, network=NoNames())
        return await fetcher.fetch(url, max_bytes=2000, deadline=None)

    with pytest.raises(RequestError, match="can't be fetched"):
        asyncio.run(fetched(f"http://127.0.0.1:{port}/"))
    with pytest.raises(RequestError, match="Name or service not known"):
        asyncio.run(fetched("http://no.example/"))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_real_network_fetches_from_this_machine_if_that_is_allowed(name: str) -> None:
    async def fetched() -> bytes:
        async with listening(camera) as port:
            fetcher = HostFetcher([f"{name}:{port}"], allow_private=True)
            return await fetcher.fetch(f"http://{name}:{port}/photo.jpg", max_bytes=2000, deadline=None)

    assert asyncio.run(fetched()) == PHOTO


def test_the_real_network_resolves_localhost_to_this_machine_which_is_refused_unless_allowed() -> None:
    async def fetched() -> bytes:
        async with listening(camera) as port:
            return await HostFetcher([f"localhost:{port}"]).fetch(
                f"http://localhost:{port}/photo.jpg", max_bytes=2000, deadline=None
            )

    with pytest.raises(RequestError) as refusal:
        asyncio.run(fetched())
    assert (refusal.value.status, refusal.value.code) == (403, "url_not_allowed")


def test_another_address_of_the_host_is_tried_if_the_first_does_not_answer() -> None:
    async def fetched() -> tuple[bytes, int]:
        async with listening(camera) as port:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                closed = taken.getsockname()[1]
            internet = Internet(camera=port, forbidden=closed)
            internet.names["camera.example"] = [["8.8.4.4", "9.9.9.9"]]
            fetcher = HostFetcher(["camera.example"], network=internet)
            return await fetcher.fetch(f"{HOST}/photo.jpg", max_bytes=2000, deadline=None), len(internet.connections)

    assert asyncio.run(fetched()) == (PHOTO, 2)


def test_more_fetches_than_may_run_at_once_all_end() -> None:
    async def fetched() -> list[bytes]:
        async with listening(camera) as port:
            fetcher = HostFetcher(["camera.example"], network=Internet(camera=port, forbidden=port))
            urls = [f"{HOST}/photo.jpg"] * (3 * AT_ONCE)
            return await asyncio.gather(*(fetcher.fetch(url, max_bytes=2000, deadline=None) for url in urls))

    assert asyncio.run(fetched()) == [PHOTO] * (3 * AT_ONCE)


def test_a_camera_that_does_not_answer_takes_only_so_many_places() -> None:
    """Six photos a second of one took all places of the service, and no other photo was counted."""

    async def fetched() -> list[bytes | BaseException]:
        async with listening(camera) as port:
            internet = Internet(camera=port, forbidden=port)
            fetcher = HostFetcher(["camera.example"], most=3, limit_s=0.5, network=internet)
            urls = [f"{HOST}/silent"] * 5
            tasks = (fetcher.fetch(url, max_bytes=2000, deadline=None) for url in urls)
            return await asyncio.gather(*tasks, return_exceptions=True)

    refusals = asyncio.run(fetched())
    statuses = [refusal.status for refusal in refusals if isinstance(refusal, RequestError)]
    assert sorted(statuses) == [400, 400, 400, 503, 503]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trustme.CA]:
    """A certificate authority that this process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    yield authority


@pytest.mark.parametrize(
    ("certified", "path", "says"),
    [
        ("camera.example", "/photo.jpg", ""),
        ("other.example", "/photo.jpg", "not valid"),
        ("9.9.9.9", "/photo.jpg", "not valid"),
        ("camera.example", "/to/http:%2f%2fcamera.example%2fphoto.jpg", "from https to http"),
    ],
)
def test_a_certificate_is_that_of_the_name_though_the_connection_is_to_an_address(
    authority: trustme.CA, certified: str, path: str, says: str
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certified).configure_cert(tls)

    async def fetched() -> bytes:
        async with listening(camera, tls) as port:
            fetcher = HostFetcher(["camera.example"], network=Internet(camera=port, forbidden=port))
            return await fetcher.fetch(f"https://camera.example{path}", max_bytes=2000, deadline=None)

    if not says:
        assert asyncio.run(fetched()) == PHOTO
        return
    with pytest.raises(RequestError, match=says):
        asyncio.run(fetched())


def test_a_certificate_of_an_authority_nobody_trusts_is_refused() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("camera.example").configure_cert(tls)

    async def fetched() -> bytes:
        async with listening(camera, tls) as port:
            fetcher = HostFetcher(["camera.example"], network=Internet(camera=port, forbidden=port))
            return await fetcher.fetch("https://camera.example/photo.jpg", max_bytes=2000, deadline=None)

    with pytest.raises(RequestError, match="not valid"):
        asyncio.run(fetched())
