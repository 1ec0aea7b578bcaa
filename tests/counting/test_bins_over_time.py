"""Bins over time on hand-made numbers: the tables the filter is given, its settings, and what comes out."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bintally.bundle import CARD, Card, read_card
from bintally.counting.bins_over_time import BinPhotos, known_of, over_time, settings_of
from bintally.counting.change import change_shares, change_tables, prior_of
from bintally.counting.kernels import jumps
from bintally.counting.ranked import Resampling
from bintally.records import key_of

REACH = 6


def card_with(folder: Path, changes: dict[int, float], *, unchanged: float = 0.0) -> Card:
    """The telling bundle's card, with the same table of changes for every earlier count."""
    card = read_card(folder / CARD)
    assert card.change is not None
    row = tuple(changes.get(change, 0.0) for change in range(-REACH, REACH + 1))
    return msgspec.structs.replace(card, change=msgspec.structs.replace(card.change, prior=(row,), unchanged=unchanged))


def shows(count: int, card: Card, *, sure: float = 0.7) -> NDArray[np.float32]:
    rest = (1 - sure) / (len(card.count_keys) - 1)
    return np.array([sure if key == key_of(count, card.count_keys) else rest for key in card.count_keys], np.float32)


def speaks_for(change: int, *, nats: float = 4.0) -> NDArray[np.float32]:
    return np.where(np.arange(-REACH, REACH + 1) == change, nats, 0.0).astype(np.float32)


def test_the_filter_reckons_with_changes_as_the_table_does(telling_bundle: Path) -> None:
    """A geometric fall by a half: 1, 2 .. items in the shares 1/2, 1/4 ..., a fifth of the bins untouched."""
    moves = {sign * size: 0.5**size / 2 for sign in (-1, 1) for size in range(1, REACH + 1)}
    card = card_with(telling_bundle, moves, unchanged=0.2)
    settings = settings_of(msgspec.structs.replace(card, target_prior=dict.fromkeys(card.count_keys, 0.0) | {"6+": 1}))
    assert 1 - math.exp(-settings.drift_per_day) == pytest.approx(0.8)
    assert settings.drift_size == pytest.approx(0.5, abs=0.06)  # the table is cut at 6
    assert settings.drift_per_event == 0.0  # a count confirmed with the photo is of that photo


def test_a_table_without_changes_or_of_changes_by_one_stays_in_range(telling_bundle: Path) -> None:
    assert settings_of(card_with(telling_bundle, {0: 1.0})).drift_per_day == 0.0
    ones = settings_of(card_with(telling_bundle, {-1: 0.5, 1: 0.5}))
    assert ones.drift_size == 0.05
    assert math.isfinite(ones.drift_per_day)


def test_tables_of_a_pair_are_those_of_the_counter(telling_bundle: Path) -> None:
    card = card_with(telling_bundle, {-2: 0.2, -1: 0.3, 1: 0.3, 2: 0.2}, unchanged=0.1)
    assert card.change is not None
    evidence, raw = speaks_for(1), shows(4, card)
    told, prior = change_tables(card, evidence, raw, 30)
    ratios = {key: float(share) / card.target_prior[key] for key, share in zip(card.count_keys, raw, strict=True)}
    shares, blind = change_shares(card.change, evidence, 3, ratios), prior_of(card.change, 3)
    assert {int(count) - 3 for count in told["3"]} == {-2, -1, 0, 1, 2}
    for count in told["3"]:
        assert told["3"][count] == pytest.approx(shares[int(count) - 3 + REACH])
        assert prior["3"][count] == pytest.approx(blind[int(count) - 3 + REACH])
    for row in (*told.values(), *prior.values()):
        assert sum(row.values()) == pytest.approx(1)
    assert set(told["30"]) == {"28", "29", "30"}  # what would be more than max_count


def test_a_confirmed_count_and_a_pair_make_what_bayes_says(telling_bundle: Path) -> None:
    card = card_with(telling_bundle, {-2: 0.2, -1: 0.3, 1: 0.3, 2: 0.2})
    assert card.change is not None
    raw = shows(4, card, sure=0.4)
    one = BinPhotos("g", ("a", "b"), (3, 4), (shows(3, card), raw), (None, speaks_for(1, nats=2.0)))
    settings = settings_of(card)
    told = next(known for known in known_of(one, card, settings) if known.how == "confirmed")
    assert told.photos == 2
    ratios = {key: float(share) / card.target_prior[key] for key, share in zip(card.count_keys, raw, strict=True)}
    speaks = change_shares(card.change, one.evidence[1], 3, ratios) / np.maximum(prior_of(card.change, 3), 1e-12)  # type: ignore[arg-type]
    ahead = jumps(settings.max_count, settings.drift_size)[3]
    expected = {count: ahead[count] * speaks[count - 3 + REACH] for count in (1, 2, 4, 5)}
    for count, weight in expected.items():
        assert told.told_k[count] == pytest.approx(weight / sum(expected.values()), abs=0.04)
    assert told.blind_k[[1, 2, 4, 5]] == pytest.approx([0.2, 0.3, 0.3, 0.2])


def test_blind_steps_through_the_table_photo_by_photo(telling_bundle: Path) -> None:
    """One item goes in or out between photos: after two such steps from 3, 1 or 5 in a quarter, 3 in a half."""
    card = card_with(telling_bundle, {-1: 0.5, 1: 0.5})
    raw = shows(3, card)
    one = BinPhotos("g", ("a", "b", "c"), (3, 4, 3), (raw,) * 3, (None, speaks_for(1), speaks_for(-1)))
    last = [known for known in known_of(one, card, settings_of(card)) if known.how == "confirmed"][-1]
    assert last.photos == 3
    assert last.blind_k[[1, 3, 5]] == pytest.approx([0.25, 0.5, 0.25])
    assert last.told_k.argmax() == 3


def test_history_tells_more_than_the_photo_alone(telling_bundle: Path) -> None:
    """Photos that hardly know, pairs that do: each further photo makes the set smaller."""
    card = card_with(telling_bundle, {-1: 0.5, 1: 0.5})
    bins = [
        BinPhotos(
            f"g{number}",
            tuple(f"{number}-{photo}" for photo in range(3)),
            (2, 3, 4),
            tuple(shows(count, card, sure=0.3) for count in (2, 3, 4)),
            (None, speaks_for(1), speaks_for(1)),
        )
        for number in range(5)
    ]
    found = over_time(bins, card, ("1", "2", "3", "4", "5"), Resampling(0, 100))
    of = {(step.how, step.counts, step.of_bins, step.photos): step.figures for step in found.steps}
    sizes = [of["followed", "1-5", 3, photos]["set_size"].model.value for photos in (1, 2, 3)]
    assert sizes[0] > sizes[2]
    assert of["followed", "all", 3, 3]["log_loss"].model.value < of["alone", "all", 3, 3]["log_loss"].model.value
    assert of["confirmed", "all", 3, 3]["accuracy"].model.value == 1.0
    assert (found.bins, found.photos) == (5, 15)


def test_counts_beyond_the_filters_are_its_last(telling_bundle: Path) -> None:
    card = card_with(telling_bundle, {-1: 0.5, 1: 0.5})
    one = BinPhotos("g", ("a", "b"), (88, 87), (shows(88, card),) * 2, (None, speaks_for(-1)))
    told = [known for known in known_of(one, card, settings_of(card)) if known.how == "confirmed"]
    assert told[0].told_k.argmax() == card.count_keys.index("6+")
