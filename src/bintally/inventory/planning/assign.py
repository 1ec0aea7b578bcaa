"""Which bins are counted and which photographed, so that the looks are worth most: exactly, in n log n.

The value of a plan is the sum of its looks' (it is modular), a bin gets one look at most, and each kind of look has a
capacity. That is a transportation problem with two columns. Take the best plan and sort the bins by how much more a
count is worth to them than a photo: a counted bin behind a photographed one could swap looks with it and nothing would
be lost. So all counts can lie before some cut and all photos behind it. For each cut the best counts before it and the
best photos behind it are known from two heaps, and the best cut is the best plan.
"""

import heapq
from collections.abc import Iterable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from bintally.inventory.planning.settings import Capacity

NONE, COUNTED, PHOTOGRAPHED = 0, 1, 2

Ints = NDArray[np.int64]


def assign(
    count_n: Ints, photo_n: Ints, capacity: Capacity, *, fill_counts: bool = False, fill_photos: bool = False
) -> NDArray[np.uint8]:
    """[N] NONE, COUNTED or PHOTOGRAPHED, so that the sum of `count_n` and `photo_n` of those is as large as it can be.

    `fill_*`: as many looks of that kind as there can be, whatever they are worth; else only those worth more than 0. Of
    bins worth the same, the earlier one is taken.
    """
    counts, photos = (min(max(many, 0), len(count_n)) for many in capacity)
    rows = _in_question(count_n, photo_n, counts + photos)
    count_r, photo_r = count_n[rows].tolist(), photo_n[rows].tolist()
    order = sorted(range(len(rows)), key=lambda row: (photo_r[row] - count_r[row], row))
    # More than all others together: with it, another look is always better than none.
    bonus = 1 + sum(map(abs, count_r)) + sum(map(abs, photo_r))
    counted = [(count_r[row] + bonus * fill_counts, -row) for row in order]
    seen = [(photo_r[row] + bonus * fill_photos, -row) for row in order]
    before, behind = _best_sums(counted, counts), _best_sums(reversed(seen), photos)[::-1]
    cut = max(range(len(order) + 1), key=lambda cut: (before[cut] + behind[cut], -cut))
    looks = np.full(len(count_n), NONE, np.uint8)
    looks[rows[_best(counted[:cut], counts)]] = COUNTED
    looks[rows[_best(seen[cut:], photos)]] = PHOTOGRAPHED
    return looks


def _in_question(count_n: Ints, photo_n: Ints, looks: int) -> Ints:
    """The rows among the first `looks` for a count or for a photo, in order: any other could be replaced by one.

    As many are taken by some plan at most, so that of those first ones one is free.
    """
    chosen = [np.argsort(-values, kind="stable")[:looks] for values in (count_n, photo_n)]
    rows: Ints = np.unique(np.concatenate(chosen)).astype(np.int64)
    return rows


def _best_sums(valued: Iterable[tuple[int, int]], most: int) -> list[int]:
    """The sum of the best `most` positive values of the first 0, 1, 2 .. of them."""
    heap: list[int] = []

    def added(total: int, each: tuple[int, int]) -> int:
        if most == 0 or each[0] <= 0:
            return total
        if len(heap) < most:
            heapq.heappush(heap, each[0])
            return total + each[0]
        return total + each[0] - heapq.heappushpop(heap, each[0])

    return list(accumulate(valued, added, initial=0))


def _best(valued: list[tuple[int, int]], most: int) -> list[int]:
    """The rows of the best `most` positive values."""
    return [-row for value, row in heapq.nlargest(most, valued) if value > 0]
