import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bintally.counting.counter import Counter
from bintally.counting.overlay import COARSE, GRID, LONGEST_PX, REFINED, Overlay, look, painted
from tests.bundles import make_bundle

HEIGHT_PX, WIDTH_PX = 32, 48


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Counter:
    """Reads the count off the mean brightness: 40, 70, 100 ... are 0, 1, 2 ..."""
    return Counter(make_bundle(tmp_path_factory.mktemp("overlay") / "tiny"), threads=1)


def lit(row: int, column: int, *, background: int = 60, light: int = 250) -> NDArray[np.uint8]:
    """A dark photo, bright in one of 4 x 4 blocks."""
    pixels_hwc = np.full((HEIGHT_PX, WIDTH_PX, 3), background, np.uint8)
    high, wide = HEIGHT_PX // COARSE, WIDTH_PX // COARSE
    pixels_hwc[row * high : (row + 1) * high, column * wide : (column + 1) * wide] = light
    return pixels_hwc


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 3)])
def test_the_tiles_that_make_the_count_are_found(counter: Counter, row: int, column: int) -> None:
    overlay = look(counter, lit(row, column))
    drops = np.array(overlay.drops)
    strongest = {divmod(int(place), GRID) for place in np.argsort(-np.abs(drops), axis=None)[:4]}
    each = GRID // COARSE
    assert strongest == {(each * row + down, each * column + right) for down in range(each) for right in range(each)}


def test_a_tile_drops_the_probability_by_as_much_as_painting_it_over_does(counter: Counter) -> None:
    pixels_hwc = lit(1, 2)
    overlay = look(counter, pixels_hwc)
    best = counter.keys.index(overlay.key)
    copy = pixels_hwc.copy()
    tile = (slice(2 * 4, 3 * 4), slice(4 * 6, 5 * 6))
    copy[tile] = pixels_hwc.mean(axis=(0, 1)).round()
    before, after = (counter.distribution(each[None])[0][0, best] for each in (pixels_hwc, copy))
    assert overlay.probability == pytest.approx(float(before), abs=1e-4)
    assert overlay.drops[2][4] == pytest.approx(float(before - after), abs=1e-4)


def test_what_shows_nothing_speaks_for_nothing(counter: Counter) -> None:
    overlay = look(counter, np.full((HEIGHT_PX, WIDTH_PX, 3), 100, np.uint8))
    assert np.array(overlay.drops).shape == (GRID, GRID)
    assert not np.any(overlay.drops)


def test_the_counts_that_are_asked_about_are_heeded(counter: Counter) -> None:
    assert look(counter.restricted("0,6+"), lit(0, 0)).key == "0"


def test_it_can_be_ended_between_inferences(counter: Counter) -> None:
    calls = 0

    def go_on() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        look(counter, lit(0, 0), go_on=go_on)
    calls = -10_000
    look(counter, lit(0, 0), go_on=go_on)
    assert calls + 10_000 == (COARSE**2 + REFINED * (GRID // COARSE) ** 2) / 4, "four copies in each inference"


def overlay_of(drops: NDArray[np.float64]) -> Overlay:
    return Overlay(key="3", probability=0.9, drops=tuple(map(tuple, drops.tolist())), model="tiny")


def test_orange_speaks_for_the_count_and_blue_against_it() -> None:
    drops = np.zeros((GRID, GRID))
    drops[:, :2], drops[:, -2:] = 0.5, -0.5
    picture = Image.open(io.BytesIO(painted(Image.new("RGB", (160, 120), (128, 128, 128)), overlay_of(drops))))
    assert (picture.format, picture.size) == ("PNG", (160, 120))
    left, middle, right = (picture.convert("RGB").getpixel((x, 60)) for x in (5, 80, 155))
    assert isinstance(left, tuple) and isinstance(right, tuple)
    assert left[0] > left[2] + 50
    assert middle == (128, 128, 128)
    assert right[2] > right[0] + 30


def test_a_photo_in_which_nothing_matters_is_not_coloured_in(tmp_path: Path) -> None:
    drops = np.full((GRID, GRID), 1e-4)
    picture = Image.open(io.BytesIO(painted(Image.new("RGB", (2000, 1000), (128, 128, 128)), overlay_of(drops))))
    assert picture.size == (LONGEST_PX, LONGEST_PX // 2)
    assert np.ptp(np.asarray(picture)) <= 2
