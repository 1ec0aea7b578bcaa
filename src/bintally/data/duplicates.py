"""Photos that stand twice: the same bytes, or nearly the same look.

Near duplicates are pairs of 64-bit hashes that differ in at most `bits` bits. Of `bits + 1` bands of a hash at least
one is then equal in both (pigeonhole), so only photos that share a band are compared: half a million take 2.5 s at 3
bits and 65 s at 5 (one core), where all pairs would be 125 billion.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

HASH_BITS: Final = 64


def exact_duplicates(digests: Sequence[str], counts: Sequence[int | None]) -> dict[int, tuple[int, bool]]:
    """Which photos are set aside as copies: index -> (index of the other, whether their counts contradict).

    Of copies that agree on their count, the first stays in; where counts differ nobody knows which is right: all go.
    """
    copies: dict[str, list[int]] = {}
    for index, digest in enumerate(digests):
        copies.setdefault(digest, []).append(index)
    found: dict[int, tuple[int, bool]] = {}
    for first, *others in (same for same in copies.values() if len(same) > 1):
        agree = all(counts[other] == counts[first] for other in others)
        if agree:
            found.update(dict.fromkeys(others, (first, False)))
        else:
            members = [first, *others]
            found.update({one: (next(two for two in members if counts[two] != counts[one]), True) for one in members})
    return found


def near_links(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """For each hash the index of one within `bits` bits of it, or -1.

    The links form a tree for each cluster, whose root (the first of its members) has none: whoever follows them finds
    exactly the clusters that all near pairs together form, and each link is a near pair itself, the closest there are.
    """
    unique, firsts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    links = np.where(firsts[inverse] == np.arange(len(hashes)), -1, firsts[inverse]).astype(np.int64)
    pairs = near_pairs(unique, bits)
    distances = np.bitwise_count(unique[pairs[:, 0]] ^ unique[pairs[:, 1]])
    pairs = firsts[pairs[np.argsort(distances, kind="stable")]]
    for child, parent in _rooted(_spanning_forest(pairs)):
        links[child] = parent
    return links


def near_pairs(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """All pairs (i < j) of hashes that differ in at most `bits` bits: int64 [P, 2], in order."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in _bands(hashes, bits + 1):
        order = np.argsort(band, kind="stable")
        for one, two in _neighbours(band[order]):
            left, right = order[one], order[two]
            near = np.bitwise_count(hashes[left] ^ hashes[right]) <= bits
            found.append(np.sort(np.stack([left[near], right[near]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _bands(hashes: NDArray[np.uint64], count: int) -> Iterator[NDArray[np.uint64]]:
    """The hashes' bits cut into `count` bands, as even as they get."""
    edges = [HASH_BITS * cut // count for cut in range(count + 1)]
    for low, high in pairwise(edges):
        mask = np.uint64((1 << (high - low)) - 1)
        yield (hashes >> np.uint64(low)) & mask


def _neighbours(ordered: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of places with equal values in a sorted array: 1 apart, then 2 apart, while there are any."""
    one = np.arange(len(ordered), dtype=np.int64)
    apart = 1
    while True:
        one = one[one + apart < len(ordered)]
        one = one[ordered[one] == ordered[one + apart]]
        if not len(one):
            return
        yield one, one + apart
        apart += 1


def _spanning_forest(pairs: NDArray[np.int64]) -> dict[int, list[int]]:
    """The pairs, taken in order, that join what was apart (Kruskal), as neighbours of each member."""
    above: dict[int, int] = {}

    def top(member: int) -> int:
        while above.setdefault(member, member) != member:
            above[member] = member = above[above[member]]
        return member

    forest: dict[int, list[int]] = {}
    for one, two in pairs.tolist():
        if (first := top(one)) != (second := top(two)):
            above[second] = first
            forest.setdefault(one, []).append(two)
            forest.setdefault(two, []).append(one)
    return forest


def _rooted(forest: dict[int, list[int]]) -> Iterator[tuple[int, int]]:
    """Each member but its tree's first, with the neighbour that is nearer to that first."""
    reached: set[int] = set()
    for root in sorted(forest):
        if root in reached:
            continue
        reached.add(root)
        waiting = [root]
        while waiting:
            parent = waiting.pop()
            for child in forest[parent]:
                if child not in reached:
                    reached.add(child)
                    waiting.append(child)
                    yield child, parent
