"""What a training is fed: photos one by one, whole bins, or the features of a frozen backbone; and val to judge by."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from bintally.progress import Progress
from bintally.training.attributes import Attributes
from bintally.training.beside import BesideLoss, ValPairs
from bintally.training.bins import BinDataset, BinViews
from bintally.training.cache import PhotoCache
from bintally.training.dataset import EpochBatches, PhotoDataset, augmentation, labels_of
from bintally.training.features import FeatureDataset, FeatureHead, kept_features, linear_head
from bintally.training.loop import uses_bf16
from bintally.training.mixing import Mixing
from bintally.training.module import CountModule
from bintally.training.network import CountNetwork, frozen_norms
from bintally.training.pairs import (
    EARLIER_COUNTS,
    BinBatches,
    History,
    Pairing,
    change_column,
    neighbours,
    unchanged_weight,
    with_unchanged,
)
from bintally.training.plan import Plan
from bintally.training.teachers import Teachers


@dataclass(frozen=True)
class Feed:
    """One training's photos, and what of the network learns from them."""

    learning: nn.Module
    train: Dataset[Any]
    batches: EpochBatches | BinBatches
    val: PhotoDataset | FeatureDataset
    frozen: tuple[nn.Module, ...] = ()
    beside: BesideLoss | None = None


def feed_of(plan: Plan, network: CountNetwork, progress: Progress) -> Feed:
    """The feed a recipe asks for.

    Raises:
        BackboneError: only the head is to learn, and it is no linear layer.
    """
    if plan.recipe.network.tune == "head":
        return _features(plan, network, progress)
    if plan.recipe.network.tells:
        return _bins(plan, network, progress)
    return _photos(plan, network, progress)


def module_of(
    plan: Plan, network: CountNetwork, feed: Feed, teachers: Teachers | None, *, average: float = 0.0
) -> CountModule:
    """What Lightning trains, or whoever tries out a step of it."""
    recipe = plan.recipe
    return CountModule(
        feed.learning,
        network.heads(),
        plan.loss(),
        plan.target,
        recipe.optimizer,
        steps=recipe.loop.epochs * len(feed.batches),
        frozen=list(feed.frozen),
        average=average,
        teachers=teachers,
        replayed=feed.train[0, [0] * recipe.loop.batch_size][0] if recipe.loop.cuda_graph else None,
        beside=feed.beside,
    )


def _features(plan: Plan, network: CountNetwork, progress: Progress) -> Feed:
    train, val = (
        _feature_set(plan, network, table, flip, progress)
        for table, flip in ((plan.train, plan.recipe.augment.flip), (plan.val, 0.0))
    )
    head = FeatureHead(linear_head(network), plan.recipe.network.drop_rate, train.features_nvf)
    return Feed(head, train, _epochs(plan), val)


def _feature_set(plan: Plan, network: CountNetwork, table: Any, flip: float, progress: Progress) -> FeatureDataset:
    features_nvf = kept_features(
        network,
        plan.data,
        table,
        px=plan.recipe.input.px,
        mirrored=flip > 0,
        bf16=uses_bf16(plan.recipe.loop.precision),
        progress=progress,
    )
    return FeatureDataset(features_nvf, labels_of(table, plan.keys), flip=flip)


def _photos(plan: Plan, network: CountNetwork, progress: Progress) -> Feed:
    recipe = plan.recipe
    train = PhotoDataset(
        PhotoCache.build(plan.data, plan.train, px=recipe.input.cache_px, progress=progress),
        plan.train,
        plan.keys,
        augmentation(recipe.augment, recipe.input.px),
        Mixing(recipe.augment, len(plan.keys)) if recipe.augment.mixes else None,
    )
    return Feed(network, train, _epochs(plan), _val(plan, progress), tuple(frozen_norms(network)))


def _bins(plan: Plan, network: CountNetwork, progress: Progress) -> Feed:
    recipe = plan.recipe
    labels_n = labels_of(plan.train, plan.keys)
    history = History.of(plan.train, recipe.pairs)
    batches = BinBatches(
        labels_n,
        plan.keys,
        history,
        batch_size=recipe.loop.batch_size,
        balance=recipe.balance,
        unchanged=recipe.pairs.unchanged,
        seed=recipe.seed,
    )
    keep_k = np.array([recipe.balance.keep.get(key, 1.0) for key in plan.keys], np.float32)
    is_paired_n = np.isin(np.arange(len(labels_n)), history.paired)
    pairing = Pairing(
        history,
        Attributes.read(plan.data, plan.train),
        photo_weights_n=np.where(is_paired_n, keep_k[labels_n], np.float32(1.0)),
        unchanged=recipe.pairs.unchanged,
        unchanged_weight=unchanged_weight(recipe.pairs.unchanged, len(history.alike), batches.looks),
    )
    train = BinDataset(
        PhotoCache.build(plan.data, plan.train, px=recipe.input.cache_px, progress=progress),
        plan.train,
        plan.keys,
        BinViews(recipe.augment, recipe.input.px),
        pairing,
    )
    beside = BesideLoss(change=recipe.loss.change, record=recipe.loss.record, val=_val_pairs(plan, history))
    return Feed(network, train, batches, _val(plan, progress), tuple(frozen_norms(network)), beside)


def _val_pairs(plan: Plan, history: History) -> ValPairs:
    """Val's neighbours, whatever their records say; what is known without any photo comes from train."""
    earlier_p, later_p = neighbours(plan.val)
    counts_n = plan.val["recorded_count"].to_numpy()
    table_bd = with_unchanged(history.table(), plan.recipe.pairs.unchanged)
    rows_p = np.minimum(counts_n[earlier_p], EARLIER_COUNTS - 1)
    changes_p = [change_column(change) for change in counts_n[later_p] - counts_n[earlier_p]]
    return ValPairs(
        earlier_p=torch.from_numpy(earlier_p),
        later_p=torch.from_numpy(later_p),
        changes_p=torch.tensor(changes_p, dtype=torch.int64),
        log_prior_pd=torch.from_numpy(np.log(table_bd[rows_p] + 1e-6)).float(),
    )


def _val(plan: Plan, progress: Progress) -> PhotoDataset:
    cache = PhotoCache.build(plan.data, plan.val, px=plan.recipe.input.px, progress=progress)
    return PhotoDataset(cache, plan.val, plan.keys, None)


def _epochs(plan: Plan) -> EpochBatches:
    return EpochBatches(
        labels_of(plan.train, plan.keys),
        plan.keys,
        batch_size=plan.recipe.loop.batch_size,
        balance=plan.recipe.balance,
        seed=plan.recipe.seed,
    )
