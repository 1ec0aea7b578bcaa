"""Divides groups of photos so that each split gets its share and the same mix of counts."""

import numpy as np
from numpy.typing import NDArray


def assign_groups(
    counts_gk: NDArray[np.int64],
    shares_s: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    held_sk: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The split [G] of each group, given its photos per count [G, K] and the splits' shares [S], which add up to 1.

    `held_sk`: photos per count that each split holds already [S, K]; the shares are those of all photos together.

    Groups of several photos go, largest first, where they bring the mix nearest to its target (chi-square distance,
    over counts and in total); then single photos fill, count by count, what each split still lacks. No split stays
    empty while another has several groups. After Sechidis et al. 2011, "On the stratification of multi-label data",
    with bins in the place of examples.
    """
    photos_gk = _with_total(counts_gk)
    filled_sk = _with_total(np.zeros((shares_s.size, counts_gk.shape[1])) if held_sk is None else held_sk)
    empty_s = filled_sk[:, -1] == 0
    occurs_k = photos_gk.sum(axis=0) > 0
    photos_gk, filled_sk = photos_gk[:, occurs_k], filled_sk[:, occurs_k]
    target_sk = shares_s[:, None] * (photos_gk.sum(axis=0) + filled_sk.sum(axis=0))
    chosen_g = np.full(len(photos_gk), -1, dtype=np.int64)

    size_g = photos_gk[:, -1]
    order = rng.permutation(len(photos_gk))
    order = order[np.argsort(-size_g[order], kind="stable")]
    for group in order[size_g[order] > 1].tolist():
        v = photos_gk[group]
        chosen_g[group] = best = int(((v * (2 * (filled_sk - target_sk) + v)) / target_sk).sum(axis=1).argmin())
        filled_sk[best] += v
    singles = order[size_g[order] == 1]
    for k in range(photos_gk.shape[1] - 1):
        members = singles[photos_gk[singles, k] > 0]
        room_s = np.maximum(target_sk[:, k] - filled_sk[:, k], 0)
        chosen_g[members] = np.repeat(np.arange(shares_s.size), _apportioned(members.size, room_s, shares_s))
    return _none_empty(chosen_g, photos_gk, np.flatnonzero(empty_s))


def _with_total(counts_gk: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Photos per count, and in the last column of any."""
    return np.hstack([counts_gk, counts_gk.sum(axis=1, keepdims=True)]).astype(np.float64)


def _apportioned(photos: int, room_s: NDArray[np.float64], shares_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """`photos` in whole numbers proportional to `room_s` (or to the shares, if all are full): largest remainders."""
    weight_s = room_s if room_s.sum() > 0 else shares_s
    exact_s = photos * weight_s / weight_s.sum()
    whole_s: NDArray[np.int64] = np.floor(exact_s + 1e-9).astype(np.int64)  # 0.7 * 10 is 6.999...
    most_lacking = np.argsort(whole_s - exact_s, kind="stable")
    whole_s[most_lacking[: photos - whole_s.sum()]] += 1
    return whole_s


def _none_empty(
    chosen_g: NDArray[np.int64], photos_gk: NDArray[np.float64], empty_s: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Gives each split of `empty_s` that got no group the smallest one of a split that got several.

    A count's last group in train stays there.
    """
    for empty in np.setdiff1d(empty_s, chosen_g):
        several = np.flatnonzero((np.bincount(chosen_g) > 1)[chosen_g])
        if several.size:
            train_k = photos_gk[chosen_g == 0].sum(axis=0)
            bares_train = (chosen_g[several] == 0) & ((photos_gk[several] == train_k) & (train_k > 0)).any(axis=1)
            first_choice = np.lexsort((photos_gk[several, -1], bares_train))[0]
            chosen_g[several[first_choice]] = empty
    return chosen_g
