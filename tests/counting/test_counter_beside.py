"""What a model tells beside a photo's own count: what changed since an earlier one, and whether a record is right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bintally.counting.change import told_by_pairs
from bintally.counting.counter import Counter
from bintally.counting.events import AnyEvent, Counted
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.following import follow
from bintally.counting.network import MAX_BATCH
from bintally.counting.stock_record import read_record
from bintally.errors import BundleError, DataError, ModelError, UsageError
from tests.bundles import UNCHANGED, bin_photo, bin_pixels, make_bundle, no_bin_pixels, recard


@pytest.fixture(scope="module")
def telling(telling_bundle: Path) -> Counter:
    return Counter(telling_bundle, threads=1)


@pytest.mark.parametrize(("before", "now"), [(4, 4), (4, 3), (1, 5), (3, 0), (6, 5)])
def test_counts_a_photo_beside_an_earlier_one(telling: Counter, before: int, now: int) -> None:
    estimate = telling.count(bin_photo(now, seed=1), previous=bin_photo(before), previous_count=before)
    alone = telling.count(bin_photo(now, seed=1))
    assert estimate.count == now
    assert estimate.probability > max(0.9, alone.probability)
    assert sum(estimate.probabilities.values()) == pytest.approx(1)
    assert estimate.unchanged is not None
    assert (estimate.unchanged > 0.9) == (before == now)
    assert (estimate.previous, estimate.previous_count) == (None, before)
    assert (alone.previous, alone.previous_count, alone.unchanged) == (None, None, None)


def test_a_known_count_is_believed_over_what_the_earlier_photo_looks_like(telling: Counter) -> None:
    """Nothing changed between photos that look like 3: who counted 2 then says that there are 2 now."""
    known = telling.count(bin_photo(3, seed=1), previous=bin_photo(3), previous_count=2).probabilities
    unknown = telling.count(bin_photo(3, seed=1), previous=bin_photo(3)).probabilities
    assert known["2"] > 0.5
    assert unknown["2"] < 0.2
    assert unknown["3"] > 0.75


def test_an_earlier_photo_is_named_and_its_counts_may_be_restricted(telling_bundle: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("new.png", "earlier.png")]
    for path, items in zip(paths, (2, 5), strict=True):
        path.write_bytes(bin_photo(items))
    estimate = Counter(telling_bundle, counts="1-3", threads=1).count(paths[0], previous=paths[1], previous_count=5)
    assert (estimate.path, estimate.previous, estimate.bin_image_id) == (str(paths[0]), str(paths[1]), "new")
    assert list(estimate.probabilities) == ["1", "2", "3"]
    assert estimate.count == 2


def test_a_batch_of_pairs_answers_pair_by_pair(telling: Counter) -> None:
    pairs = [(index % 7, index % 5) for index in range(2 * MAX_BATCH + 3)]
    later, earlier = (
        np.stack([bin_pixels(pair[place], height_px=32, width_px=48, seed=place) for pair in pairs]) for place in (0, 1)
    )
    answers = telling.count_pairs(later, earlier, [None if place % 3 else pair[1] for place, pair in enumerate(pairs)])
    assert [answer.count for answer in answers] == [pair[0] for pair in pairs]
    for place in (0, 1, MAX_BATCH, len(pairs) - 1):
        known = None if place % 3 else pairs[place][1]
        [alone] = telling.count_pairs(later[[place]], earlier[[place]], [known])
        assert answers[place].probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert answers[place].unchanged == pytest.approx(alone.unchanged, abs=1e-5)


def test_no_pairs_are_no_answers(telling: Counter) -> None:
    none = np.empty((0, 32, 48, 3), np.uint8)
    assert telling.count_pairs(none, none, []) == []
    assert telling.verify_pixels(none, [], [], []) == []


def test_pairs_abstain_from_an_earlier_photo_that_is_no_bin(telling: Counter) -> None:
    told = telling.count(bin_photo(2), previous=no_bin_pixels()).abstain
    assert (told or "").startswith("the earlier photo: does not look like a bin (novelty ")
    black = np.zeros((50, 50, 3), np.uint8)
    assert telling.count(bin_photo(2), previous=black).abstain == "the earlier photo: black frame"
    assert telling.count(black, previous=bin_photo(2)).abstain == "black frame"


def test_a_blind_comparison_leaves_the_table_and_the_photo(tmp_path: Path) -> None:
    """A bin that nobody touched stays as likely as the card says, where comparing tells nothing."""
    counter = Counter(make_bundle(tmp_path / "telling", change=True), threads=1)
    card = counter.card.change
    assert card is not None
    even_pk = np.full((1, 7), 1 / 7)
    _, unchanged_p = told_by_pairs(counter.card, even_pk, even_pk, np.zeros((1, 13)), [10])
    assert unchanged_p == pytest.approx([UNCHANGED + (1 - UNCHANGED) / 13])


def test_photos_are_followed_with_what_changed_between_them(telling: Counter) -> None:
    """A bin of 4 of which 1 was taken: the filter takes the comparison for evidence."""
    first = telling.event(bin_photo(4), time=1, id="a")
    second = telling.event(bin_photo(3), time=2, id="b", previous=bin_photo(4), previous_id="a")
    assert second.change["4"]["3"] > second.change_prior["4"]["3"]
    often_moved = FollowSettings(drift_per_event=0.3)
    seen: list[AnyEvent] = [first, Counted(time=1.5, count=4)]
    assert follow([*seen, second], often_moved)[-1].count == 3
    assert follow(seen, often_moved)[-1].count == 4
    with pytest.raises(UsageError, match="goes by its event's id"):
        telling.event(bin_photo(3), time=2, previous=bin_photo(4))


@pytest.mark.parametrize("count", [{"previous_count": 2}, {"previous": bin_photo(2), "previous_count": -1}])
def test_an_earlier_count_needs_its_photo_and_is_not_below_0(telling: Counter, count: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="previous count"):
        telling.count(bin_photo(2), **count)
    with pytest.raises(UsageError, match="previous count"):
        telling.verify(bin_photo(2), {"B000": 2}, **count)


def test_a_model_that_can_not_compare_or_judge_says_so(counter: Counter, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not compare photos"):
        counter.count(bin_photo(2), previous=bin_photo(2))
    with pytest.raises(ModelError, match="does not judge records"):
        counter.verify(bin_photo(2), {"B000": 2})
    judging = Counter(make_bundle(tmp_path / "judging", verification=True), threads=1)
    assert judging.verify(bin_photo(2), {"B000": 2}).count == 2
    with pytest.raises(ModelError, match="does not compare photos"):
        judging.verify(bin_photo(2), {"B000": 2}, previous=bin_photo(2))


@pytest.mark.parametrize(("promised", "output"), [("change", "maps"), ("verification", "attributes")])
def test_a_network_that_lacks_what_its_card_tells_of_is_found_out(
    telling: Counter, tmp_path: Path, promised: str, output: str
) -> None:
    make_bundle(tmp_path / "lying", change=True)  # for its change.onnx
    lying = make_bundle(tmp_path / "lying", change=promised != "change", verification=promised != "verification")
    recard(lying, **{promised: getattr(telling.card, promised)})
    counter = Counter(lying, threads=1)
    assert counter.count(bin_photo(2)).count == 2  # a count needs none of it
    with pytest.raises(BundleError, match=f"'{output}' is missing"):
        counter.count(bin_photo(2), previous=bin_photo(3))


def test_a_right_record_is_likelier_than_a_wrong_one(telling: Counter, tmp_path: Path) -> None:
    path, record = tmp_path / "bin.png", tmp_path / "record.json"
    path.write_bytes(bin_photo(3))
    record.write_text('{"B1": 1, "B2": 1, "B3": 1}')
    right = telling.verify(path, record)
    wrong = telling.verify(path, {"B1": 5, "B2": 1})
    assert (right.path, right.record, right.recorded_count, right.count) == (str(path), str(record), 3, 3)
    assert wrong.record is None
    assert right.record_is_right is not None
    assert wrong.record_is_right is not None
    assert right.record_is_right > 0.9
    assert wrong.record_is_right < 0.5
    assert right.reasons
    assert any("6 are recorded" in reason for reason in wrong.reasons)


def test_an_earlier_photo_helps_to_judge_a_record(telling: Counter) -> None:
    """Seen alone, 3 items may pass for 4; beside a photo that was known to show 3 and looks the same they do not."""
    blurred, record = bin_photo(3.45, seed=1), {"B1": 1, "B2": 1, "B3": 1}
    alone = telling.verify(blurred, record)
    beside = telling.verify(blurred, record, previous=bin_photo(3.45), previous_count=3)
    assert alone.record_is_right is not None
    assert beside.record_is_right is not None
    assert beside.record_is_right > alone.record_is_right
    assert beside.count == 3


def test_a_verdict_abstains_from_what_is_no_bin_now_or_before(telling: Counter) -> None:
    assert (telling.verify(no_bin_pixels(), {"B1": 3}).abstain or "").startswith("does not look like a bin")
    beside = telling.verify(bin_photo(3), {"B1": 3}, previous=np.zeros((50, 50, 3), np.uint8))
    assert beside.abstain == "the earlier photo: black frame"


def test_records_are_judged_one_by_one_in_a_batch(telling: Counter) -> None:
    pixels_nhwc = np.stack([bin_pixels(count, height_px=32, width_px=48) for count in (1, 2, 3)])
    records = [read_record({f"B{place}": 1 for place in range(count)}) for count in (1, 2, 5)]
    verdicts = telling.verify_pixels(pixels_nhwc, records, [None, pixels_nhwc[0], None], [None, 1, None])
    assert [verdict.count for verdict in verdicts] == [1, 2, 3]
    assert [(verdict.record_is_right or 0) > 0.5 for verdict in verdicts] == [True, True, False]


@pytest.mark.parametrize("record", [{"B1": "three"}, "{", b"[]"])
def test_what_is_no_record_is_a_data_error(telling: Counter, record: Any) -> None:
    with pytest.raises(DataError):
        telling.verify(bin_photo(3), record)
