"""A scene as pixels: the cell, the items back to front, lips and label in front, bands, light, lens.

Drawn at the photo's own size; only items are drawn larger and reduced. What looks soft is computed small and enlarged.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from bintally.data.rendered.scene import Cell, Moment, Placed, Rng, pick, rng_of
from bintally.data.rendered.settings import RenderSettings
from bintally.data.rendered.sprites import SUPERSAMPLING, crop_of, font, make_face, make_sprite, shade
from bintally.data.rendered.wares import Colour

Faces = dict[int, Image.Image]

_FABRICS: Final[tuple[Colour, ...]] = (
    (240, 218, 150), (232, 212, 152), (246, 226, 164), (226, 204, 142), (230, 218, 178),
    (206, 172, 130), (200, 196, 186),
)  # fmt: skip
"""ABID's pods are of yellow cloth; a few here are of cardboard or grey."""
_LABELS: Final[tuple[Colour, ...]] = (
    (62, 48, 92), (200, 92, 84), (236, 148, 92), (240, 168, 178),
    (128, 176, 204), (104, 112, 128), (150, 196, 150), (240, 200, 90),
)  # fmt: skip
_TILE_PX: Final = 640
_PHOTO: Final = 3  # this file's part of the random numbers


@dataclass(frozen=True, slots=True)
class Drawing:
    """A photo before it is compressed. `visible_shares[i]`: visible part of the i-th placed item, counted in pixels.

    Bands and plastic let things through, so they hide nothing here; other items, lips, label and the photo's edge do.
    """

    image: Image.Image
    visible_shares: tuple[float, ...]


def draw(moment: Moment, *, seed: int, settings: RenderSettings, faces: Faces | None = None) -> Drawing:
    """A photo of `moment`; `faces` keeps what was printed on the bin's wares from one photo to the next."""
    rng = rng_of(seed, moment.index, _PHOTO, moment.time)
    faces = {} if faces is None else faces
    cell = moment.cell
    canvas = _empty_cell(cell)
    owners = Image.new("L", canvas.size)
    areas = [_put(canvas, owners, number, place, moment, faces) for number, place in enumerate(moment.placed, start=1)]
    _lips(canvas, owners, cell)
    _bands(canvas, cell, rng, settings)
    frame = _frame(cell, rng)
    seen = np.bincount(np.asarray(owners.crop(frame)).ravel(), minlength=256)[1 : len(areas) + 1]
    image = _lens(_light(canvas.crop(frame), rng, settings), rng, settings)
    return Drawing(image, tuple(float(share) for share in seen / np.maximum(1, areas)))


def _frame(cell: Cell, rng: Rng) -> tuple[int, int, int, int]:
    """The part of the canvas the camera takes: it never stands quite where it stood before."""
    left, top = (int(rng.integers(2 * cell.margin_px + 1)) for _ in range(2))
    return left, top, left + cell.width_px, top + cell.height_px


def _canvas_size(cell: Cell) -> tuple[int, int]:
    return cell.width_px + 2 * cell.margin_px, cell.height_px + 2 * cell.margin_px


def _empty_cell(cell: Cell) -> Image.Image:
    rng = rng_of(cell.look)
    fabric = _fabric(cell)
    left, top, right, bottom = cell.opening
    back_left, back_right = cell.sides_at(0)
    back_top, back_bottom = top + cell.inset_px * 0.6, cell.floor_at(0)
    canvas = Image.new("RGB", _canvas_size(cell), shade(fabric, 0.95))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((left, top, right, bottom), fill=shade(fabric, rng.uniform(0.55, 0.8)))
    pen.polygon([(left, top), (right, top), (back_right, back_top), (back_left, back_top)], fill=shade(fabric, 0.5))
    pen.polygon(
        [(left, top), (back_left, back_top), (back_left, back_bottom), (left, bottom)],
        fill=shade(fabric, rng.uniform(0.5, 0.75)),
    )
    pen.polygon(
        [(right, top), (back_right, back_top), (back_right, back_bottom), (right, bottom)],
        fill=shade(fabric, rng.uniform(0.5, 0.75)),
    )
    pen.polygon(
        [(left, bottom), (back_left, back_bottom), (back_right, back_bottom), (right, bottom)],
        fill=shade(fabric, rng.uniform(0.7, 0.9)),
    )
    return ImageChops.multiply(canvas, crop_of(_weave(), canvas.size, rng))


def _fabric(cell: Cell) -> Colour:
    rng = rng_of(cell.look, 1)
    return _FABRICS[pick(rng, (4, 4, 4, 3, 2, 1, 1))]


