"""Photo banks without photos: a model that sees everything, and one that sees nothing."""

import numpy as np

from bintally.bundle import Card
from bintally.simulation.bank import KINDS, PhotoBank

MOST = 20
"""Items in a bin, at most."""

_SURE = 0.9999


def certain(card: Card) -> PhotoBank:
    """Each photo is surely what it is, and each pair surely the change it is."""
    keys = len(card.count_keys)
    shares_nk = np.full((MOST + 1, keys), (1 - _SURE) / (keys - 1))
    shares_nk[np.arange(MOST + 1), np.minimum(np.arange(MOST + 1), keys - 1)] = _SURE
    return _bank(card, shares_nk, 30.0)


def blind(card: Card) -> PhotoBank:
    """Photos say nothing: of each, what is known without it; pairs neither."""
    shares_k = np.array([card.target_prior[key] for key in card.count_keys])
    return _bank(card, np.tile(shares_k / shares_k.sum(), (MOST + 1, 1)), 0.0)


def _bank(card: Card, shares_nk: np.ndarray[tuple[int, int], np.dtype[np.float64]], sure: float) -> PhotoBank:
    assert card.change is not None
    reach = card.change.max_change
    pairs = [(before, now) for before in range(MOST + 1) for now in range(MOST + 1)]
    photos = MOST + 1
    evidence_nd = np.zeros((photos + len(pairs), 2 * reach + 1), np.float32)
    for row, (before, now) in enumerate(pairs, photos):
        evidence_nd[row, int(np.clip(now - before, -reach, reach)) + reach] = sure
    kinds = [KINDS.index("again" if before == now else "backwards") for before, now in pairs]
    return PhotoBank(
        model=card.name,
        model_sha256=card.model_sha256,
        about="made up",
        probabilities_nk=np.concatenate([shares_nk, shares_nk[[now for _, now in pairs]]]).astype(np.float32),
        count_n=np.concatenate([np.arange(photos), [now for _, now in pairs]]).astype(np.int32),
        group_n=np.arange(photos + len(pairs), dtype=np.int32),
        kind_n=np.array([0] * photos + kinds, np.uint8),
        abstain=(None,) * (photos + len(pairs)),
        previous_n=np.concatenate([np.full(photos, -1), [before for before, _ in pairs]]).astype(np.int32),
        evidence_nd=evidence_nd,
    )


def stubborn(card: Card) -> PhotoBank:
    """Two families of photos: of one, all seem to hold what they do, of the other one item more."""
    keys = len(card.count_keys)
    counts, families = 9, 2
    photos = counts * families
    count_n = np.tile(np.arange(counts), families)
    group_n = np.repeat(np.arange(families), counts)
    shares_nk = np.full((photos, keys), 0.02)
    shares_nk[np.arange(photos), np.minimum(count_n + group_n, keys - 1)] = 1.0 - 0.02 * (keys - 1)
    rows = [(before, now) for before in range(photos) for now in range(photos) if group_n[before] == group_n[now]]
    later = [now for _, now in rows]
    previous_n = np.concatenate([np.full(photos, -1), [before for before, _ in rows]]).astype(np.int32)
    kinds = [KINDS.index("again" if before == now else "photo") for before, now in rows]
    return PhotoBank(
        model=card.name,
        model_sha256=card.model_sha256,
        about="made up",
        probabilities_nk=np.concatenate([shares_nk, shares_nk[later]]).astype(np.float32),
        count_n=np.concatenate([count_n, count_n[later]]).astype(np.int32),
        group_n=np.concatenate([group_n, group_n[later]]).astype(np.int32),
        kind_n=np.array([0] * photos + kinds, np.uint8),
        abstain=(None,) * (photos + len(rows)),
        previous_n=previous_n,
        evidence_nd=np.zeros((photos + len(rows), 13), np.float32),
    )
