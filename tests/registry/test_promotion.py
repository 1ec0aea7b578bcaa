"""A version becomes the champion by the gates' word or a person's, never over somebody's rollback."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from bintally.bundle import MODEL
from bintally.database import audit, leases
from bintally.errors import ConflictError, UsageError
from bintally.registry import gate_runs, shadow
from bintally.registry.approval import approve, reject
from bintally.registry.place import SETTINGS, Registry
from bintally.registry.promotion import promote, promoting, turn_of
from bintally.registry.registration import register
from bintally.registry.rollback import rollback
from tests.bundles import recard
from tests.registry.conftest import MakeBundle
from tests.registry.worlds import champion, champions, promoted, registered, said


def test_a_version_that_passed_is_champion_with_the_gates_word_kept(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"), bundle("b"))
    first = promoted(registry, "bintally/1")
    second = promote(registry, "2", gates=said(registry, "2"), by=" rita ", reason="more light")
    assert (first.before, second.before and second.before.name) == (None, "bintally/1")
    assert second.version.state == "Approved"
    with registry.read() as connection:
        assert second.gate_run_id is not None
        kept = gate_runs.gate_run(connection, second.gate_run_id)
        told = [(line.actor, line.action, line.body.get("reason")) for line in audit.entries(connection)][-3:]
        assert audit.verify(connection).is_whole
    assert (kept.passed, kept.against_id, kept.by) == (True, first.version.id, "rita")
    assert told == [
        ("rita", "model.gates", None), ("rita", "model.state", "more light"), ("rita", "model.promote", "more light"),
    ]  # fmt: skip


def test_one_that_failed_stays_out_and_that_is_kept_too(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"), bundle("b"))
    promoted(local, "1")
    refused = promote(local, "2", gates=said(local, "2", passed=False), by="night")
    assert not refused.promoted
    assert "did not let bintally/2 through" in refused.why
    assert champion(local) == "bintally/1"
    with local.read() as connection:
        [kept] = gate_runs.gate_runs(connection, refused.version.id)
    assert (kept.passed, kept.id) == (False, refused.gate_run_id)


def test_without_a_word_of_the_gates_nothing_is_promoted(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"))
    assert "said nothing" in promote(local, "1", by="rita").why
    assert champion(local) is None


def test_a_word_that_was_kept_counts_as_long_as_the_champion_stays(local: Registry, bundle: MakeBundle) -> None:
    (local.place / SETTINGS).write_text('approval = "manual"\n')
    with Registry.open(local.place) as manual:
        registered(manual, bundle("a"), bundle("b"), bundle("c"))
        waiting = promote(manual, "1", gates=said(manual, "1"), by="night")
        assert "waits for somebody" in waiting.why
        assert "waits for" in promote(manual, "1", force_reason="now!", by="rita").why, "approval is not set aside"
        approve(manual, "1", by="anna")
        assert promote(manual, "1", by="anna").gate_run_id == waiting.gate_run_id
        promote(manual, "2", gates=said(manual, "2"), by="night")
        approve(manual, "2", by="anna")
        approve(manual, "3", by="anna")
        promoted(manual, "3")
        assert "beside today's champion" in promote(manual, "2", by="anna").why


def test_force_needs_a_reason_and_keeps_it(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"))
    with pytest.raises(UsageError, match="needs a reason"):
        promote(local, "1", force_reason="  ", by="rita")
    forced = promote(local, "1", gates=said(local, "1", passed=False), force_reason="the old camera", by="rita")
    assert forced.promoted
    assert champions(local) == [("force", "bintally/1")]
    with local.read() as connection:
        assert list(audit.entries(connection))[-1].body["reason"] == "the old camera"


def test_gates_that_compared_with_an_older_champion_are_in_conflict(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"), bundle("b"), bundle("c"))
    promoted(registry, "1")
    late = said(registry, "2")
    promoted(registry, "3")
    with pytest.raises(ConflictError, match=r"another champion than today's \(it is bintally/3\)"):
        promote(registry, "2", gates=late, by="night")
    with pytest.raises(ConflictError, match="another version"):
        promote(registry, "2", gates=said(registry, "1"), by="night")
    assert champion(registry) == "bintally/3"


def test_a_rollback_while_gates_run_is_not_undone(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"), bundle("b"), bundle("c"))
    promoted(local, "1")
    promoted(local, "2")
    with promoting(local, by="night") as turn:
        judged = said(local, "3")
        rollback(local, by="rita")  # waits for nobody's turn
        with pytest.raises(ConflictError):
            promote(local, "3", gates=judged, turn=turn, by="night")
    assert champion(local) == "bintally/1"


def test_the_champion_promoted_again_changes_nothing(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"))
    judged = said(local, "1")
    promoted(local, "1")
    again = promote(local, "1", gates=judged, by="night")
    assert (again.promoted, again.change_id) == (True, None)
    assert champions(local) == [("promote", "bintally/1")]


def test_what_was_rolled_back_from_is_no_machines_to_promote(
    registry: Registry, bundle: MakeBundle, tmp_path: Path
) -> None:
    registered(registry, bundle("a"), bundle("b"))
    promoted(registry, "1")
    promoted(registry, "2")
    rollback(registry, by="rita", reason="it counts shadows")
    told = promote(registry, "2", gates=said(registry, "2"), by="night")
    assert not told.promoted
    assert "rita rolled back from bintally/2" in told.why
    assert "(it counts shadows)" in told.why
    exported_again = _copied(bundle("b"), tmp_path / "again")
    recard(exported_again, created="2026-02-02T00:00:00Z")
    again = register(registry, exported_again, by="night")
    assert (again.is_new, again.version.name) == (True, "bintally/3")
    assert "the same network" in promote(registry, "3", gates=said(registry, "3"), by="night").why
    assert champion(registry) == "bintally/1"
    assert promote(registry, "2", force_reason="shadows are gone", by="rita").promoted
    promoted(registry, "3")  # nobody's rollback is against it any more


def test_what_was_rolled_back_past_is_no_machines_to_promote_either(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"), bundle("b"), bundle("c"))
    for name in "123":
        promoted(local, name)
    rollback(local, to="1", by="rita", reason="both count shadows")
    for name in "23":
        told = promote(local, name, gates=said(local, name), by="night")
        assert not told.promoted
        assert ("rita rolled back past bintally/2" if name == "2" else "from bintally/3") in told.why


def test_the_same_training_done_again_is_no_way_around_a_rollback(local: Registry, bundle: MakeBundle) -> None:
    registered(local, bundle("a"), bundle("b"), bundle("c"))
    with local.write() as connection:
        connection.execute(text("DROP TRIGGER model_version_no_update"))
        connection.execute(
            text("UPDATE model_version SET lineage = :told WHERE number > 1"),
            {"told": msgspec.json.encode({"code": {"identity": "f" * 64}}).decode()},
        )
    promoted(local, "1")
    promoted(local, "2")
    rollback(local, by="rita")
    assert "the same training" in promote(local, "3", gates=said(local, "3"), by="night").why


def test_a_rejected_version_and_one_whose_bundle_is_away_stay_out(local: Registry, bundle: MakeBundle) -> None:
    _, second = registered(local, bundle("a"), bundle("b"))
    reject(local, "1", by="anna", reason="blurred photos")
    assert "is Rejected" in promote(local, "1", gates=said(local, "1"), by="night").why
    assert "is Rejected" in promote(local, "1", force_reason="now!", by="rita").why
    local.bundle_of(second.bundle_sha256).rename(local.place / "elsewhere")
    assert "is it mounted?" in promote(local, "2", force_reason="now!", by="rita").why
    assert champion(local) is None


def test_a_damaged_version_is_not_promoted_nor_put_in_the_shadow(local: Registry, bundle: MakeBundle) -> None:
    _, second = registered(local, bundle("a"), bundle("b"))
    promoted(local, "1")
    (local.bundle_of(second.bundle_sha256) / MODEL).write_bytes(b"no model")
    assert "not those that were registered" in promote(local, "2", force_reason="now!", by="rita").why
    with pytest.raises(UsageError, match="not those that were registered"):
        shadow.start(local, "2", by="rita")
    registered(local, bundle("b"))
    assert promote(local, "2", force_reason="it is mended", by="rita").promoted


def test_a_turn_from_before_the_clock_was_set_back_stops_nobody(
    local: Registry, bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(local, bundle("a"))
    with monkeypatch.context() as patch:
        patch.setattr("bintally.database.leases.now", lambda: datetime.now(UTC) + timedelta(days=3))
        killed = leases.Lease(local, turn_of("bintally"), by="night", seconds=60)
        killed.start()
        with local.read() as connection, pytest.raises(ConflictError, match="night is at it"):
            leases.must_be_free(connection, turn_of("bintally"))
    with local.read() as connection:
        leases.must_be_free(connection, turn_of("bintally"))
    with promoting(local, by="rita") as turn:
        assert promote(local, "1", gates=said(local, "1"), turn=turn, by="rita").promoted
        killed.end()
        with local.read() as connection:
            assert leases.is_held(connection, turn_of("bintally")), "by whoever took it over"


def test_a_turn_of_a_machine_whose_clock_is_minutes_ahead_counts(
    local: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = leases.Lease(local, "a turn", by="night", seconds=60)
    with monkeypatch.context() as patch:
        patch.setattr("bintally.database.leases.now", lambda: datetime.now(UTC) + timedelta(minutes=5))
        ahead.start()
    with pytest.raises(ConflictError, match="night is at it"), leases.held(local, "a turn", by="rita"):
        pass
    ahead.end()


def test_one_has_the_turn_and_others_hear_who(registry: Registry, bundle: MakeBundle) -> None:
    registered(registry, bundle("a"))
    judged = said(registry, "1")
    with promoting(registry, by="night shift") as turn:
        with pytest.raises(ConflictError, match="night shift is at it"), promoting(registry, by="rita"):
            pass
        with pytest.raises(ConflictError, match="night shift is at it"):
            promote(registry, "1", gates=judged, by="rita")
        with promoting(registry, "other", by="rita"):  # another model's turn
            pass
        assert promote(registry, "1", gates=judged, turn=turn, by="night shift").promoted
    with promoting(registry, by="rita"):
        pass


def test_a_turn_is_renewed_while_it_is_held_and_taken_over_when_it_is_not(
    local: Registry, bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(local, bundle("a"))
    with promoting(local, by="night", seconds=0.3):
        time.sleep(0.7)
        with local.read() as connection, pytest.raises(ConflictError):
            leases.must_be_free(connection, "promotion of bintally")
    held_up = threading.Event()
    monkeypatch.setattr(leases.Lease, "_renew", lambda self: held_up.wait(10))  # as a machine that hangs
    with promoting(local, by="night", seconds=0.1) as turn:
        time.sleep(0.2)
        with promoting(local, by="rita", seconds=30):
            with pytest.raises(ConflictError, match="others may do it now"):
                promote(local, "1", gates=said(local, "1"), turn=turn, by="night")
            held_up.set()
        assert champion(local) is None


@pytest.mark.parametrize("by", ["", "  ", "x" * 201])
def test_somebody_must_have_done_it(local: Registry, bundle: MakeBundle, by: str) -> None:
    with pytest.raises(UsageError, match="nobody's name"):
        register(local, bundle("a"), by=by)


def _copied(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target
