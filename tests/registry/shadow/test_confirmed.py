"""What pairs tell where somebody counted."""

from pathlib import Path

import pytest

from bintally.errors import DataError, UsageError
from bintally.registry.shadow.confirmed import confirmed_figures, read_confirmed
from bintally.registry.shadow.pairs import Told
from tests.registry.shadow.made import pair, told, two_models


def test_a_better_challenger_is_seen_and_the_other_way_round() -> None:
    pairs, counts = two_models(600, right=0.8, right_before=0.65)
    found = confirmed_figures(pairs, counts)
    assert found.photos == found.bins == 600
    assert found.p_better < 0.05 < found.p_worse
    assert found.log_loss is not None
    assert found.log_loss.high < 0
    assert found.p_margin < 0.05
    assert "is better" in found.sentence
    swapped = [pair(number, each.challenger, each.champion) for number, each in enumerate(pairs)]
    assert confirmed_figures(swapped, counts).p_worse == pytest.approx(found.p_better)
    assert "is worse" in confirmed_figures(swapped, counts).sentence


def test_two_models_that_are_the_same_are_never_shown_to_differ() -> None:
    pairs = [pair(number, told(1), told(1)) for number in range(300)]
    found = confirmed_figures(pairs, {each.photo_sha256: 1 for each in pairs})
    assert (found.p_better, found.p_worse, found.only_champion, found.only_challenger) == (1.0, 1.0, 0, 0)
    assert found.p_margin < 0.05
    assert found.sentence == "The challenger is right less often by less than 2% of the photos."


def test_two_models_that_are_as_good_are_rarely_shown_to_differ() -> None:
    worlds = (two_models(150, right=0.7, right_before=0.7, seed=seed) for seed in range(30))
    false = sum(confirmed_figures(*world).p_better <= 0.05 for world in worlds)
    assert false <= 5, "binomial(30, 0.05) is above that once in 300 times"


def test_a_photo_that_came_again_counts_once_and_one_that_was_not_asked_about_not_at_all() -> None:
    some = told(2)
    shares = {"1": 0.3, "2": 0.7}
    only = Told(count=2, expected_count=1.7, probabilities=shares)
    pairs = [
        pair(1, some, some),
        pair(2, some, some, photo_sha256=f"{1:064x}"),
        pair(3, some, Told(error="no")),
        pair(4, only, only, counts="1-2"),
        pair(5, some, some),
    ]
    found = confirmed_figures(pairs, {f"{1:064x}": 2, "r3": 2, "r4": 5, "someone else's": 1})
    assert found.photos == 1
    assert confirmed_figures(pairs, {"r4": 1}).photos == 1
    nothing = confirmed_figures(pairs, {})
    assert (nothing.photos, nothing.accuracy, nothing.sentence) == (0, None, "No pair has a confirmed count.")


def test_counts_above_the_open_top_are_the_top() -> None:
    top = told(6)
    found = confirmed_figures([pair(1, top, top)], {"r1": 17})
    assert found.accuracy is not None
    assert found.accuracy.value == 1.0


def test_confirmed_counts_are_read_from_csv_and_from_labels(tmp_path: Path) -> None:
    table = tmp_path / "counts.csv"
    table.write_text("\ufeffphoto_sha256,request_id,confirmed_count,note\nab,r1,4,x\ncd,,5,\nef,r3,,uncountable\n")
    assert read_confirmed(table) == {"ab": 4, "r1": 4, "cd": 5}
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"photo_sha256": "ab", "count": 4}\n\n{"photo_sha256": "cd", "count": null}\n')
    assert read_confirmed(labels) == {"ab": 4}


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("photo,count\nab,4\n", UsageError, "no columns of confirmed counts: photo, count"),
        ("photo_sha256,count\nab,four\n", DataError, "row 1: 'four' is no count"),
        ("photo_sha256,count\nab,-1\n", DataError, "row 1: -1 is no count"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(text)
    with pytest.raises(error, match=said):
        read_confirmed(path)
    with pytest.raises(UsageError, match="There is no file"):
        read_confirmed(tmp_path / "none.csv")
