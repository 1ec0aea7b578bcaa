"""What is judged, what is not, and what bars a record from being accepted."""

import json

import msgspec
import pytest
from sqlalchemy import Connection

from bintally.inventory import schema
from bintally.inventory.intake import record_as_of
from bintally.inventory.judging.beliefs import believe
from bintally.inventory.judging.cases import cases_of
from bintally.inventory.judging.facts import read_facts
from bintally.inventory.judging.how import How
from bintally.inventory.policy.decide import Policy
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.verdict import Verdict
from tests.bundles import no_bin_pixels
from tests.inventory.judging.yard import DARK, Yard, hour, shown


def newest(yard: Yard) -> Verdict:
    """The last verdict."""
    return msgspec.json.decode(yard.rows(schema.Verdict)[-1].body, type=Verdict)


def test_a_right_record_is_accepted_and_a_wrong_one_goes_to_a_person(yard: Yard) -> None:
    yard.record("right", 3)
    yard.record("wrong", 5)
    accepted, doubted = yard.arrives("right", 3, at=1), yard.arrives("wrong", 3, at=1)
    assert accepted.verdict is not None
    assert doubted.verdict is not None
    assert (accepted.verdict.outcome, accepted.review_id) == ("match", None)
    assert (doubted.verdict.outcome, doubted.verdict.count) == ("mismatch", 3)
    assert doubted.review_id is not None


@pytest.mark.parametrize("how_it_moved", ["movement", "record"])
def test_a_record_is_stale_where_stock_moved_after_the_photo(yard: Yard, how_it_moved: str) -> None:
    yard.record("A", 5)
    yard.arrives("A", 3, at=1)
    assert yard.open_reviews("A") == 1
    if how_it_moved == "movement":
        yard.move("A", 1, at=2)
    else:
        yard.record("A", 6, at=2)
    yard.reconcile()
    assert newest(yard).outcome == "stale"
    assert yard.open_reviews("A") == 0  # of a record that nobody should correct by that photo any more
    yard.arrives("A", 6, at=3)
    assert newest(yard).outcome != "stale"


def test_a_record_that_is_told_again_every_night_is_no_move(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 3, at=1)
    verdicts = yard.verdicts("A")
    for night in (2, 26, 50):
        yard.record("A", 3, at=night)
        yard.reconcile()
    assert yard.verdicts("A") == verdicts
    yard.record("A", 4, at=60)
    yard.record("A", 3, at=70)  # it says what it said then, but something has moved meanwhile
    yard.reconcile()
    assert newest(yard).outcome == "stale"


def test_photos_that_show_no_bin_or_can_t_be_read_accept_nothing(yard: Yard) -> None:
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(no_bin_pixels()).save(buffer, "PNG")
    for code, data, reason in (("A", buffer.getvalue(), "does not show a bin"), ("B", DARK, "can't be read")):
        yard.record(code, 3)
        yard.arrives(code, 3, at=1)
        told = yard.arrives(code, 3, at=2, data=data).verdict
        assert told is not None
        assert told.outcome == "uncertain"
        assert reason in told.reasons[0]
        assert yard.open_reviews(code) == 1


def test_what_a_person_called_uncountable_is_not_accepted_and_nobody_is_asked_again(yard: Yard) -> None:
    yard.record("A", 5)
    yard.arrives("A", 3, at=1)
    decided = yard.decide("A", "uncountable")
    yard.reconcile()
    assert newest(yard).outcome == "uncertain"
    assert "can't be counted" in newest(yard).reasons[0]
    assert yard.open_reviews("A") == 0
    yard.undo(decided.decision_id)
    yard.reconcile()
    assert yard.open_reviews("A") == 1


def test_bins_without_photo_or_record_get_no_verdict(yard: Yard) -> None:
    yard.record("without photo", 3)
    yard.move("without photo", 1, at=1)
    yard.photo("without record", 3, at=1)
    report = yard.reconcile()
    assert (report.bins, report.verdicts) == (2, 0)
    assert [row.kind for row in yard.rows(schema.Belief)] == ["photo"]
    assert yard.reconcile().bins == 0


