import time
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.data.duplicates import exact_duplicates, near_links, near_pairs

BITS = st.integers(0, 6)


@st.composite
def clustered_hashes(draw: st.DrawFn) -> list[int]:
    """Hashes around a few centres, some equal: where pairs are near, far, and just on the limit."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=9)
    hashes = []
    for _ in range(draw(st.integers(0, 25))):
        value = draw(st.sampled_from(centres))
        for bit in draw(flips):
            value ^= 1 << bit
        hashes.append(value)
    return hashes


def distance(one: int, two: int) -> int:
    return (one ^ two).bit_count()


def brute_pairs(hashes: list[int], bits: int) -> set[tuple[int, int]]:
    return {(i, j) for i, j in combinations(range(len(hashes)), 2) if distance(hashes[i], hashes[j]) <= bits}


def clusters(size: int, pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    """Connected components, grown until nothing joins any more."""
    parts = {frozenset({index}) for index in range(size)}
    for one, two in pairs:
        touched = {part for part in parts if one in part or two in part}
        parts = (parts - touched) | {frozenset().union(*touched)}
    return parts


@given(clustered_hashes(), BITS)
@settings(max_examples=200)
def test_near_pairs_are_those_that_comparing_all_with_all_finds(hashes: list[int], bits: int) -> None:
    found = near_pairs(np.array(hashes, dtype=np.uint64), bits)
    assert len(found) == len({tuple(pair) for pair in found.tolist()})
    assert {(one, two) for one, two in found.tolist()} == brute_pairs(hashes, bits)


@given(clustered_hashes(), BITS)
@settings(max_examples=200)
def test_links_are_near_pairs_and_join_exactly_the_clusters(hashes: list[int], bits: int) -> None:
    links = near_links(np.array(hashes, dtype=np.uint64), bits).tolist()
    edges = {(min(here, there), max(here, there)) for here, there in enumerate(links) if there >= 0}
    expected = clusters(len(hashes), brute_pairs(hashes, bits))
    assert edges <= brute_pairs(hashes, bits)
    assert clusters(len(hashes), edges) == expected
    assert {here for here, there in enumerate(links) if there < 0} == {min(part) for part in expected}


def test_a_hundred_thousand_hashes_take_seconds_even_where_half_of_them_are_equal() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[::2] = 0
    hashes[[1, 99_999]] = hashes[3] ^ np.uint64(0b101), hashes[3]
    start = time.perf_counter()
    links = near_links(hashes, 3)
    assert time.perf_counter() - start < 10
    assert (links[2::2] == 0).all()
    assert (links[3], links[99_999], links[1]) == (1, 3, -1)


def test_of_equal_bytes_with_equal_counts_the_first_stays() -> None:
    assert exact_duplicates(["a", "b", "a", "a"], [2, 2, 2, 2]) == {2: (0, False), 3: (0, False)}


def test_of_equal_bytes_with_different_counts_none_stays_and_each_names_one_it_contradicts() -> None:
    assert exact_duplicates(["a", "a", "b", "a"], [2, 2, 9, 3]) == {0: (3, True), 1: (3, True), 3: (0, True)}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, None])), max_size=12))
def test_whatever_stays_in_is_unique(photos: list[tuple[str, int | None]]) -> None:
    digests, counts = [digest for digest, _ in photos], [count for _, count in photos]
    aside = exact_duplicates(digests, counts)
    kept = [digest for index, digest in enumerate(digests) if index not in aside]
    assert len(kept) == len(set(kept))
    for index, (other, contradicts) in aside.items():
        assert digests[index] == digests[other]
        assert contradicts == (counts[index] != counts[other])
        assert contradicts or other not in aside
