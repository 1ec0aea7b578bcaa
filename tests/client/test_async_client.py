import asyncio
from pathlib import Path

import pytest
from PIL import Image

from bintally.client.async_client import AsyncClient
from bintally.errors import RequestError, UsageError
from bintally.serving.answer import CountAnswer
from tests.bundles import bin_photo, bin_pixels
from tests.client.scripted import COUNTED, Said, overloaded, scripted

PHOTO = bin_photo(3, image_format="JPEG")


def test_counts_run_side_by_side(url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncClient(url) as client:
            answers = await asyncio.gather(*(client.count(bin_photo(number % 6)) for number in range(12)))
            assert [answer.count for answer in answers] == [number % 6 for number in range(12)]
            batch = await client.count_batch([bin_photo(1), b"no photo", Image.fromarray(bin_pixels(5))], counts="0-5")
            assert [each.count if isinstance(each, CountAnswer) else str(type(each)) for each in batch] == [
                1,
                str(RequestError),
                5,
            ]
            assert (await client.count(PHOTO, idempotency_key="a")).request_id == (
                await client.count(PHOTO, idempotency_key="a")
            ).request_id
            assert (await client.overlay(PHOTO)).startswith(b"\x89PNG")
            assert (await client.model()).name == "tiny"
            assert (await client.health()).status == "ok"
            with pytest.raises(RequestError, match="not fetched"):
                await client.count_url("http://127.0.0.1/photo.jpg")
            assert repr(client) == f"AsyncClient('{url}')"

    asyncio.run(run())


def test_what_may_pass_is_tried_again_and_the_rest_is_not() -> None:
    async def run() -> None:
        with scripted([overloaded(), Said(0), Said(200, COUNTED)]) as (url, got):
            async with AsyncClient(url) as client:
                assert (await client.count(PHOTO)).count == 3
                assert len({each["idempotency-key"] for each in got}) == 1
                assert len(got) == 3
            for closed in (client.count(PHOTO), client.health()):
                with pytest.raises(UsageError, match="closed"):
                    await closed
        async with AsyncClient(url, retries=0) as client:
            for ask in (client.model, client.health):
                with pytest.raises(RequestError, match="can't be reached"):
                    await ask()

    asyncio.run(run())


def test_an_answer_that_drips_is_given_up_in_time() -> None:
    async def run() -> None:
        with scripted([Said(200, COUNTED, drip_s=0.1)]) as (url, _):
            async with AsyncClient(url, timeout_s=0.3, retries=0) as client:
                with pytest.raises(RequestError, match=r"within 0\.3 seconds"):
                    await client.count(PHOTO)

    asyncio.run(run())


def test_a_count_can_be_cancelled() -> None:
    async def run() -> None:
        with scripted([overloaded("5")]) as (url, _):
            async with AsyncClient(url) as client:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.count(PHOTO), 0.3)

    asyncio.run(run())
