"""Photos for a training: labels, augmentation and batches that depend on nothing but (seed, epoch, batch, place).

Because every random choice is drawn from these, a training killed in the middle of an epoch goes on exactly as if it
had not been, and several processes that share a batch see the photos that one would have: nothing about the loader has
to be saved or agreed upon.

Shapes: pixels_nchw uint8 [N, 3, px, px]; labels_n int64 [N], index of the count's key; shares_nk float [N, K], how much
of each label is in a mixed photo.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from bintally.data.balance import BalanceSettings, balanced_indices
from bintally.training import ranks
from bintally.training.cache import PhotoCache
from bintally.training.mixing import Mixing
from bintally.training.recipe import AugmentSettings

AHEAD: Final = 4
"""Batches that each loader process has ready."""

GREY: Final = (124, 116, 104)
"""What fills the corners of a turned photo: ImageNet's mean, nothing to a network."""


class Part(NamedTuple):
    """A process's part of a batch: the seed of the batch's random choices, its photos, and which of them are meant."""

    seed: int
    photos: list[int]
    first: int
    stop: int


BatchIndex: TypeAlias = tuple[int, list[int]] | Part
"""The seed of a batch's random choices, and its photos; or a part of them."""


class PhotoDataset(Dataset[tuple[Tensor, Tensor]]):
    """Cached photos with their labels, by whole batches: `dataset[seed, indices]` is (pixels_nchw, labels_n).

    With `mixing`, (pixels_nchw, shares_nk).
    """

    def __init__(
        self,
        cache: PhotoCache,
        table: pl.DataFrame,
        keys: Sequence[str],
        transform: v2.Transform | None,
        mixing: Mixing | None = None,
    ) -> None:
        self.labels_n = labels_of(table, keys)
        self._cache = cache
        self._rows_n = cache.rows(table["sha256"].to_list())
        self._transform, self._mixing = transform, mixing

    def __len__(self) -> int:
        return len(self.labels_n)

    def __getitem__(self, index: BatchIndex) -> tuple[Tensor, Tensor]:
        seed, photos, first, stop = whole(index)
        places = range(first, stop)
        if self._mixing is not None:  # each is mixed with the one before it
            places = range(first - 1, stop)
        chosen = [photos[place] for place in places]  # -1: the batch's last
        pixels_nchw = torch.from_numpy(self._cache.read(self._rows_n[chosen])).permute(0, 3, 1, 2)
        if self._transform is not None:
            with torch.random.fork_rng(devices=[]):
                views = []
                for place, photo_chw in zip(places, pixels_nchw, strict=True):
                    torch.manual_seed(seed_of(seed, place % len(photos)))
                    views.append(self._transform(photo_chw))
                pixels_nchw = torch.stack(views)
        labels_n = torch.from_numpy(self.labels_n[chosen])
        if self._mixing is None:
            return pixels_nchw, labels_n
        # On the CPU, though a GPU would be faster: photos stay bytes on their way, and loader processes share the work.
        mixed_nchw, shares_nk = self._mixing(pixels_nchw, labels_n, seed)
        return mixed_nchw[1:], shares_nk[1:]


class EpochBatches(Sampler[Part]):
    """Batches of one epoch after the other, balanced as asked; `start_at` says how many steps are already done.

    Every epoch has the same number of batches (the last, smaller one is left out where there are others). Where several
    processes train together, each gets its part of every batch.
    """

    def __init__(
        self, labels_n: NDArray[np.int64], keys: Sequence[str], *, batch_size: int, balance: BalanceSettings, seed: int
    ) -> None:
        self._labels_n, self._keys, self._balance = labels_n, keys, balance
        self._batch_size, self._seed = batch_size, seed
        self._epoch, self._first = 0, 0
        self._batches = max(len(self._order(0)) // batch_size, 1)

    def start_at(self, step: int) -> None:
        """Goes on after `step` batches since the start of the training."""
        self._epoch, self._first = divmod(step, self._batches)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Part]:
        # Counted on before the first batch: whoever knows the length takes the last one and never asks for the end.
        epoch, first = self._epoch, self._first
        self._epoch, self._first = epoch + 1, 0
        order = self._order(epoch)
        for batch in range(first, self._batches):
            chosen = order[batch * self._batch_size : (batch + 1) * self._batch_size].tolist()
            own = ranks.part(len(chosen))
            yield Part(seed_of(self._seed, epoch, batch), chosen, own.start, own.stop)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return balanced_indices(
            self._labels_n, keys=tuple(self._keys), settings=self._balance, seed=self._seed, epoch=epoch
        )


def loader(dataset: Dataset[Any], batches: Iterable[Any], *, workers: int = 0) -> DataLoader[Any]:
    """A loader that hands out whole batches as `batches` names them (`BatchIndex` or `BinIndex`).

    Its processes live as long as it does, and work ahead; what is in a batch was drawn in this process, and its random
    choices from its seed, so that their number changes nothing. On Linux they are forked: they share the cached photos.
    """
    return DataLoader(
        dataset,
        sampler=batches,  # any iterable of indices is one; an index here is a whole batch
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or each epoch would draw from the random state that dropout draws from
    )


def plain_batches(photos: int, batch_size: int) -> list[BatchIndex]:
    """All photos in order, for validation: nothing random, nothing left out. Each process has its part of them."""
    own = ranks.part(photos)
    return [
        (0, list(range(start, min(start + batch_size, own.stop)))) for start in range(own.start, own.stop, batch_size)
    ]


def whole(index: BatchIndex) -> Part:
    """An index with its part said: all of it, where there is none."""
    return index if isinstance(index, Part) else Part(index[0], index[1], 0, len(index[1]))


def seed_of(*numbers: int) -> int:
    """One 63-bit seed from several numbers; neighbouring ones give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def labels_of(table: pl.DataFrame, keys: Sequence[str]) -> NDArray[np.int64]:
    """Index into `keys` of each row's `count_key`."""
    index = {key: label for label, key in enumerate(keys)}
    return np.array([index[key] for key in table["count_key"]], dtype=np.int64)


def augmentation(settings: AugmentSettings, px: int) -> v2.Transform:
    """Random views of one photo, uint8 [3, cache_px, cache_px] -> uint8 [3, px, px]; none of them changes the count."""
    aspect = settings.crop_aspect
    steps: list[Any] = []
    if settings.rotate:
        steps.append(v2.RandomRotation(settings.rotate, v2.InterpolationMode.BILINEAR, fill=list(GREY)))
    steps += [
        v2.RandomResizedCrop(px, scale=(settings.crop_min_area, 1.0), ratio=(1 / aspect, aspect), antialias=True)
        if settings.crop_min_area < 1 or aspect > 1
        else v2.Resize((px, px), antialias=True),
        v2.RandomHorizontalFlip(settings.flip),
    ]
    return v2.Compose(steps + colours(settings))


def colours(settings: AugmentSettings) -> list[Any]:
    """What may happen to a photo beside where it is cut."""
    steps: list[Any] = []
    if settings.rand_augment:
        steps.append(v2.RandAugment(settings.rand_augment, settings.rand_magnitude))
    if settings.brightness or settings.contrast or settings.saturation:
        steps.append(v2.ColorJitter(settings.brightness, settings.contrast, settings.saturation))
    if settings.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.2))], p=settings.blur))
    if settings.erase:
        steps.append(v2.RandomErasing(settings.erase, scale=(0.02, 0.1)))
    return steps
