"""A small data folder as fetch leaves it: drawn photos, records in ABID's shape, a manifest."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bintally.manifest import FETCHED, Manifest
from bintally.metadata import metadata_json
from bintally.records import BinRecord, Product


def draw_photo(seed: int, *, size_px: tuple[int, int] = (320, 288)) -> Image.Image:
    """Boxes on a noisy ground with uneven light: a photo's texture and edges, and no two neighbouring cells alike."""
    rng = np.random.default_rng(seed)
    light = Image.fromarray(rng.uniform(40, 200, (6, 7)).astype(np.float32)).resize(size_px, Image.Resampling.BICUBIC)
    ground = np.asarray(light)[..., None] + rng.normal(0, 8, (size_px[1], size_px[0], 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, w, h = (int(v) for v in rng.integers(0, [size_px[0], size_px[1], 70, 70]))
        draw.rectangle((x, y, x + w, y + h), fill=tuple(int(v) for v in rng.integers(20, 235, 3)))
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def record(name: str, quantities: Sequence[int], *, expected: int | None = None, prefix: str = "B") -> BinRecord:
    products = tuple(
        Product(f"{prefix}{name}{number}", f"thing {number}", quantity, 1.5, 8.0, 4.0, 0.7)
        for number, quantity in enumerate(quantities)
    )
    return BinRecord(name, sum(quantities) if expected is None else expected, products)


class BinFolder:
    """Collects rows; `write` makes the manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, object]] = []
        for part in ("bin-images", "metadata"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        photo: bytes | Image.Image,
        *,
        count: int | None = 2,
        metadata: BinRecord | bytes | None = None,
        suffix: str = ".jpg",
        **columns: object,
    ) -> "BinFolder":
        data = photo if isinstance(photo, bytes) else encoded(photo)
        path = f"bin-images/{name}{suffix}"
        (self.folder / path).write_bytes(data)
        row: dict[str, object] = {
            "bin_image_id": name,
            "path": path,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "recorded_count": count,
            "count_source": None if count is None else "labels",
        }
        if metadata is not None:
            row |= self._with_record(name, metadata)
        self.rows.append(row | columns)
        return self

    def write(self) -> Path:
        Manifest.build(self.folder, self.rows).write(FETCHED)
        return self.folder

    def _with_record(self, name: str, metadata: BinRecord | bytes) -> dict[str, object]:
        path = f"metadata/{name}.json"
        (self.folder / path).write_bytes(metadata if isinstance(metadata, bytes) else metadata_json(metadata))
        known: dict[str, object] = {"metadata_path": path, "count_source": "metadata"}
        if isinstance(metadata, BinRecord):
            known |= {
                "recorded_count": metadata.recorded_count,
                "product_ids": [product.asin for product in metadata.products],
            }
        return known