@cache
def _weave() -> Image.Image:
    """Cloth: fine threads over wide folds, in levels of light."""
    rng = np.random.default_rng(11)
    fine = rng.normal(0, 5, (_TILE_PX, _TILE_PX)).astype(np.float32)
    wide = Image.fromarray((rng.random((9, 9)) * 255).astype(np.uint8)).resize(
        (_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC
    )
    light = np.clip(228 + fine + (np.asarray(wide, np.float32) - 128) * 0.2, 0, 255).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(light)] * 3)


def _put(canvas: Image.Image, owners: Image.Image, number: int, place: Placed, moment: Moment, faces: Faces) -> float:
    """Draws one item and its shadow; returns its area in pixels, were nothing in front of it."""
    item, cell = place.item, moment.cell
    ware = moment.wares[item.ware]
    if item.ware not in faces:
        faces[item.ware] = make_face(ware, _face_px(ware.face_inches, cell))
    rng = rng_of(cell.look, 2, item.key)  # its creases and dents belong to the item, not to the photo
    size = max(3, round(item.width_px * place.scale)), max(3, round(item.height_px * place.scale))
    centre = (cell.opening[0] + cell.opening[2]) / 2
    sprite = make_sprite(ware, faces[item.ware], size, turned=item.turned, from_left=place.x > centre, rng=rng)
    light = (0.74 + 0.26 * place.depth) * rng.uniform(0.92, 1.06)
    sprite = sprite.point(_dimmed(round(100 * light)))
    if abs(place.tilt_deg) > 0.6:
        sprite = sprite.rotate(place.tilt_deg, Image.Resampling.BILINEAR, expand=True)
    alpha = sprite.getchannel("A")
    x, y = round(place.x - sprite.width / 2), round(place.base - sprite.height)
    shadow = alpha.point(_SHADOW)
    for dx, dy in ((-3, 1), (4, 2)):
        canvas.paste((24, 18, 12), (x + dx, y + dy), shadow)
    canvas.paste(sprite, (x, y), alpha)
    solid = alpha.point(_SOLID)
    owners.paste(number, (x, y), solid)
    return solid.histogram()[255]


@cache
def _dimmed(percent: int) -> list[int]:
    """A lookup table that leaves `percent` of the light in an RGBA image."""
    return [min(255, round(level * percent / 100)) for level in range(256)] * 3 + list(range(256))


