import itertools
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bintally.data.balance import BalanceSettings
from bintally.manifest import SPLIT, Manifest
from bintally.records import COUNT_KEYS
from bintally.training.cache import PhotoCache
from bintally.training.dataset import EpochBatches, Part, PhotoDataset, augmentation, loader, plain_batches
from bintally.training.mixing import Mixing
from bintally.training.recipe import AugmentSettings


def _batches(photos: int, batch_size: int, *, seed: int = 0, method: str = "none") -> EpochBatches:
    labels_n = np.arange(photos, dtype=np.int64) % 3
    balance = BalanceSettings.of({"method": method})
    return EpochBatches(labels_n, COUNT_KEYS, batch_size=batch_size, balance=balance, seed=seed)


@given(photos=st.integers(4, 60), batch_size=st.integers(1, 16), done=st.integers(0, 40))
def test_training_goes_on_with_the_very_batches_it_would_have_had(photos: int, batch_size: int, done: int) -> None:
    straight, resumed = _batches(photos, batch_size), _batches(photos, batch_size)
    epochs = done // len(straight) + 2
    all_batches = list(itertools.chain.from_iterable(list(straight) for _ in range(epochs)))
    resumed.start_at(done)
    rest = list(itertools.chain.from_iterable(list(resumed) for _ in range(epochs - done // len(straight))))
    assert rest == all_batches[done:]


def test_an_epoch_sees_each_photo_once_and_the_next_in_another_order() -> None:
    batches = _batches(64, 8)
    first, second = ([photo for batch in batches for photo in batch.photos] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(64))
    assert first != second


def test_an_epoch_left_after_its_last_batch_is_over() -> None:
    """Lightning takes as many batches as there are and drops the iterator: every epoch was the first one once."""
    batches = _batches(64, 8)
    first, second = (list(itertools.islice(iter(batches), len(batches))) for _ in range(2))
    assert first != second


def test_seeds_of_batches_differ() -> None:
    batches = _batches(64, 8)
    seeds = [batch.seed for _ in range(3) for batch in batches]
    assert len(set(seeds)) == len(seeds)


def test_balanced_epochs_are_balanced() -> None:
    labels_n = np.array([0] * 30 + [1] * 6 + [2] * 12)
    batches = EpochBatches(
        labels_n, COUNT_KEYS, batch_size=6, balance=BalanceSettings.of({"method": "undersample"}), seed=1
    )
    chosen = [photo for batch in batches for photo in batch.photos]
    assert np.bincount(labels_n[chosen]).tolist() == [6, 6, 6]


def test_fewer_photos_than_a_batch_still_make_one() -> None:
    assert [len(batch.photos) for batch in _batches(5, 32)] == [5]


def test_parts_of_a_batch_are_what_the_whole_batch_holds(data: Path) -> None:
    """Each photo's random choices are its own, and it is mixed with the same one before it."""
    table = Manifest.read(data, SPLIT).usable("train")
    settings = AugmentSettings(saturation=0.3, rotate=5, mixup=0.4, cutmix=1.0)
    cache = PhotoCache.build(data, table, px=72)
    for mixing in (None, Mixing(settings, len(COUNT_KEYS))):
        dataset = PhotoDataset(cache, table, COUNT_KEYS, augmentation(settings, 64), mixing)
        photos = [5, 1, 7, 3, 2]
        pixels_nchw, labels = dataset[9, photos]
        parts = [dataset[Part(9, photos, first, stop)] for first, stop in ((0, 2), (2, 3), (3, 5))]
        assert torch.equal(torch.cat([part for part, _ in parts]), pixels_nchw)
        assert torch.equal(torch.cat([part for _, part in parts]), labels)


def test_augmentation_depends_on_the_seed_alone(data: Path) -> None:
    table = Manifest.read(data, SPLIT).usable("val")
    cache = PhotoCache.build(data, table, px=72)
    settings = AugmentSettings(saturation=0.3, blur=0.5, rand_augment=2, erase=0.5)
    dataset = PhotoDataset(cache, table, COUNT_KEYS, augmentation(settings, 64))
    (first, labels_n), _ = dataset[5, [0, 1, 2]], torch.rand(3)
    again, _ = dataset[5, [0, 1, 2]]
    other, _ = dataset[6, [0, 1, 2]]
    assert first.shape == (3, 3, 64, 64)
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert [COUNT_KEYS[label] for label in labels_n.tolist()] == table["count_key"][:3].to_list()


def test_no_augmentation_is_no_change(data: Path) -> None:
    table = Manifest.read(data, SPLIT).usable("val")
    cache = PhotoCache.build(data, table, px=72)
    still = AugmentSettings(flip=0, crop_min_area=1, crop_aspect=1, brightness=0, contrast=0)
    augmented, _ = PhotoDataset(cache, table, COUNT_KEYS, augmentation(still, 72))[1, [0, 1]]
    plain, _ = PhotoDataset(cache, table, COUNT_KEYS, None)[1, [0, 1]]
    assert torch.equal(augmented, plain)


def test_loader_hands_out_whole_batches(data: Path) -> None:
    table = Manifest.read(data, SPLIT).usable("train")
    dataset = PhotoDataset(PhotoCache.build(data, table, px=48), table, COUNT_KEYS, None)
    shapes = [tuple(pixels.shape) for pixels, _ in loader(dataset, plain_batches(len(dataset), 40))]
    assert sum(shape[0] for shape in shapes) == table.height
    assert {shape[1:] for shape in shapes} == {(3, 48, 48)}
