"""`POST /v1/overlay`: where the model looks, worked out on request and away from the hot path."""

from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.responses import Response

from bintally.counting.counter import Counter
from bintally.counting.decode import decode
from bintally.counting.overlay import LONGEST_PX, Overlay, look, painted
from bintally.errors import UsageError
from bintally.photos import open_image
from bintally.serving.asked import JSON_TYPE, Asked
from bintally.serving.http import openapi
from bintally.serving.http.body import PhotoRequest, media_type
from bintally.serving.http.errors import answer
from bintally.serving.http.headers import best_accepted
from bintally.serving.http.house import House
from bintally.serving.refusals import invalid, overloaded

PNG: Final = "image/png"
MOST_WAITING: Final = 4
"""Overlays that may be wanted at once; each costs as much as some 40 counts, so that one at a time is made."""

RECORDS: Final = (Overlay,)
_RETRY_AFTER_S: Final = 5.0


def add(app: openapi.App, house: House) -> None:
    """Adds the endpoint."""
    maker = _Maker(house.config.max_megapixels * 10**6)

    async def overlay(request: Request) -> Response:
        """Where does the model look? The photo, coloured where it speaks for the count, or the figures as JSON.

        Each tile of an 8 x 8 grid is painted over in turn: the drop of the count's probability is how much the tile
        speaks for the count. Of what may be said of a photo, `counts` and `model` are heeded.
        """
        kind = media_type(request.headers.get("content-type", ""))
        wanted = best_accepted(request.headers, (PNG, JSON_TYPE))
        about = house.about(request)
        async with house.body(request, kind, deadline=about["deadline"]) as data:
            asked = (await house.parsed(request, kind, data)).asked(door="http", **about)
            photo = await house.service.photo(asked)
            counter = restricted(house.service.models.get(asked.model).counter, asked.counts)
            made, picture = await maker.make(counter, photo, asked, paint=wanted == PNG)
        headers = {"X-Request-Id": asked.request_id, "Vary": "Accept"}
        if picture is not None:
            return Response(picture, media_type=PNG, headers=headers)
        return answer(made, headers=headers)

    app.answer(
        "POST",
        "/v1/overlay",
        overlay,
        tag="Count",
        parameters=openapi.ABOUT_PHOTO + openapi.ABOUT_ANY,
        body=openapi.body({**openapi.BINARY_PHOTOS, JSON_TYPE: openapi.ref(PhotoRequest)}),
        responses={
            200: openapi.told("The overlay", {PNG: openapi.BINARY, JSON_TYPE: openapi.ref(Overlay)}),
            **openapi.errors(*openapi.COUNTING, 404, 406),
        },
    )


class _Maker:
    """Makes one overlay at a time."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._limiter: CapacityLimiter | None = None
        self._waiting = 0

    async def make(self, counter: Counter, photo: bytes, asked: Asked, *, paint: bool) -> tuple[Overlay, bytes | None]:
        if self._waiting >= MOST_WAITING:
            raise overloaded(_RETRY_AFTER_S)
        if self._limiter is None:  # made where its event loop runs
            self._limiter = CapacityLimiter(1)
        self._waiting += 1
        try:
            return await to_thread.run_sync(
                _made, counter, photo, asked, self._max_pixels, paint, limiter=self._limiter
            )
        finally:
            self._waiting -= 1


def _made(counter: Counter, photo: bytes, asked: Asked, max_pixels: int, paint: bool) -> tuple[Overlay, bytes | None]:
    asked.check_deadline()
    card = counter.card
    pixels_hwc = decode(photo, height_px=card.height_px, width_px=card.width_px, max_pixels=max_pixels)
    overlay = look(counter, pixels_hwc, go_on=asked.check_deadline)
    picture = painted(open_image(photo, draft_px=(LONGEST_PX, LONGEST_PX)), overlay) if paint else None
    return overlay, picture


def restricted(counter: Counter, counts: str | None) -> Counter:
    """`counter`, asked for `counts` only.

    Raises:
        RequestError: 422, it does not know them.
    """
    try:
        return counter.restricted(counts)
    except UsageError as error:
        raise invalid(error.message) from None
