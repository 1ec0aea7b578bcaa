"""A photo of a known bin goes into the ledger, and the answer says what the ledger then knows of the bin."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine

from bintally.counting.counter import Counter
from bintally.errors import RequestError
from bintally.inventory import schema
from bintally.inventory.judging.arrivals import WITH_PHOTO
from bintally.inventory.judging.how import How
from bintally.inventory.ledger import Ledger, add_site
from bintally.serving.bins.ledger_place import LedgerPlace, check_photos_folder
from tests.inventory.judging.yard import Yard, hour, shown
from tests.serving.bins.shop import Shop, replaced, stock, wrong_estimate


def refusal(shop: Shop, code: str, count: float = 3, *, at: float | None = 1, **told: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        shop.sends(code, count, at=at, **told)
    return caught.value


def test_the_answer_is_what_the_ledger_knows_then(shop: Shop) -> None:
    judged = shop.sends("A", 3, at=1)
    assert judged.degraded == ()
    assert judged.verdict is not None
    assert (judged.verdict.outcome, judged.verdict.recorded_count) == ("match", 3)
    state = judged.bin
    assert state is not None
    assert (state.bin_id, state.site, state.count, state.evidence) == ("A", "STR1", 3, "photo")
    assert (state.recorded_count, state.confirmed_count, state.previous_photo_at) == (3, None, None)
    assert (state.photos, state.photo_is_new, state.review_id) == (1, True, None)
    assert sum(state.probabilities.values()) == pytest.approx(1.0, abs=0.01)
    assert min(state.probabilities.values()) >= 0.00005
    assert state.expected_count == pytest.approx(3.0, abs=0.2)
    assert judged.estimate is not None
    assert judged.estimate.timings is not None


def test_the_posterior_is_the_one_of_the_newest_belief(file_shop: Shop) -> None:
    for moment in (1, 2, 3):
        judged = file_shop.sends("A", 3, at=moment)
    believed = msgspec.json.decode(file_shop.rows(schema.Belief)[-1].probabilities)
    assert judged.bin is not None
    assert judged.bin.probabilities == {str(n): share for n, share in enumerate(believed) if share >= 0.00005}
    assert judged.bin.previous_photo_at == hour(2)


def test_a_count_by_a_person_and_the_review_are_told(shop: Shop, tmp_path: Path) -> None:
    first = shop.sends("B", 3, at=1)
    assert first.bin is not None
    assert first.verdict is not None
    assert first.verdict.outcome == "mismatch"
    assert first.bin.review_id is not None
    with shop.taker.place.opened() as ledger:
        yard = Yard.new(ledger, shop.taker.how(shop.counter), shop.photos)
        yard.decide("B", "correct", count=3)
    second = shop.sends("B", 3, at=2)
    assert second.bin is not None
    assert (second.bin.confirmed_count, second.bin.confirmed_at, second.bin.recorded_count) == (3, hour(1), 3)
    assert second.bin.review_id is None
    assert second.bin.evidence == "change"


def test_the_network_does_not_look_at_the_photo_again(file_shop: Shop) -> None:
    told = replaced(file_shop.delivery("A", 3, at=1), estimate=wrong_estimate(5))
    assert file_shop.takes(told).estimate == msgspec.structs.replace(wrong_estimate(5), timings=None)
    [row] = file_shop.rows(schema.Estimate)
    assert msgspec.json.decode(row.body)["count"] == 5


@pytest.mark.parametrize("changed", [{"model_sha256": "0" * 64}, {"estimate": None}])
def test_what_another_model_saw_or_some_counts_only_is_looked_at_anew(
    file_shop: Shop, changed: dict[str, object]
) -> None:
    told = replaced(file_shop.delivery("A", 3, at=1), **({"estimate": wrong_estimate(5)} | changed))
    file_shop.takes(told)
    [row] = file_shop.rows(schema.Estimate)
    assert msgspec.json.decode(row.body)["count"] == 3


def test_the_judge_shares_the_network_of_the_engine(bundle: Path, counter: Counter) -> None:
    assert How.open(counter).counter is counter
    assert How.open(bundle).sha256 == How.open(counter).sha256


def test_the_same_photo_twice_is_one_photo_with_one_answer(shop: Shop) -> None:
    first, second = (shop.sends("A", 3, at=1) for _ in range(2))
    assert first.bin is not None
    assert second.bin is not None
    assert (first.bin.photo_is_new, second.bin.photo_is_new) == (True, False)
    assert msgspec.structs.replace(second.bin, photo_is_new=True) == first.bin
    assert second.verdict == first.verdict
    for table in (schema.Photo, schema.Estimate, schema.Verdict, schema.Belief):
        assert len(shop.rows(table)) == 1


def test_a_retry_without_captured_at_is_the_same_photo(shop: Shop) -> None:
    before = datetime.now(UTC)
    shop.sends("A", 3, at=None)
    again = shop.sends("A", 3, at=None, recorded_count=3)
    assert again.bin is not None
    assert not again.bin.photo_is_new
    [row] = shop.rows(schema.Photo)
    assert before <= row.taken_at <= datetime.now(UTC)


def test_a_photo_with_a_time_is_found_again_without_one(file_shop: Shop) -> None:
    file_shop.sends("A", 3, at=1)
    again = file_shop.sends("A", 3, at=None, photo=shown("A", 3, 1))
    assert again.bin is not None
    assert not again.bin.photo_is_new
    assert [row.taken_at for row in file_shop.rows(schema.Photo)] == [hour(1)]


def test_a_late_photo_takes_its_place_between_the_others(shop: Shop) -> None:
    shop.sends("A", 3, at=1)
    shop.sends("A", 3, at=3)
    late = shop.sends("A", 3, at=2)
    assert late.bin is not None
    assert (late.bin.previous_photo_at, late.bin.photos) == (hour(1), 3)
    pairs = {(row.earlier_id, row.later_id) for row in shop.rows(schema.Comparison)}
    assert pairs == {(1, 2), (1, 3), (3, 2)}


def test_a_record_that_the_ledger_has_is_no_new_version(file_shop: Shop) -> None:
    judged = file_shop.sends("A", 3, at=1, recorded_count=3)
    assert judged.verdict is not None
    assert judged.verdict.outcome == "match"
    assert len(file_shop.rows(schema.StockRecord)) == 3


def test_another_record_is_a_new_version_from_the_photo_on(shop: Shop) -> None:
    for _ in range(2):  # a retry is no second version
        judged = shop.sends("A", 4, at=1, recorded_count=4)
    assert judged.verdict is not None
    assert (judged.verdict.outcome, judged.verdict.recorded_count) == ("match", 4)
    told = [row for row in shop.rows(schema.StockRecord) if row.source == WITH_PHOTO]
    assert [(row.quantity, row.effective_at) for row in told] == [(4, hour(1))]
    assert judged.bin is not None
    assert judged.bin.recorded_count == 4


def test_a_record_told_late_does_not_replace_a_newer_one(file_shop: Shop) -> None:
    file_shop.sends("A", 5, at=2, recorded_count=5)
    late = file_shop.sends("A", 3, at=1, recorded_count=4)
    assert late.bin is not None
    assert late.bin.recorded_count == 5


def test_an_unknown_bin_is_refused_with_the_nearest_and_leaves_no_file(shop: Shop) -> None:
    with shop.taker.place.opened() as ledger:
        Yard.new(ledger, shop.taker.how(shop.counter), shop.photos).record("SHELF-12", 1)
    error = refusal(shop, "SHELF-21")
    assert (error.status, error.code) == (422, "unknown_bin")
    assert "Did you mean 'SHELF-12'" in error.hint
    assert not shop.photos.exists()
    assert shop.spool.waiting() == []


def test_an_unknown_site_is_refused(file_shop: Shop) -> None:
    error = refusal(file_shop, "A", site="STR2")
    assert (error.status, error.code) == (422, "unknown_site")
    assert "STR1" in error.hint


def test_where_there_are_several_sites_the_field_is_named_and_not_an_option(file_shop: Shop) -> None:
    with Ledger.open(file_shop.place) as ledger, ledger.write() as connection:
        add_site(connection, code="STR2")
    assert refusal(file_shop, "A").hint == "Say site: STR1, STR2."


@pytest.mark.parametrize(
    "told",
    [
        {"code": ""},
        {"code": "A\0"},
        {"code": "A\ud800"},
        {"code": "x" * 201},
        {"code": "A", "site": " "},
        {"code": "A", "recorded_count": -1},
        {"code": "A", "recorded_count": 2**40},
        {"code": "A", "captured_at": datetime(1066, 10, 14, tzinfo=UTC)},
        {"code": "A", "captured_at": datetime(2026, 1, 1)},
    ],
)
def test_what_can_never_be_is_refused_whether_or_not_the_ledger_is_there(
    file_shop: Shop, told: dict[str, object]
) -> None:
    from bintally.serving.bins.taking import check

    changes = {("bin_id" if name == "code" else name): value for name, value in told.items()}
    with pytest.raises(RequestError) as caught:
        check(replaced(file_shop.delivery("A", 3, at=1), **changes))
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")


def test_a_photo_of_another_bin_is_a_conflict(shop: Shop) -> None:
    shop.sends("A", 3, at=1)
    error = refusal(shop, "B", photo=shown("A", 3, 1))
    assert (error.status, error.code) == (409, "photo_of_another_bin")
    assert "bin A" in error.message


def test_a_photo_with_another_time_is_a_conflict(file_shop: Shop) -> None:
    file_shop.sends("A", 3, at=1)
    error = refusal(file_shop, "A", at=2, photo=shown("A", 3, 1))
    assert (error.status, error.code) == (409, "photo_known")
    assert "taken at" in error.message


def test_the_client_stands_in_the_audit_log(file_shop: Shop) -> None:
    file_shop.sends("A", 3, at=1, client="robot-7")
    engine = create_engine(f"sqlite:///{file_shop.place}")
    with engine.connect() as connection:
        query = "SELECT actor FROM audit WHERE action = 'photo.take'"
        assert connection.exec_driver_sql(query).scalars().all() == ["robot-7"]
    engine.dispose()


def test_photos_are_kept_under_their_hash(file_shop: Shop) -> None:
    file_shop.sends("A", 3, at=1)
    sha256 = hashlib.sha256(shown("A", 3, 1)).hexdigest()
    assert (file_shop.photos / sha256[:2] / f"{sha256}.png").read_bytes() == shown("A", 3, 1)


def test_a_ledger_file_that_was_replaced_is_opened_anew(file_shop: Shop, tmp_path: Path) -> None:
    """What is written to a deleted file is lost: once a restored backup would have been written past."""
    file_shop.sends("A", 3, at=1)
    other = stock(str(tmp_path / "restored.sqlite"))
    file_shop.taker.place.close()  # SQLite merges its log into the file when the last one closes it
    with file_shop.taker.place.opened():
        Path(other).replace(file_shop.place)
        for suffix in ("-wal", "-shm"):
            Path(f"{file_shop.place}{suffix}").unlink(missing_ok=True)
    file_shop.sends("B", 5, at=1)
    assert [row.taken_at for row in file_shop.rows(schema.Photo)] == [hour(1)]


def test_photos_of_a_ledger_on_a_server_need_a_folder(tmp_path: Path) -> None:
    from bintally.errors import UsageError

    check_photos_folder("ledger.sqlite", None)
    check_photos_folder("postgresql://me@host/shop", tmp_path)
    with pytest.raises(UsageError, match="BINTALLY_SERVE_PHOTOS="):
        check_photos_folder("postgresql://me@host/shop", None)


def test_a_password_is_not_told(tmp_path: Path) -> None:
    from bintally.errors import StorageError

    place = LedgerPlace("postgresql://me:secret-word@127.0.0.1:9/shop", wait_s=0.1)
    with pytest.raises(StorageError) as caught:
        place.check()
    assert "secret-word" not in str(caught.value)
