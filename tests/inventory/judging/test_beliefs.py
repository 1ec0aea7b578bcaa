"""What is known of a bin follows from its facts alone: not from the order they come in, nor from how often."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.counting.follow_settings import FollowSettings
from bintally.inventory import schema
from bintally.inventory.judging.beliefs import Believed, believe, events_of, rounded
from bintally.inventory.judging.facts import read_facts
from bintally.inventory.judging.how import How, follow_settings
from bintally.inventory.judging.looking import compare, look, unpaired
from bintally.inventory.ledger import Ledger, site_of
from tests.databases import new_ledger
from tests.inventory.judging.yard import DARK, Yard, hour


def known(yard: Yard, *, at: float | None = None) -> Believed:
    """What is known of the first bin, now or as it was known at an hour."""
    with yard.ledger.read() as connection:
        moment = None if at is None else hour(at)
        facts = read_facts(connection, [1], yard.how.card.model_sha256, known_at=moment)
    return believe(facts, yard.how)[0]


def kinds(yard: Yard) -> list[str]:
    return [row.kind for row in yard.rows(schema.Belief)]


def test_kinds_of_evidence(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 3, at=1, data=DARK)
    yard.arrives("A", 3, at=2)
    assert kinds(yard) == ["none", "photo"]
    yard.move("A", 1, at=3)
    yard.reconcile()
    yard.arrives("A", 4, at=4)
    assert kinds(yard)[2:] == ["photo", "photo"]  # nobody has counted
    yard.decide("A", "correct", count=4)
    yard.arrives("A", 4, at=5)
    assert kinds(yard)[-1] == "change"


def test_small_probabilities_keep_their_ratio() -> None:
    """Once beliefs had six decimals: 6e-7 beside 4e-7 became 1e-6 beside 0, a photo that speaks a thousandfold."""
    told, prior = rounded(np.array([0.123456789, 6.123456e-7, 0.0, 1.0])), rounded(np.array([0.5, 4e-7, 1e-13, 1.0]))
    assert told.tolist() == [0.123457, 6.12346e-7, 0.0, 1.0]
    assert prior.tolist() == [0.5, 4e-7, 0.0, 1.0]


def test_what_changed_between_records_was_moved_unless_a_transaction_tells_of_it(yard: Yard) -> None:
    yard.record("A", 5, at=0)
    yard.record("A", 5, at=1)
    yard.record("A", 3, at=4)
    yard.record("A", 6, at=8)

    def moved() -> list[tuple[int, float]]:
        with yard.ledger.read() as connection:
            [facts] = read_facts(connection, [1], yard.how.card.model_sha256)
        return sorted((move.quantity, (move.moved_at - hour(0)).total_seconds() / 3600) for move in facts.moves)

    assert moved() == [(-2, 4), (3, 8)]
    yard.move("A", -2, at=3)
    yard.move("A", 1, at=6)
    assert moved() == [(-2, 3), (1, 6), (2, 8)]


@pytest.mark.parametrize(("later", "moved"), [(3, []), (4, []), (5, [1])])
def test_a_correction_that_the_stock_system_takes_over_or_not_is_no_move(
    yard: Yard, later: int, moved: list[int]
) -> None:
    yard.record("A", 3)
    yard.arrives("A", 3, at=1)
    yard.arrives("A", 4, at=2)  # the model is sure of a count that is not recorded
    yard.decide("A", "correct", count=4)
    yard.record("A", later, at=5)
    with yard.ledger.read() as connection:
        [facts] = read_facts(connection, [1], yard.how.card.model_sha256)
    assert [move.quantity for move in facts.moves] == moved


def test_photos_that_people_called_another_bins_tell_nothing_until_that_is_undone(yard: Yard) -> None:
    yard.record("A", 5)
    yard.arrives("A", 3, at=1)
    before = known(yard)
    yard.arrives("A", 1, at=2)
    between = known(yard)
    decided = yard.decide("A", "not_this_bin")
    assert known(yard).sha256 == before.sha256
    yard.undo(decided.decision_id)
    assert known(yard).sha256 == between.sha256


def test_a_count_tells_until_it_is_undone(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 1, at=1)
    before = known(yard)
    decided = yard.decide("A", "correct", count=5)
    assert known(yard).probabilities_c.argmax() == 5
    yard.undo(decided.decision_id)
    assert known(yard).sha256 == before.sha256


def test_more_than_any_bin_holds_tells_nothing_and_says_why(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 3, at=1)
    yard.move("A", 500, at=2)
    told = known(yard)
    assert (told.kind, told.probabilities_c.tolist()) == ("none", told.prior_c.tolist())
    assert "500 items are more than max_count" in str(told.reason)
    yard.reconcile()
    assert yard.verdicts("A")[-1] == ("stale", "none")


def test_what_a_record_says_is_no_event(yard: Yard) -> None:
    """Only what changes from one to the next is: the record is what is judged."""
    yard.record("A", 3, at=0.5)
    yard.arrives("A", 3, at=1)
    before = known(yard)
    yard.record("A", 3)
    yard.record("A", 3, at=0.7)
    assert known(yard).sha256 == before.sha256


def test_settings_come_from_a_section_of_a_file(how: How, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("[follow]\nmax_count = 12\n[follow.transactions]\nnothing = 0.1\n")
    told = follow_settings(path, how.card)
    assert (told.max_count, told.transactions.nothing) == (12, 0.1)
    assert told.start == how.card.target_prior
    assert follow_settings(None, how.card) == FollowSettings(start=how.card.target_prior)


moments = st.integers(1, 40).map(lambda each: each / 4)
facts = st.one_of(
    st.tuples(st.just("photo"), moments, st.integers(0, 5)),
    st.tuples(st.just("move"), moments, st.integers(-2, 2)),
    st.tuples(st.just("record"), moments, st.integers(0, 6)),
    st.tuples(st.just("dark"), moments, st.integers(0, 99)),
)


def deliver(yard: Yard, fact: tuple[str, float, int], received: float | None = None) -> None:
    """Facts are told apart by kind and moment: two photos of one moment have the same bytes here."""
    kind, at, number = fact
    if kind == "photo":
        yard.photo("A", number, at=at, received=received)
    elif kind == "dark":
        yard.photo("A", 0, at=at, data=bytes([number]) + DARK, received=received)
    elif kind == "move":
        yard.move("A", number, at=at, received=received)
    else:
        yard.record("A", number, at=at, received=received)


def looked(yard: Yard) -> None:
    """Photos are looked at, alone and in pairs; nothing is judged."""
    look(yard.ledger, yard.how, yard.site)
    with yard.ledger.read() as connection:
        pairs = unpaired(read_facts(connection, [1], yard.how.card.model_sha256), yard.how.card.model_sha256)
    compare(yard.ledger, yard.how, yard.site, pairs)


@pytest.fixture(scope="module")
def empty(how: How, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A yard's ledger, to be copied: making one takes longer than all that is done with it here."""
    folder = tmp_path_factory.mktemp("empty")
    with new_ledger(folder / "made.sqlite") as ledger:
        Yard.new(ledger, how, folder)
    return folder / "made.sqlite"


