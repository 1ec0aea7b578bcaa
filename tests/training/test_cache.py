import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bintally.counting.decode import decode
from bintally.errors import DataError
from bintally.manifest import SPLIT, Manifest
from bintally.training.cache import PhotoCache


def test_cached_pixels_are_the_ones_that_serving_sees(data: Path) -> None:
    table = Manifest.read(data, SPLIT).usable("val")
    cache = PhotoCache.build(data, table, px=48)
    pixels_nhwc = cache.read(cache.rows(table["sha256"].to_list()))
    for path, pixels_hwc in zip(table["path"], pixels_nhwc, strict=True):
        assert np.array_equal(pixels_hwc, decode((data / path).read_bytes(), height_px=48, width_px=48))


def test_second_build_reuses_the_first(data: Path) -> None:
    table = Manifest.read(data, SPLIT).usable("val")
    PhotoCache.build(data, table, px=40)
    [folder] = (data / "cache").glob("40px-*")
    before = (folder / "pixels.u8").stat().st_mtime_ns
    assert len(PhotoCache.build(data, table, px=40)) == table["sha256"].n_unique()
    assert (folder / "pixels.u8").stat().st_mtime_ns == before


def test_mapped_and_loaded_caches_read_alike(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Manifest.read(data, SPLIT).usable("val")
    rows = np.array([3, 0, 2])
    loaded = PhotoCache.build(data, table, px=40).read(rows)
    monkeypatch.setattr("bintally.training.cache.available_memory", lambda: 0)
    assert np.array_equal(PhotoCache.build(data, table, px=40).read(rows), loaded)


def test_photo_that_was_broken_since_check_is_named(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("cache"))
    table = Manifest.read(copy, SPLIT).usable("val")
    (copy / table["path"][0]).write_bytes(b"\xff\xd8 no more")
    with pytest.raises(DataError, match="bintally check"):
        PhotoCache.build(copy, table, px=48)
    assert not list((copy / "cache").glob("48px-*"))


def test_full_disk_leaves_no_cache_and_says_so(data: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the kernel refuses the write in the same place."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from bintally.manifest import *; from bintally.training.cache import PhotoCache\n"
        "from bintally.errors import StorageError\n"
        "data = Path(sys.argv[1]); table = Manifest.read(data, SPLIT).usable('train')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: PhotoCache.build(data, table, px=52)\n"
        "except StorageError as error: sys.exit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data)], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert "No space left" in done.stderr, done.stderr
    assert not list((data / "cache").glob("*52px*"))


def test_a_folder_that_grew_decodes_its_new_photos_only(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("cache"))
    table = Manifest.read(copy, SPLIT).usable("val")
    before = PhotoCache.build(copy, table.head(10), px=36)
    pixels_nhwc = before.read(before.rows(table["sha256"].head(10).to_list()))
    for path in table["path"].head(10):
        (copy / path).unlink()  # decoding one again would fail
    grown = PhotoCache.build(copy, table, px=36)
    assert np.array_equal(grown.read(grown.rows(table["sha256"].head(10).to_list())), pixels_nhwc)
    assert len(list((copy / "cache").glob("36px-*"))) == 1, "the smaller one holds nothing more"


def test_a_cache_that_holds_more_photos_will_do(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("cache"))
    table = Manifest.read(copy, SPLIT).usable("val")
    whole = PhotoCache.build(copy, table, px=36)
    part = PhotoCache.build(copy, table.tail(4), px=36)
    digests = table["sha256"].tail(4).to_list()
    assert np.array_equal(part.read(part.rows(digests)), whole.read(whole.rows(digests)))
    assert len(list((copy / "cache").glob("36px-*"))) == 1
