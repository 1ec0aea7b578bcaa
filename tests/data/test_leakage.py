from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.data import leakage
from bintally.data.leakage import near_pairs_across, prove
from bintally.manifest import Manifest
from tests.data.photo_tables import photo


def table_of(*rows: dict[str, object]) -> pl.DataFrame:
    return Manifest.build(Path(), rows).table


def clean(*, dhash: int | None = None) -> list[dict[str, object]]:
    return [
        photo("00001", products=["A"], split="train", group="a", dhash=dhash),
        photo("00002", products=["A"], split="train", group="a", dhash=dhash),
        photo("00009", products=["A"], split="test", group="b"),
    ]


def test_a_clean_split_is_proven_clean() -> None:
    proof = prove(table_of(*clean()))
    assert not proof.leaks
    assert (proof.groups.checked, proof.neighbours.checked, proof.exact_duplicates.checked) == (2, 1, 3)
    assert proof.seen_in_train == {"test": 0.0}
    assert proof.near_duplicates is None


def test_a_bin_in_two_splits_is_found() -> None:
    proof = prove(table_of(*clean(), photo("00500", split="test", group="a")))
    assert proof.leaks
    assert proof.groups.found == (("a",),)
    assert proof.seen_in_train == {"test": 0.5}


def test_neighbours_that_share_a_product_are_found_even_where_groups_say_otherwise() -> None:
    proof = prove(table_of(*clean(), photo("00003", products=["A"], split="val", group="c")))
    assert proof.leaks
    assert proof.groups.crossing == 0
    assert set(proof.neighbours.found) == {("00002", "00003"), ("00001", "00003")}


def test_copies_are_found() -> None:
    proof = prove(table_of(*clean(), photo("00700", split="val", group="d", sha256="sha of 00001")))
    assert proof.leaks
    assert proof.exact_duplicates.found == (("00001", "00700"),)


def test_near_duplicates_are_listed_and_left_to_a_person() -> None:
    proof = prove(table_of(*clean(dhash=2**63 + 5), photo("00700", split="val", group="d", dhash=2**63 + 1)))
    assert not proof.leaks
    assert proof.near_duplicates is not None
    assert proof.near_duplicates.crossing == 2
    assert proof.near_duplicates.found == (("00001", "00700"), ("00002", "00700"))


def test_neighbours_whose_record_is_unknown_are_listed_apart() -> None:
    proof = prove(table_of(*clean(), photo("00003", split="val", group="c"), photo("00004", split="test", group="e")))
    assert not proof.leaks
    assert proof.unknown_neighbours.found == (("00002", "00003"), ("00003", "00004"))


def test_photos_without_a_split_are_in_none() -> None:
    assert not prove(table_of(*clean(), photo("00003", products=["A"], group="a", sha256="sha of 00001"))).leaks


def test_long_lists_are_cut_but_counted_whole() -> None:
    rows = [
        photo(f"x{number}-", split=("train", "val")[number % 2], group=f"g{number}", dhash=0) for number in range(40)
    ]
    found = prove(table_of(*rows)).near_duplicates
    assert found is not None
    assert (found.crossing, len(found.found)) == (400, leakage.SHOWN)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_near_pairs_are_those_of_comparing_all_with_all(data: st.DataObject) -> None:
    hashes = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12))
    for _ in range(data.draw(st.integers(0, 12))):
        flipped = data.draw(st.sampled_from(hashes))
        for bit in data.draw(st.lists(st.integers(0, 63), max_size=5)):
            flipped ^= 1 << bit
        hashes.append(flipped)
    parts = data.draw(st.lists(st.integers(0, 2), min_size=len(hashes), max_size=len(hashes)))
    expected = {
        (min(i, j), max(i, j))
        for i in range(len(hashes))
        for j in range(i)
        if (hashes[i] ^ hashes[j]).bit_count() <= leakage.NEAR_BITS and parts[i] != parts[j]
    }
    total, pairs = near_pairs_across(np.array(hashes, dtype=np.uint64), np.array(parts))
    assert total == len(expected)
    assert {(min(pair), max(pair)) for pair in pairs.tolist()} == expected


def test_many_equal_hashes_are_counted_without_listing_them() -> None:
    hashes = np.zeros(20_000, dtype=np.uint64)
    total, pairs = near_pairs_across(hashes, np.arange(20_000) % 2)
    assert total == 10_000 * 10_000
    assert len(pairs) == leakage.SHOWN
