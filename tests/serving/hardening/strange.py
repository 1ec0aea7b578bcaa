"""Photos that no camera takes: each kind of file that a decoder may stumble over, made here, and what it shows."""

import base64
import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.bundles import DARKEST, STEP, bin_pixels

COUNT = 3
"""What every photo here shows that can be read."""

BRIGHTNESS = round(DARKEST + STEP * COUNT)

SCENE = Image.fromarray(bin_pixels(COUNT))
GREY = SCENE.convert("L")

_MANY = 300_000
"""Parts in a flood."""

_PNG = b"\x89PNG\r\n\x1a\n"
_WEBP_OF_ONE_COLOUR = base64.b64decode("UklGRhoAAABXRUJQVlA4TA4AAAAvAAAAAAcQEf0PRET/Aw==")
_ARITHMETIC = base64.b64decode(  # `jpegtran -arithmetic`: Pillow writes none
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1x"
    "eXBkeFxlZ2P/yQALCAAYACABAREA/8wABgAQEAX/2gAIAQEAAD8AwZIA3mHv6AKgJ0AA0tuEggoh68GIAKP7i6PsRVSYdro/2tAQNkmcuM8c"
    "9H83k8z+2uACj0eLW7v6/L96RSnaDHoM/R86ZzSdvnligfbnjGZJu08jwbkrCfuCjzH/AMoKtH8p/CTiJptDvhuex/d86F0kXvsFv79lBsn/"
    "2Q=="
)