@contextmanager
def fresh(empty: Path, how: How) -> Iterator[Yard]:
    """A yard of its own."""
    with TemporaryDirectory() as folder:
        place = Path(shutil.copy(empty, folder))
        with Ledger.open(place) as ledger:
            with ledger.read() as connection:
                site = site_of(connection)
            yield Yard(ledger, site, how, Path(folder) / "photos")


def different(some: list[tuple[str, float, int]]) -> list[tuple[str, float, int]]:
    """One fact of a kind and moment; one dark photo, since the same bytes were not taken at two times."""
    return list({(kind, None if kind == "dark" else at): (kind, at, number) for kind, at, number in some}.values())


@settings(max_examples=12)
@given(st.lists(facts, min_size=1, max_size=6).map(different), st.integers(0, 2**32 - 1))
def test_neither_order_nor_repetition_of_facts_changes_what_is_known(
    empty: Path, how: How, some: list[tuple[str, float, int]], seed: int
) -> None:
    told = []
    for order in (some, random.Random(seed).sample(some * 2, 2 * len(some))):
        with fresh(empty, how) as yard:
            for fact in order:
                deliver(yard, fact)
                if seed % 2:
                    looked(yard)
            looked(yard)
            told.append(known(yard))
    first, second = told
    assert first.sha256 == second.sha256
    assert (first.kind, first.at, first.reason) == (second.kind, second.at, second.reason)
    assert first.probabilities_c.tolist() == second.probabilities_c.tolist()
    assert first.prior_c.tolist() == second.prior_c.tolist()


@settings(max_examples=12)
@given(st.lists(facts, min_size=2, max_size=6).map(different))
def test_a_later_fact_never_changes_what_was_known_before_it(
    empty: Path, how: How, some: list[tuple[str, float, int]]
) -> None:
    with fresh(empty, how) as yard:
        then = []
        for received, fact in enumerate(some):
            deliver(yard, fact, received=50 + received)
            looked(yard)
            then.append(known(yard))
        for received, before in enumerate(then):
            again = known(yard, at=50 + received)
            assert again.sha256 == before.sha256
            assert again.probabilities_c.tolist() == before.probabilities_c.tolist()


def test_what_was_decided_later_was_not_known_before(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 1, at=1)
    decided = yard.decide("A", "correct", count=5)  # at hour 100
    yard.undo(decided.decision_id)  # at hour 101
    with yard.ledger.read() as connection:
        told = [
            read_facts(connection, [1], yard.how.card.model_sha256, known_at=hour(at) + timedelta(minutes=1))[0].told
            for at in (99, 100, 101)
        ]
    assert [[each.count for each in one] for one in told] == [[], [5], []]


def test_photos_of_one_moment_stand_in_a_fixed_order(yard: Yard) -> None:
    for data in (b"\x01", b"\x00"):
        yard.photo("A", 2, at=1, data=data + DARK)
    yard.reconcile()
    with yard.ledger.read() as connection:
        [told] = read_facts(connection, [1], yard.how.card.model_sha256)
    assert [look.sha256 for look in told.looks] == sorted(look.sha256 for look in told.looks)
    assert events_of(told) == []
