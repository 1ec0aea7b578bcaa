"""What a ware looks like: a face with its print, a body in perspective, an outline. All RGBA, drawn at twice the size.

A face depends on the ware alone, so that units of one product look alike; the body adds what differs from unit to unit.
"""

from functools import cache
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from bintally.data.rendered.wares import Colour, Ware

Rng = np.random.Generator

SUPERSAMPLING: Final = 2
_TILE_PX: Final = 768


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, so that photos look the same on every machine."""
    return ImageFont.load_default(size_px)


@cache
def creases() -> Image.Image:
    """A grey tile of folds and glints, the look of plastic and cloth: folds darker, ridges white."""
    rng = np.random.default_rng(7)
    total = np.zeros((_TILE_PX, _TILE_PX), np.float32)
    for cells, strength in ((10, 1.0), (24, 0.8), (60, 0.4)):
        noise = Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
        smooth = np.asarray(noise.resize((_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC), np.float32) / 127.5 - 1
        total += strength * (0.35 - np.abs(smooth))
    glints = np.clip(total - 0.42, 0, None) * 380
    return Image.fromarray(np.clip(184 + 52 * total + glints, 70, 255).astype(np.uint8))


def crop_of(tile: Image.Image, size: tuple[int, int], rng: Rng) -> Image.Image:
    """A random part of a tile, scaled up where the tile is too small."""
    width, height = size
    if width > tile.width or height > tile.height:
        tile = tile.resize((max(width, tile.width), max(height, tile.height)))
    left, top = int(rng.integers(tile.width - width + 1)), int(rng.integers(tile.height - height + 1))
    return tile.crop((left, top, left + width, top + height))


def shade(colour: Colour, factor: float) -> Colour:
    """A colour in more or less light."""
    red, green, blue = (max(0, min(255, round(part * factor))) for part in colour)
    return red, green, blue


def make_face(ware: Ware, size: tuple[int, int]) -> Image.Image:
    """The printed side of a ware, `size` pixels."""
    rng = np.random.default_rng(ware.look)
    width, height = size
    face = Image.new("RGB", size, ware.colours[0])
    pen = ImageDraw.Draw(face)
    if ware.kind == "book":
        _print_spine(pen, ware, size, rng)
    elif ware.kind == "bag" and rng.random() < 0.6:
        _print_sticker(pen, (0.3, 0.35, 0.7, 0.6), size, rng)
    else:
        _print_box(pen, ware, size, rng)
    if ware.kind == "book" and height > width:
        title = _title(ware, (height - 8, width), rng).rotate(90, expand=True)
        face.paste(ware.colours[2], ((width - title.width) // 2, (height - title.height) // 2), title)
    elif ware.kind in ("box", "bottle"):
        title = _title(ware, (round(width * 0.86), height // 5), rng)
        face.paste(ware.colours[2], (round(width * 0.07), round(height * rng.uniform(0.08, 0.6))), title)
    return face


def _title(ware: Ware, room: tuple[int, int], rng: Rng) -> Image.Image:
    """One or two words of the name as a mask no larger than `room`."""
    words = ware.name.split(",")[0].split()
    text = " ".join(words[-2:] if rng.random() < 0.6 else words[:1]).upper()
    letters = font(28)
    left, top, right, bottom = letters.getbbox(text)
    mask = Image.new("L", (round(right - left) + 2, round(bottom - top) + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), text, fill=255, font=letters)
    ratio = min(room[0] / mask.width, room[1] * 0.8 / mask.height)
    return mask.resize(
        (max(1, round(mask.width * ratio)), max(1, round(mask.height * ratio))), Image.Resampling.BILINEAR
    )


def _print_box(pen: ImageDraw.ImageDraw, ware: Ware, size: tuple[int, int], rng: Rng) -> None:
    width, height = size
    _, second, third = ware.colours
    if rng.random() < 0.6:
        start, thick = rng.uniform(0, 0.8), rng.uniform(0.08, 0.4)
        across = (0, start * height, width, (start + thick) * height)
        along = (start * width, 0, (start + thick) * width, height)
        pen.rectangle(across if rng.random() < 0.6 else along, fill=second)
    if rng.random() < 0.55:
        x, y, radius = (
            rng.uniform(0.3, 0.7) * width,
            rng.uniform(0.3, 0.7) * height,
            rng.uniform(0.12, 0.32) * min(size),
        )
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shade(third, 0.9), outline=second, width=3)
        pen.polygon(
            [(x, y - radius * 0.7), (x + radius * 0.6, y + radius * 0.5), (x - radius * 0.6, y + radius * 0.4)],
            fill=second,
        )
    for row in range(int(rng.integers(0, 6))):
        y = height * (0.7 + 0.045 * row)
        pen.line((width * 0.08, y, width * rng.uniform(0.3, 0.7), y), fill=shade(ware.colours[0], 0.55), width=2)
    if rng.random() < 0.35:
        _print_sticker(pen, (0.55, 0.72, 0.95, 0.94), size, rng)


def _print_spine(pen: ImageDraw.ImageDraw, ware: Ware, size: tuple[int, int], rng: Rng) -> None:
    width, height = size
    for end in (rng.uniform(0.04, 0.2), rng.uniform(0.78, 0.96)):
        pen.rectangle((0, end * height, width, (end + 0.03) * height), fill=ware.colours[1])


def _print_sticker(
    pen: ImageDraw.ImageDraw, place: tuple[float, float, float, float], size: tuple[int, int], rng: Rng
) -> None:
    """A white label with a barcode."""
    x0, y0, x1, y1 = (round(part * side) for part, side in zip(place, size * 2, strict=True))
    if x1 - x0 < 12 or y1 - y0 < 8:
        return  # too small for a label
    pen.rectangle((x0, y0, x1, y1), fill=(236, 236, 232))
    bar = x0 + 3
    while bar < x1 - 4:
        thick = int(rng.integers(1, 4))
        pen.rectangle((bar, y0 + (y1 - y0) // 3, bar + thick - 1, y1 - 3), fill=(30, 30, 32))
        bar += thick + int(rng.integers(1, 4))


def make_sprite(
    ware: Ware, face: Image.Image, size: tuple[int, int], *, turned: int, from_left: bool, rng: Rng
) -> Image.Image:
    """One unit, `size` pixels, upright; `from_left`: its left side is seen rather than its right one."""
    if turned:
        face = face.transpose(Image.Transpose.ROTATE_90)
    big = (max(6, size[0] * SUPERSAMPLING), max(6, size[1] * SUPERSAMPLING))
    if ware.kind == "bag":
        sprite = _bag(face, big, rng)
    elif ware.kind == "bottle":
        sprite = _bottle(ware, face, big, lying=bool(turned))
    else:
        sprite = _box(ware, face, big, from_left=from_left, rng=rng)
    return sprite.reduce(SUPERSAMPLING)


def _box(ware: Ware, face: Image.Image, size: tuple[int, int], *, from_left: bool, rng: Rng) -> Image.Image:
    """Front, top and one side of a box or book, in oblique projection."""
    width, height = size
    deep = 0.12 if ware.kind == "book" else 0.25
    side = min(round(width * deep * rng.uniform(0.2, 1)), width - 4)
    top = min(round(height * 0.22 * rng.uniform(0.15, 1) * (0.5 if ware.kind == "book" else 1)), height - 4)
    sprite = Image.new("RGBA", size)
    pen = ImageDraw.Draw(sprite)
    left, right = (side, width - 1) if from_left else (0, width - 1 - side)
    back, outer = (width - 1 - side, 0) if from_left else (side, width - 1)
    paper = (225, 218, 200) if ware.kind == "book" else ware.colours[0]
    near, far = (left, left - side) if from_left else (right, right + side)
    pen.polygon(
        [(near, top), (far, 0), (far, height - 1 - top), (near, height - 1)], fill=(*shade(ware.colours[0], 0.55), 255)
    )
    pen.polygon([(left, top), (right, top), (back if from_left else outer, 0), (outer if from_left else back, 0)],
                fill=(*shade(paper, 0.88), 255))  # fmt: skip
    front = face.resize((right - left, height - 1 - top), Image.Resampling.BILINEAR)
    sprite.paste(front, (left, top))
    edge = (*shade(ware.colours[0], 0.4), 255)
    pen.rectangle((left, top, right, height - 1), outline=edge, width=2)
    pen.line([(near, top), (far, 0), (far, height - 1 - top)], fill=edge, width=2)
    return sprite


def _bag(face: Image.Image, size: tuple[int, int], rng: Rng) -> Image.Image:
    """A creased pouch with a soft outline."""
    width, height = size
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.full_like(angle, 0.86)
    for wave in (2, 3, 5, 7):
        radius += rng.normal(0, 0.05 / np.sqrt(wave)) * np.cos(wave * angle + rng.uniform(0, 6.3))
    corner = 1 / np.maximum(
        np.abs(np.cos(angle)), np.abs(np.sin(angle))
    )  # 1 on a side of the square, 1.41 in its corners
    reach = np.minimum(radius * corner**0.75, corner)
    outline = [
        (width / 2 * (1 + x), height / 2 * (1 + y))
        for x, y in zip(reach * np.cos(angle), reach * np.sin(angle), strict=True)
    ]
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    pen.polygon(outline, fill=252)
    print_ = face.resize(size, Image.Resampling.BILINEAR)
    folds = Image.merge("RGB", [crop_of(creases(), size, rng)] * 3)
    body = ImageChops.add(ImageChops.multiply(print_, folds), folds, scale=1, offset=-128)
    ImageDraw.Draw(body).line([*outline, outline[0]], fill=(40, 36, 34), width=3)
    body.putalpha(mask.point(_CLEAR) if rng.random() < 0.3 else mask)
    return body


_CLEAR: Final = [level * 4 // 5 for level in range(256)]  # plastic that lets a fifth of what is behind it through


def _bottle(ware: Ware, face: Image.Image, size: tuple[int, int], *, lying: bool) -> Image.Image:
    """A round body with shoulders, neck and cap; drawn upright, then laid down."""
    width, height = size[::-1] if lying else size
    rng = np.random.default_rng(ware.look + 1)
    neck, cap, shoulder = rng.uniform(0.3, 0.75), rng.uniform(0.08, 0.2), rng.uniform(0.22, 0.36)
    thin = width * (1 - neck) / 2
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    pen.rectangle((thin, 0, width - thin, height * shoulder), fill=255)
    pen.polygon(
        [(thin, height * cap), (width - thin, height * cap), (width - 1, height * shoulder), (0, height * shoulder)],
        fill=255,
    )
    pen.rounded_rectangle((0, height * shoulder - 4, width - 1, height - 1), radius=width * 0.12, fill=255)
    body = Image.new("RGB", (width, height), ware.colours[1])
    label = (0.0, 0.45, 1.0, rng.uniform(0.75, 0.95))
    paper = face.transpose(Image.Transpose.ROTATE_270) if lying else face
    body.paste(paper.resize((width, max(1, round(height * (label[3] - label[1]))))), (0, round(height * label[1])))
    ImageDraw.Draw(body).rectangle((0, 0, width, height * cap), fill=ware.colours[2])
    ImageDraw.Draw(body).line((0, height * cap, width, height * cap), fill=(40, 40, 40), width=3)
    round_ = Image.fromarray(
        (255 * (0.35 + 0.65 * np.sin(np.pi * (np.linspace(0.04, 0.86, width))) ** 0.8)).astype(np.uint8)[None]
    )
    body = ImageChops.multiply(body, Image.merge("RGB", [round_.resize((width, height))] * 3))
    body.putalpha(mask)
    return body.transpose(Image.Transpose.ROTATE_90) if lying else body