_SHADOW: Final = [level * 7 // 25 for level in range(256)]
_SOLID: Final = [255 * (level >= 128) for level in range(256)]


def _face_px(inches: tuple[float, float], cell: Cell) -> tuple[int, int]:
    width, height = (max(8, round(side * cell.px_per_inch * SUPERSAMPLING)) for side in inches)
    return width, height


def _lips(canvas: Image.Image, owners: Image.Image, cell: Cell) -> None:
    """The cloth edges above and below the opening, and the strip of label on one of them."""
    rng = rng_of(cell.look, 3)
    width, height = canvas.size
    left, top, right, bottom = cell.opening
    fabric = shade(_fabric(cell), 1.04)
    sag = rng.uniform(-0.02, 0.03) * height
    curve = ((0, -sag), (0.25, 0), (0.5, sag), (0.75, 0), (1, -sag))
    lower = [(0, height), *((width * x, bottom + dy) for x, dy in curve), (width, height)]
    upper = [(0, 0), (0, top), (width / 2, top - sag * 0.6), (width, top), (width, 0)]
    pens = ImageDraw.Draw(canvas), ImageDraw.Draw(owners)
    for outline in (
        lower,
        upper,
        [(0, 0), (left, 0), (left, height), (0, height)],
        [(width, 0), (right, 0), (right, height), (width, height)],
    ):
        pens[0].polygon(outline, fill=fabric)
        pens[1].polygon(outline, fill=0)
    for outline in (lower[1:-1], upper[1:-1]):
        pens[0].line(outline, fill=shade(fabric, 0.72), width=2)
    _label(canvas, rng, round(height - bottom), round(bottom + sag))
    if rng.random() < 0.5:
        _label(canvas, rng, round(top), round(-top * rng.uniform(0.2, 0.6)))


def _label(canvas: Image.Image, rng: Rng, room: int, y: int) -> None:
    """The cell's address, such as 2B, with an arrow and a code."""
    high = max(8, round(room * rng.uniform(0.75, 1.0)))
    wide = round(high * rng.uniform(3.2, 4.2))
    x = round((canvas.width - wide) * rng.uniform(0.35, 0.65))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((x - 2, y - 1, x + wide + 2, y + high + 2), fill=(226, 214, 170))
    pen.rectangle((x, y + 1, x + wide, y + high), fill=_LABELS[int(rng.integers(len(_LABELS)))])
    pen.rectangle((x + wide * 0.08, y + 3, x + wide * 0.52, y + high - 2), fill=(240, 240, 236))
    text = f"{rng.integers(1, 5)}{'ABCDEFGHIJK'[int(rng.integers(11))]}"
    pen.text((x + wide * 0.13, y + high * 0.04), text, fill=(20, 20, 24), font=font(max(6, round(high * 0.8))))
    tip, middle = x + wide * 0.46, y + high * 0.5
    pen.line((tip, y + 4, tip, y + high - 4), fill=(20, 20, 24), width=max(1, high // 14))
    pen.polygon([(tip, y + 3), (tip - high * 0.1, middle), (tip + high * 0.1, middle)], fill=(20, 20, 24))
    code = Image.fromarray(((rng.random((11, 11)) > 0.5) * 225 + 15).astype(np.uint8)).resize(
        (max(6, high - 5),) * 2, Image.Resampling.NEAREST
    )
    canvas.paste(Image.merge("RGB", [code] * 3), (round(x + wide * 0.6), y + 3))


def _bands(canvas: Image.Image, cell: Cell, rng: Rng, settings: RenderSettings) -> None:
    """Elastic bands across the opening: pale threads with what lies behind them showing between."""
    own = rng_of(cell.look, 4)  # bands stay on their bin, though they give way a little
    left, top, right, bottom = cell.opening
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    along = np.linspace(-1, 1, canvas.width, dtype=np.float32)[None]
    for _ in range(pick(own, settings.band_weights)):
        middle = own.uniform(top + (bottom - top) * 0.1, bottom) + rng.normal(0, 0.01) * cell.height_px
        high = own.uniform(0.06, 0.17) * cell.height_px  # half its width
        opacity = own.uniform(*settings.band_opacity)
        pitch = own.uniform(3.2, 6.0)
        bent = (
            rows
            - middle
            - along * own.normal(0, 0.02) * cell.height_px
            + along**2 * rng.uniform(-0.03, 0.03) * cell.height_px
        )
        threads = opacity * (0.5 + 1.1 * (np.sin(bent * np.float32(2 * np.pi / pitch)) > 0.35))
        mask = np.where(np.abs(bent) < high, threads * 255, 0).astype(np.uint8)
        mask[:, : int(left)] = mask[:, int(right) :] = 0
        tone = rng.uniform(0.85, 1.0)
        canvas.paste(shade((226, 212, 200), tone), (0, 0), Image.fromarray(mask))


def _light(photo: Image.Image, rng: Rng, settings: RenderSettings) -> Image.Image:
    """Dim, from one side, darker in the corners, and of the lamp's colour."""
    y, x = np.mgrid[-1:1:18j, -1:1:24j].astype(np.float32)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.18)
    light = 1 - rng.uniform(*settings.vignette) * (x * x + y * y) / 2 + slope * (np.cos(angle) * x + np.sin(angle) * y)
    light *= rng.uniform(*settings.brightness) / light.max()
    cast = np.array((1.0, 0.9, 0.82)) * rng.normal(1, 0.03, 3)
    small = np.clip(light[..., None] * cast / cast.max() * 255, 0, 255).astype(np.uint8)
    lit = ImageChops.multiply(photo, Image.fromarray(small).resize(photo.size, Image.Resampling.BICUBIC))
    haze = rng.uniform(0.8, 0.96)  # light scattered in the lens takes the blackness out of shadows
    return lit.point([round(level * haze + (1 - haze) * fog) for fog in (150, 130, 110) for level in range(256)])


def _lens(photo: Image.Image, rng: Rng, settings: RenderSettings) -> Image.Image:
    low, high = settings.blur_px
    radius = low + (high - low) * rng.random() ** 2  # most photos are sharp, a few are not
    if radius > 0.05:
        photo = photo.filter(ImageFilter.BoxBlur(radius))  # a third of a Gaussian's time, and as good under noise
    level = rng.uniform(*settings.noise)
    return ImageChops.add(photo, crop_of(_noise(round(level * 2)), photo.size, rng), scale=1, offset=-128)


@cache
def _noise(halves: int) -> Image.Image:
    """Sensor noise around 128, partly grey and partly coloured, with a standard deviation of `halves` / 2 levels."""
    rng = np.random.default_rng(13)
    grey = rng.normal(0, 0.8, (_TILE_PX, _TILE_PX, 1)).astype(np.float32) + rng.normal(
        0, 0.6, (_TILE_PX, _TILE_PX, 3)
    ).astype(np.float32)
    levels: NDArray[np.uint8] = np.clip(128.5 + grey * halves / 2, 0, 255).astype(np.uint8)
    return Image.fromarray(levels)
