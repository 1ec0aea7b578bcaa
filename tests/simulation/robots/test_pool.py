"""Every photo that is sent has bytes of its own and shows the same as the picture it was made of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bintally.errors import DataError, PhotoError, UsageError
from bintally.photos import open_image
from bintally.simulation.robots.pool import Pool
from tests.bundles import bin_photo


def test_photos_have_names_of_their_own_and_show_the_same(pool: Pool) -> None:
    one, other = pool.photo(3, "one"), pool.photo(3, "other")
    assert one != other
    pixels = [np.asarray(open_image(photo)) for photo in (one, other)]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == np.asarray(open_image(bin_photo(3, image_format="JPEG")))).all()


def test_a_damaged_photo_can_not_be_read(pool: Pool) -> None:
    with pytest.raises(PhotoError):
        open_image(pool.photo(3, "one", is_damaged=True))


def test_rendered_bins_come_with_their_records_and_follow_from_the_seed() -> None:
    one, other = Pool.rendered(seed=1, photos=3), Pool.rendered(seed=1, photos=3)
    assert len(one) == 3
    for picture in range(3):
        assert one.photo(picture, "x") == other.photo(picture, "x")
        assert one.recorded_count(picture) >= 0
        open_image(one.photo(picture, "x"))


def test_a_folders_photos_become_jpegs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bin_photo(2))
    Image.open(tmp_path / "a.png").save(tmp_path / "b.webp", lossless=True)
    (tmp_path / "c.jpg").write_bytes(bin_photo(2, image_format="JPEG"))
    pool = Pool.of_folder(tmp_path)
    assert len(pool) == 3
    for picture in range(3):
        assert pool.photo(picture, "x").startswith(b"\xff\xd8\xff")
        open_image(pool.photo(picture, "x"))


def test_without_photos_there_is_nothing_to_send(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photo"):
        Pool.of_folder(tmp_path)
    with pytest.raises(UsageError):
        Pool.of_folder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no photos"):
        Pool([])
    (tmp_path / "a.png").write_bytes(b"no photo")
    with pytest.raises(PhotoError):
        Pool.of_folder(tmp_path)
