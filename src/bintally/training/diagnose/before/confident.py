"""Confident learning: which labels are likely wrong, from probabilities of a model that never saw them.

Source: Northcutt et al. 2021, "Confident learning: estimating uncertainty in dataset labels", arXiv:1911.00068.
Shapes: probabilities_nk float [N, K], out of sample; labels_n int64 [N], as recorded; joint_kk [K, K], a row a recorded
label, a column a likely one.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def likely_labels(probabilities_nk: Floats, labels_n: Indices) -> Indices:
    """The label [N] that each photo is confidently of; -1 where it is of none.

    Confidently of k: its probability of k is at least the mean one of the photos labelled k (section 3.1), which makes
    up for a model that is surer of some labels than of others. Of several, the most probable.
    """
    above_nk = probabilities_nk >= thresholds(probabilities_nk, labels_n)
    best_n = np.where(above_nk, probabilities_nk, -1.0).argmax(axis=1)
    return np.where(above_nk.any(axis=1), best_n, -1).astype(np.int64)


def thresholds(probabilities_nk: Floats, labels_n: Indices) -> Floats:
    """The mean probability [K] of each label among the photos that carry it; infinite for a label that none carries."""
    photos_k = np.bincount(labels_n, minlength=probabilities_nk.shape[1])
    sums_k = np.bincount(labels_n, probabilities_nk[np.arange(len(labels_n)), labels_n], probabilities_nk.shape[1])
    return np.where(photos_k > 0, sums_k / np.maximum(photos_k, 1), np.inf)


def joint(likely_n: Indices, labels_n: Indices, classes: int) -> Floats:
    """Estimated shares [K, K] of recorded and true labels: the confident ones, each row scaled to its photos (eq. 1).

    A label without any confident photo is taken to be right.
    """
    counted_kk = np.zeros((classes, classes))
    confident = likely_n >= 0
    np.add.at(counted_kk, (labels_n[confident], likely_n[confident]), 1.0)
    empty = counted_kk.sum(axis=1) == 0
    counted_kk[empty, empty] = 1.0
    photos_k = np.bincount(labels_n, minlength=classes)
    scaled_kk: Floats = counted_kk / counted_kk.sum(axis=1, keepdims=True) * (photos_k / photos_k.sum())[:, None]
    return scaled_kk


def wrong_share(joint_kk: Floats) -> float:
    """Share of photos whose label is estimated to be wrong."""
    return float(joint_kk.sum() - np.trace(joint_kk))


def suspicion(probabilities_nk: Floats, labels_n: Indices) -> Floats:
    """How much more probable than the recorded label the likeliest other one is [N], -1..1 (normalised margin)."""
    rows = np.arange(len(labels_n))
    others_nk = probabilities_nk.copy()
    others_nk[rows, labels_n] = -np.inf
    return np.asarray(others_nk.max(axis=1) - probabilities_nk[rows, labels_n])
