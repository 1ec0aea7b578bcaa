"""What is under way is bounded, whichever way it came."""

import asyncio
from pathlib import Path

from bintally.counting.counter import Counter
from bintally.errors import RequestError
from bintally.records import CountEstimate
from bintally.serving.asked import Asked
from tests.bundles import bin_photo
from tests.serving.fetching.internet import listening
from tests.serving.services import service_of

PHOTO = bin_photo(3, image_format="JPEG") + bytes(600_000)


def test_a_photo_that_was_fetched_takes_room_until_it_is_answered(counter: Counter, tmp_path: Path) -> None:
    """Once photos by URL filled any memory: 64 under way of 20 MB each, whatever max_waiting_mb said."""
    service = service_of(
        counter, state=tmp_path, allow_url=("127.0.0.1:*",), allow_private_url=True, max_waiting_mb=1, max_photo_mb=1
    )
    begun, may = asyncio.Event(), asyncio.Event()

    count = service.models.default.count

    async def held(asked: Asked, photo: bytes) -> CountEstimate:
        begun.set()
        await may.wait()
        return await count(asked, photo)

    async def camera(target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO)

    async def refused(asked: Asked) -> None:
        try:
            await service.count(asked)
        except RequestError as error:
            assert (error.status, error.code) == (503, "overloaded")
        else:
            raise AssertionError("there was no room for it")

    async def ask() -> None:
        service.models.default.count = held  # type: ignore[method-assign]
        async with listening(camera) as port:
            fetched = Asked(url=f"http://127.0.0.1:{port}/3.jpg")
            first = asyncio.create_task(service.count(fetched))
            await asyncio.wait([first, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
            await refused(fetched)
            await refused(Asked(photo=PHOTO))
            may.set()
            assert (await first).count == 3
            assert (await service.count(fetched)).count == 3
        await service.models.close()

    asyncio.run(ask())