@pytest.mark.parametrize(("kind", "count"), [("accept", None), ("correct", 4)])
def test_who_has_counted_by_the_last_photo_is_not_asked_again(yard: Yard, kind: str, count: int | None) -> None:
    yard.record("A", 5)
    yard.arrives("A", 3, at=1)
    yard.decide("A", kind, count=count)  # type: ignore[arg-type]
    report = yard.reconcile()
    assert (report.bins, report.verdicts, report.reviews) == (1, 0, 0)
    assert yard.open_reviews("A") == 0
    yard.arrives("A", count or 5, at=2)
    assert len(yard.verdicts("A")) == 2


def test_a_record_that_follows_from_a_count_and_movements_says_nothing_of_its_own(yard: Yard) -> None:
    yard.record("A", 5)
    yard.arrives("A", 3, at=1)
    yard.decide("A", "correct", count=3)
    yard.move("A", -1, at=2)
    yard.record("A", 2, at=2)
    yard.arrives("A", 2, at=3)
    assert "the bin was counted before" in " ".join(newest(yard).reasons)


def test_the_record_that_is_judged_is_the_one_in_force_at_the_photo(yard: Yard) -> None:
    for quantity, at in ((2, 0), (3, 1), (4, 0.5)):
        yard.record("A", quantity, at=at)
    yard.arrives("A", 3, at=2)

    def judged(connection: Connection) -> tuple[int, int]:
        [facts] = read_facts(connection, [1], yard.how.card.model_sha256)
        [case] = cases_of(believe([facts], yard.how))
        version = record_as_of(connection, 1, hour(2))
        assert version is not None
        return case.record.id, version.id

    with yard.ledger.read() as connection:
        mine, theirs = judged(connection)
    assert mine == theirs
    assert newest(yard).recorded_count == 3


def test_the_policy_is_kept_under_its_digest_and_another_one_judges_again(yard: Yard) -> None:
    yard.record("A", 3)
    yard.arrives("A", 3, at=1)
    strict = Policy(PolicySettings(promised_escape=1e-6), yard.how.policy.acceptance)
    report = yard.reconcile(policy=strict)
    assert yard.verdicts("A") == [("match", "photo"), ("uncertain", "photo")]
    kept = {row.sha256: json.loads(row.body) for row in yard.rows(schema.Policy)}
    assert kept[report.policy]["settings"]["promised_escape"] == 1e-6
    assert yard.reconcile(policy=strict).bins == 0


def test_who_goes_back_to_an_earlier_policy_gets_its_verdicts_and_reviews_again(yard: Yard) -> None:
    # The verdict of a policy that was tried in between once stood for good, and the review it withdrew was lost.
    yard.record("A", 3)
    yard.arrives("A", 3, at=1)
    strict = Policy(PolicySettings(promised_escape=1e-6), yard.how.policy.acceptance)
    assert yard.reconcile(policy=strict).reviews == 1
    assert yard.reconcile().reviews == 0
    assert [review.state for review in yard.rows(schema.Review)] == ["withdrawn"]
    assert yard.reconcile(policy=strict).reviews == 1
    assert yard.verdicts("A") == [
        ("match", "photo"),
        ("uncertain", "photo"),
        ("match", "photo"),
        ("uncertain", "photo"),
    ]
    assert [review.state for review in yard.rows(schema.Review)] == ["withdrawn", "open"]
    assert yard.reconcile(policy=strict).verdicts == 0


def test_accepted_ones_that_are_drawn_are_recounted_without_sight_of_the_record(yard: Yard, how: How) -> None:
    everyone = Policy(PolicySettings(recount_share=1.0), how.policy.acceptance)
    yard.record("A", 3)
    yard.photo("A", 3, at=1, data=shown("A", 3, 1))
    assert yard.reconcile(policy=everyone).reviews == 1
    [review] = yard.rows(schema.Review)
    assert (review.blind, review.reason, review.propensity) == (True, "check", 1.0)


def test_what_people_found_changes_what_records_are_expected_to_be(yard: Yard) -> None:
    for number in range(12):
        yard.record(f"A{number}", 5)
        yard.photo(f"A{number}", 3, at=1)
    yard.reconcile()
    for number in range(12):
        yard.decide(f"A{number}", "correct", count=3)
    yard.record("B", 3)
    told = yard.arrives("B", 3, at=1).verdict
    assert told is not None
    assert told.prior_right is not None
    assert told.prior_right < 0.8  # 12 of 12 records were wrong