class Strange(NamedTuple):
    """A photo, and the media type that its sender says it has."""

    name: str
    file: bytes
    kind: str = "image/jpeg"


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """`image` as a file."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


@functools.cache
def readable() -> tuple[Strange, ...]:
    """Those that show `COUNT` items."""
    return (*_jpegs(), *_pngs(), *_webps(), *_with_more_in_them(), *_sizes())


@functools.cache
def refused() -> tuple[Strange, ...]:
    """Those that no answer may be given to."""
    return (*_bombs(), *_floods(), *_no_photos(), *_broken())


@functools.cache
def large() -> tuple[Strange, ...]:
    """Just what is taken, and takes the most: 49 megapixels."""
    turned = exif(6).tobytes()
    of_one_colour = Image.new("RGB", (7000, 7000), (BRIGHTNESS,) * 3)
    return (
        Strange("grey JPEG", saved(of_one_colour.convert("L"), "JPEG")),
        Strange("progressive JPEG", saved(of_one_colour, "JPEG", progressive=True, subsampling=0)),
        Strange("PNG on its side", saved(of_one_colour, "PNG", exif=turned, compress_level=1), "image/png"),
    )


def exif(orientation: int, **tags: Any) -> Image.Exif:
    """EXIF that says how a photo lies."""
    told = Image.Exif()
    told[0x0112] = orientation
    for name, value in tags.items():
        told[{"maker": 0x010F, "comment": 0x9286}[name]] = value
    return told


def segment(marker: int, data: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg_with(*segments: bytes, photo: bytes = b"") -> bytes:
    """A JPEG with more segments at its beginning."""
    photo = photo or saved(SCENE, "JPEG")
    return photo[:2] + b"".join(segments) + photo[2:]


def png_with(*chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    photo = saved(SCENE, "PNG")
    return photo[:33] + b"".join(chunks) + photo[33:]


def webp_of_one_colour(width_px: int, height_px: int) -> bytes:
    """A lossless WebP of any size in 34 bytes: where all pixels are alike, none takes a bit."""
    bits = int.from_bytes(_WEBP_OF_ONE_COLOUR[21:25], "little") & ~(2**28 - 1)
    sized = (bits | (width_px - 1) | (height_px - 1) << 14).to_bytes(4, "little")
    return _WEBP_OF_ONE_COLOUR[:21] + sized + _WEBP_OF_ONE_COLOUR[25:]


def drawn_png(pixels: NDArray[Any], *, bits: int, colour: int, interlaced: bool = False) -> bytes:
    """A PNG as Pillow writes none: [H, W] or [H, W, C]; `colour` 0: grey, 2: RGB, 4: grey and alpha."""
    height_px, width_px = pixels.shape[:2]
    adam7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = adam7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        b"\0" + row.astype(f">u{bits // 8}").tobytes()
        for top, left, down, right in passes
        for row in pixels[top::down, left::right]
    )
    header = struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, interlaced)
    return _PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def scans(photo: bytes, number: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    start = photo.rindex(b"\xff\xda")
    return photo[:-2] + photo[start:-2] * number + photo[-2:]


def _jpegs() -> list[Strange]:
    ink = [255 - np.asarray(SCENE)[..., colour] for colour in range(3)]
    as_ycc = Image.fromarray(255 - np.stack(ink, axis=2)).convert("YCbCr").split()
    no_black = Image.new("L", SCENE.size, 0)
    inverted = [Image.eval(band, lambda value: 255 - value) for band in as_ycc]
    ycck = saved(Image.merge("CMYK", (*inverted, no_black)), "JPEG", quality=95)
    adobe = ycck.index(b"Adobe")
    return [
        Strange("plain JPEG", saved(SCENE, "JPEG")),
        Strange("progressive JPEG", saved(SCENE, "JPEG", progressive=True)),
        Strange("grey JPEG", saved(GREY, "JPEG")),
        Strange("JPEG with all its colours", saved(SCENE, "JPEG", subsampling=0)),
        Strange("JPEG with restarts", saved(SCENE, "JPEG", restart_marker_blocks=1)),
        Strange("JPEG with arithmetic coding", _ARITHMETIC),
        Strange("CMYK JPEG", saved(SCENE.convert("CMYK"), "JPEG")),
        Strange("YCCK JPEG", ycck[: adobe + 11] + b"\2" + ycck[adobe + 12 :]),
        Strange("JPEG of two frames (MPO)", saved(SCENE, "MPO", save_all=True, append_images=[SCENE])),
        Strange("JPEG called PNG", saved(SCENE, "JPEG"), "image/png"),
        Strange("JPEG with filler between its segments", jpeg_with(b"\xff" * 500)),
        Strange("progressive JPEG with 100 scans more", scans(saved(GREY, "JPEG", progressive=True), 100)),
    ]


def _pngs() -> list[Strange]:
    grey = np.asarray(GREY)
    faint = GREY.copy()
    faint.putalpha(128)
    palette = GREY.convert("P")
    kind = "image/png"
    return [
        Strange("plain PNG", saved(SCENE, "PNG"), kind),
        Strange("grey PNG", saved(GREY, "PNG"), kind),
        Strange("PNG of one bit", saved(GREY.convert("1"), "PNG"), kind),
        Strange("PNG of 4 greys", saved(GREY.quantize(4), "PNG", bits=2), kind),
        Strange("PNG with a palette", saved(palette, "PNG"), kind),
        Strange("PNG with a palette and holes", saved(palette, "PNG", transparency=bytes(range(256))), kind),
        Strange("grey PNG with alpha", saved(faint, "PNG"), kind),
        Strange("PNG with alpha", saved(faint.convert("RGBA"), "PNG"), kind),
        Strange("16-bit grey PNG", drawn_png(grey.astype(np.uint16) * 257, bits=16, colour=0), kind),
        Strange("16-bit PNG", drawn_png(np.asarray(SCENE).astype(np.uint16) * 257, bits=16, colour=2), kind),
        Strange("16-bit PNG with alpha", drawn_png(_with_alpha(grey), bits=16, colour=4), kind),
        Strange("interlaced PNG", drawn_png(grey, bits=8, colour=0, interlaced=True), kind),
        Strange("animated PNG", saved(SCENE, "PNG", save_all=True, append_images=[_black()]), kind),
        Strange("PNG called JPEG", saved(SCENE, "PNG")),
    ]


def _with_alpha(grey: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.stack([grey.astype(np.uint16) * 257, np.full(grey.shape, 30_000, np.uint16)], axis=2)


def _webps() -> list[Strange]:
    kind = "image/webp"
    animated = saved(SCENE, "WEBP", save_all=True, append_images=[_black(), SCENE], lossless=True)
    faint = SCENE.copy()
    faint.putalpha(200)
    return [
        Strange("WebP", saved(SCENE, "WEBP"), kind),
        Strange("lossless WebP", saved(SCENE, "WEBP", lossless=True), kind),
        Strange("WebP with alpha", saved(faint, "WEBP", lossless=True, exact=True), kind),
        Strange("animated WebP", animated, kind),
        Strange("WebP with EXIF", saved(SCENE, "WEBP", exif=exif(6, maker="x" * 60_000).tobytes()), kind),
        Strange("WebP with a tail", saved(SCENE, "WEBP") + b"behind it", kind),
    ]


def _with_more_in_them() -> list[Strange]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.html", "<script>alert(1)</script>")
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta>" + b" " * 60_000 + b"</x:xmpmeta>"
    photo = saved(SCENE, "JPEG")
    return [
        Strange("60 kB of EXIF", saved(SCENE, "JPEG", exif=exif(1, maker="x" * 60_000).tobytes())),
        Strange("profile of 10 MB", saved(SCENE, "JPEG", icc_profile=profile + bytes(10**7))),
        Strange("60 kB of XMP", jpeg_with(segment(0xE1, xmp))),
        Strange("another photo as its thumbnail", jpeg_with(segment(0xE1, b"Exif\0\0" + saved(_black(), "JPEG")))),
        Strange("page in its comment", jpeg_with(segment(0xFE, b"<html><script>alert(1)</script></html>"))),
        Strange("JPEG that is an archive, too", photo + archive.getvalue()),
        Strange("JPEG that is a page, too", photo + b"<html></html>"),
        Strange("JPEG with another behind it", photo + saved(_black(), "JPEG")),
        Strange("PNG that is a PDF, too", saved(SCENE, "PNG") + b"%PDF-1.7\n", "image/png"),
        Strange("PNG with 10 MB of EXIF", png_with(chunk(b"eXIf", b"MM\0*\0\0\0\x08" + bytes(10**7))), "image/png"),
        Strange("PNG with thousands of texts", png_with(*[chunk(b"tEXt", b"a\0b")] * 5000), "image/png"),
    ]


def _sizes() -> list[Strange]:
    sizes = ((1, 1), (1, 10_000), (10_000, 1), (2, 2))
    return [
        Strange(f"{width} x {height}", saved(Image.new("RGB", (width, height), (BRIGHTNESS,) * 3), image_format), kind)
        for width, height in sizes
        for image_format, kind in (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"))
    ]


def _bombs() -> list[Strange]:
    black = Image.new("1", (10_000, 10_000))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6)))
    profile = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8)))
    return [
        Strange("PNG of 100 megapixels", saved(black, "PNG"), "image/png"),
        Strange("JPEG of 100 megapixels", saved(black.convert("L"), "JPEG")),
        Strange("WebP of 268 megapixels", webp_of_one_colour(16_383, 16_383), "image/webp"),
        Strange("JPEG of 4 gigapixels", _resized(saved(GREY, "JPEG"), 65_535, 65_535)),
        Strange("PNG of 4 gigapixels", _png_header(65_535, 65_535), "image/png"),
        Strange("PNG of a row", drawn_png(np.zeros((1, 70_000), np.uint8), bits=8, colour=0), "image/png"),
        Strange("PNG of a column", drawn_png(np.zeros((70_000, 1), np.uint8), bits=8, colour=0), "image/png"),
        Strange("PNG whose texts unpack to 200 MB", png_with(*[text] * 200), "image/png"),
        Strange("PNG whose profile unpacks to 100 MB", png_with(profile), "image/png"),
    ]


def _floods() -> list[Strange]:
    """Small parts by the hundred thousand; some kept a decoder busy for minutes or hours."""
    of_one_colour = saved(Image.new("L", (7000, 7000), BRIGHTNESS), "JPEG", progressive=True)
    return [
        Strange("JPEG of segments", jpeg_with(segment(0xEE) * _MANY)),
        Strange("JPEG of EXIF", jpeg_with(segment(0xE1, b"Exif\0\0 ") * _MANY)),
        Strange("JPEG of filler", jpeg_with(b"\xff" * 10**7)),
        Strange("JPEG of ends", jpeg_with(b"\xff\xd9" * _MANY)),
        Strange("JPEG of scans", scans(of_one_colour, 5000)),
        Strange("PNG of chunks", png_with(chunk(b"abCd") * _MANY), "image/png"),
        Strange("PNG of chunks at its end", saved(SCENE, "PNG")[:-12] + chunk(b"abCd") * _MANY, "image/png"),
        Strange("PNG of empty pixels", saved(SCENE, "PNG")[:-12] + chunk(b"IDAT") * _MANY, "image/png"),
    ]


def _no_photos() -> Iterable[Strange]:
    files = {
        "nothing": b"",
        "one byte": b"\xff",
        "text": b"hello",
        "zeros": bytes(10_000),
        "page": b"<!doctype html><html><script>alert(1)</script></html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "PDF": b"%PDF-1.7\n1 0 obj\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
        "archive": b"PK\x03\x04" + bytes(100),
        "program": b"\x7fELF\x02\x01\x01" + bytes(100),
        "film": b"\x00\x00\x00\x20ftypisom" + bytes(100),
        "HEIC": b"\x00\x00\x00\x18ftypheic" + bytes(100),
        "AVI": b"RIFF\x00\x10\x00\x00AVI LIST" + bytes(100),
        "RIFF alone": b"RIFF",
        "GIF": saved(SCENE, "GIF"),
        "BMP": saved(SCENE, "BMP"),
        "TIFF": saved(SCENE, "TIFF"),
        "GIF with a JPEG in it": b"GIF89a" + saved(SCENE, "JPEG"),
        "JPEG behind a line": b"\n" + saved(SCENE, "JPEG"),
    }
    return (Strange(name, file) for name, file in files.items())


def _broken() -> list[Strange]:
    jpeg, png = saved(GREY, "JPEG"), saved(GREY, "PNG")
    frame = jpeg.index(b"\xff\xc0")
    return [
        Strange("JPEG of no width", _resized(jpeg, 0, 60)),
        Strange("JPEG of no height", _resized(jpeg, 80, 0)),
        Strange("PNG of no width", _png_header(0, 60), "image/png"),
        Strange("PNG of no size", _png_header(0, 0), "image/png"),
        Strange("JPEG of 12 bits", jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :]),
        Strange("lossless JPEG", jpeg[: frame + 1] + b"\xc3" + jpeg[frame + 2 :]),
        Strange("JPEG of a million colours", jpeg[: frame + 9] + b"\xff" + jpeg[frame + 10 :]),
        Strange("JPEG's beginning alone", b"\xff\xd8\xff"),
        Strange("JPEG's beginning and end", b"\xff\xd8\xff\xd9"),
        Strange("PNG's beginning alone", _PNG, "image/png"),
        Strange("PNG without pixels", png[:33] + chunk(b"IEND"), "image/png"),
        Strange("PNG whose pixels are noise", png[:33] + chunk(b"IDAT", b"noise" * 99) + chunk(b"IEND"), "image/png"),
        Strange("PNG with a wrong checksum", png[:30] + b"\0\0\0" + png[33:], "image/png"),
        Strange("WebP's beginning alone", b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        Strange("WebP of noise", b"RIFF\xff\xff\xff\x7fWEBPVP8L" + b"noise" * 99, "image/webp"),
    ]


def _black() -> Image.Image:
    return Image.new("RGB", SCENE.size)


def _resized(jpeg: bytes, width_px: int, height_px: int) -> bytes:
    """A JPEG that says it has another size."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height_px, width_px) + jpeg[at + 4 :]


def _png_header(width_px: int, height_px: int) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return _PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND")
