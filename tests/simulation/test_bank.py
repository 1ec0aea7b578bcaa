"""The photo bank: what is drawn shows the counts that are asked for, and errors run on along a bin's photos."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bintally.errors import DataError
from bintally.inventory.judging.how import How
from bintally.manifest import SPLIT, Manifest
from bintally.settings import BUNDLED_CHAMPION
from bintally.simulation.bank import KINDS, PhotoBank
from bintally.simulation.bank_made import SHIPPED, bank_of, make_bank
from bintally.simulation.likeness import likeness
from tests.bundles import bin_photo
from tests.simulation.banks import certain, stubborn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen bins of three photos; the records of the last five bins' photos share no product; one photo is broken."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "bin-images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(15):
        count = int(rng.integers(1, 6))
        for place in range(3):
            name = f"{number:03}{place}"
            path = folder / "bin-images" / f"{name}.png"
            path.write_bytes(b"broken" if name == "0000" else bin_photo(count + rng.normal(0, 0.3), seed=number))
            rows.append(
                {
                    "bin_image_id": name,
                    "path": f"bin-images/{name}.png",
                    "recorded_count": count,
                    "product_ids": [f"P{number}"] if number < 10 else [f"P{name}"],
                    "quarantine": [],
                    "group": f"g{number:03}",
                    "split": "test",
                }
            )
            count = max(count + int(rng.integers(-1, 2)), 0)
    Manifest.build(folder, rows).write(SPLIT)
    return folder


@pytest.fixture(scope="module")
def made(how: How, data: Path) -> PhotoBank:
    return make_bank(how.counter, data, split="test")


def test_all_readable_photos_and_true_pairs_are_in_it(made: PhotoBank) -> None:
    kinds = {name: int((made.kind_n == place).sum()) for place, name in enumerate(KINDS)}
    assert kinds == {"photo": 44, "backwards": 19, "again": 29}  # ten bins, less a broken photo
    forwards = made.previous_n[(made.kind_n == 0) & (made.previous_n >= 0)]
    assert len(forwards) == 19
    assert made.about.startswith("44 test photos and 19 pairs")


def test_pairs_are_of_one_bin_and_photos_taken_again_of_one_photo(made: PhotoBank) -> None:
    rows = np.flatnonzero(made.previous_n >= 0)
    before = made.previous_n[rows]
    assert (made.group_n[rows] == made.group_n[before]).all()
    again = made.kind_n[rows] == KINDS.index("again")
    assert (made.count_n[rows][again] == made.count_n[before][again]).all()
    assert (made.kind_n[before] == 0).all()
    assert np.abs(made.evidence_nd[rows]).sum() > 0


def test_the_counter_says_the_same_of_a_photo(made: PhotoBank, how: How, data: Path) -> None:
    table = Manifest.read(data).usable("test").sort("group", "bin_image_id").filter(pl.col("bin_image_id") != "0000")
    for row, path in list(enumerate(table["path"]))[:5]:
        told, seen = how.counter.count(data / path), made.estimate(row, how.card)
        assert told.probabilities == pytest.approx(seen.probabilities, abs=1e-6)
        assert (told.count, told.count_set, told.abstain) == (seen.count, seen.count_set, seen.abstain)
        assert told.expected_count == pytest.approx(seen.expected_count, abs=1e-5)


def test_it_is_the_same_read_again(made: PhotoBank, tmp_path: Path) -> None:
    made.write(tmp_path / "bank.parquet")
    held = PhotoBank.read(tmp_path / "bank.parquet")
    assert held.digest() == made.digest()
    assert (held.model, held.about, held.abstain) == (made.model, made.about, made.abstain)
    (tmp_path / "bank.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is no photo bank"):
        PhotoBank.read(tmp_path / "bank.parquet")


def test_it_is_made_once_for_a_model_and_photos(
    how: How, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINTALLY_CACHE", str(tmp_path))
    first = bank_of(how, data)
    [kept] = (tmp_path / "simulation").glob("*.parquet")
    written = kept.stat().st_mtime_ns
    assert bank_of(how, data).digest() == first.digest()
    assert kept.stat().st_mtime_ns == written


def test_a_drawn_photo_shows_what_the_bin_holds(how: How) -> None:
    bank = certain(how.card)
    drawn, count = bank.first(3, 0.2), 3
    for now in (2, 2, 8, 0, 1):
        drawn, before = bank.next(drawn.photo, count, now, 0.7), drawn
        assert bank.count_n[drawn.photo] == now
        assert bank.count_n[bank.previous_n[drawn.photo]] == count
        assert drawn.source == ("taken again" if now == count else "pair")
        assert drawn != before
        count = now


def test_without_a_pair_of_two_counts_the_photo_tells_alone(made: PhotoBank) -> None:
    drawn = made.next(0, 0, 5, 0.5)
    assert drawn.source == "alone"
    assert drawn.evidence_d is None
    assert made.count_n[drawn.photo] == 5


def test_a_bin_that_is_seen_wrongly_stays_so(how: How) -> None:
    """Two families of photos, one of which always seems to hold one item more: a bin never changes its family."""
    bank = stubborn(how.card)
    for family in (0, 1):
        drawn = next(
            each for luck in np.linspace(0, 0.99, 20) if bank.group_n[(each := bank.first(3, luck)).photo] == family
        )
        for before, now, luck in ((3, 2, 0.1), (2, 4, 0.9), (4, 4, 0.5), (4, 1, 0.3)):
            drawn = bank.next(drawn.photo, before, now, luck)
            assert bank.group_n[drawn.photo] == family
    told = likeness(bank, how.card)
    assert told.walked_1 is not None
    assert told.walked_1 > 0.5


def test_the_shipped_bank_is_the_bundled_models(bundle: Path) -> None:
    bank = bank_of(How.open(BUNDLED_CHAMPION), None)
    assert bank.digest() == PhotoBank.read(SHIPPED).digest()
    assert (bank.kind_n == 0).sum() == 1567
    np.testing.assert_allclose(bank.probabilities_nk.sum(axis=1), 1.0, atol=1e-3)
    photos = (bank.kind_n == 0) & (bank.count_n > 0) & (bank.count_n < 6)
    right = 1 + bank.probabilities_nk[photos, 1:6].argmax(axis=1) == bank.count_n[photos]
    assert right.mean() == pytest.approx(0.455, abs=0.002)  # as docs/results.md has it
    with pytest.raises(DataError, match="--data FOLDER"):
        bank_of(How.open(bundle), None)
