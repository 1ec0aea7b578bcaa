import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.data.grouping import Doubt, components, neighbour_groups, neighbour_pairs
from bintally.manifest import Manifest
from tests.data.photo_tables import photo


def table_of(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    return Manifest.build(Path(), rows).table


def groups_of(rows: Sequence[dict[str, object]], doubt: Doubt = "apart") -> list[set[str]]:
    """The groups found, as sets of ids."""
    table = table_of(rows)
    found = table.select("bin_image_id").with_columns(neighbour_groups(table, doubt=doubt))
    return sorted((set(ids) for ids in found.group_by("group").agg("bin_image_id")["bin_image_id"]), key=min)


def test_neighbours_that_share_a_product_are_one_bin() -> None:
    rows = [photo("00001", products=["A", "B"]), photo("00002", products=["B"]), photo("00003", products=["C"])]
    assert groups_of(rows) == [{"00001", "00002"}, {"00003"}]


def test_one_photo_between_does_not_part_a_bin_but_two_do() -> None:
    rows = [photo("00001", products=["A"]), photo("00003", products=["A"]), photo("00006", products=["A"])]
    assert groups_of(rows) == [{"00001", "00003"}, {"00006"}]


def test_1_and_00001_are_different_bins() -> None:
    rows = [photo(name, products=["A"]) for name in ("1", "00002", "2", "00001")]
    assert groups_of(rows) == [{"00001", "00002"}, {"1", "2"}]


@pytest.mark.parametrize(
    ("first", "second"), [("09999", "10000"), ("99999", "100000"), ("9", "10"), ("shelf-7/099", "shelf-7/100")]
)
def test_a_series_goes_on_where_a_digit_is_added(first: str, second: str) -> None:
    assert len(groups_of([photo(first, products=["A"]), photo(second, products=["A"])])) == 1


def test_ids_without_a_number_or_of_other_series_have_no_neighbours() -> None:
    rows = [photo(name, products=["A"]) for name in ("left", "right", "a1", "b2", "00003")]
    assert len(groups_of(rows)) == 5


def test_a_bin_stays_together_through_a_chain_of_products() -> None:
    rows = [photo("00001", products=["A"]), photo("00002", products=["A", "B"]), photo("00003", products=["B"])]
    assert groups_of(rows) == [{"00001", "00002", "00003"}]


def test_copies_and_flagged_near_duplicates_stay_together() -> None:
    rows = [
        photo("00001", sha256="same"),
        photo("00500", sha256="same"),
        photo("00900", warnings=["dark", "near_duplicate:00500"]),
        photo("00950", warnings=["near_duplicate:gone"]),
    ]
    assert groups_of(rows) == [{"00001", "00500", "00900"}, {"00950"}]


def test_near_duplicates_hang_together_through_one_in_quarantine() -> None:
    rows = [
        photo("00001", warnings=["near_duplicate:00500"]),
        photo("00500", quarantine=["contradicting_duplicate:00700"]),
        photo("00900", warnings=["near_duplicate:00500"]),
    ]
    assert len(groups_of(rows)) == 1


def test_broken_files_that_look_the_same_are_not_one_bin() -> None:
    # Two empty files have the same digest; that must not tie their bins together.
    rows = [
        photo("00001", sha256="empty", quarantine=["empty"]),
        photo("00500", sha256="empty", quarantine=["empty"]),
        photo("00900"),
    ]
    assert len(groups_of(rows)) == 3


def test_given_groups_are_kept_and_merged() -> None:
    rows = [
        photo("00001", products=["A"], group="g2"),
        photo("00002", products=["A"], group="g1"),
        photo("00700", group="g2"),
        photo("00800"),
    ]
    table = table_of(rows)
    assert neighbour_groups(table).to_list() == ["g1", "g1", "g1", "bin:00800"]


def test_a_new_name_never_meets_a_given_one() -> None:
    rows = [photo("00001"), photo("00500", group="bin:00001")]
    assert neighbour_groups(table_of(rows)).n_unique() == 2


def test_a_neighbour_without_record_stays_when_in_doubt() -> None:
    rows = [photo("00001", products=["A"]), photo("00002"), photo("00003", 0, []), photo("00005", products=["Z"])]
    assert groups_of(rows, "together") == [{"00001", "00002", "00003"}, {"00005"}]
    assert len(groups_of(rows, "apart")) == 4


def test_photos_without_any_record_are_no_doubt() -> None:
    # A user's own photos, numbered but without metadata, once became a single group that nothing could split.
    assert len(groups_of([photo(str(number)) for number in range(1, 9)], "together")) == 8


def test_a_few_records_do_not_chain_all_other_photos_into_one_bin() -> None:
    rows = [photo("00001", products=["A"]), *(photo(f"{number:05}") for number in range(2, 9))]
    assert len(groups_of(rows, "together")) == 8


def test_a_copy_that_was_set_aside_still_ties_two_bins_together() -> None:
    rows = [
        photo("00100", sha256="same"),
        photo("05000", products=["A"], sha256="same", quarantine=["duplicate:00100"]),
        photo("05001", products=["A"]),
    ]
    assert len(groups_of(rows)) == 1


def test_given_groups_settle_a_doubt() -> None:
    rows = [photo("00001", products=["A"], group="a"), photo("00002", 0, [], group="b")]
    assert len(groups_of(rows, "together")) == 2


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_components_are_what_a_walk_through_the_edges_reaches(size: int, pairs: list[tuple[int, int]]) -> None:
    edges = [(a, b) for a, b in pairs if a < size and b < size]
    reached = {node: {node} for node in range(size)}
    for _ in range(size):
        for a, b in edges:
            reached[a] = reached[b] = reached[a] | reached[b]
        reached = {node: set().union(*(reached[other] for other in seen)) for node, seen in reached.items()}
    found = components(size, np.array(edges, dtype=np.int64).reshape(-1, 2)).tolist()
    assert found == [min(reached[node]) for node in range(size)]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_pairs_are_those_that_a_person_would_find(data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 25), min_size=1, max_size=12, unique=True))
    ids = [data.draw(st.sampled_from((str(number), f"{number:05d}"))) for number in numbers]
    records = [data.draw(st.none() | st.lists(st.sampled_from("ABC"), max_size=2, unique=True)) for _ in ids]
    expected = set()
    for i, first in enumerate(ids):
        for j, second in enumerate(ids):
            gap = int(second) - int(first)
            if gap in (1, 2) and (len(first) == 5) == (len(second) == 5):
                a, b = records[i], records[j]
                expected.add((i, j, gap, bool(set(a) & set(b)) if a and b else None))
    pairs = neighbour_pairs(table_of([photo(name, products=record) for name, record in zip(ids, records, strict=True)]))
    assert set(pairs.iter_rows()) == expected


def test_the_order_of_rows_changes_nothing() -> None:
    rows = [photo(f"{number:05d}", products=[f"P{number // 3}"]) for number in range(40)]
    shuffled = random.Random(0).sample(rows, len(rows))
    names = [
        dict(zip(table["bin_image_id"], neighbour_groups(table), strict=True))
        for table in (table_of(rows), table_of(shuffled))
    ]
    assert names[0] == names[1]
