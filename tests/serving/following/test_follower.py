"""A service beside its registry: versions taken, refused, gone back to."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from bintally.bundle import CARD, MODEL
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from bintally.registry import heartbeats
from bintally.registry.aliases import Kind
from bintally.registry.place import Registry
from bintally.serving.following.follower import Champions
from tests.bundles import bin_photo, make_bundle
from tests.inventory.judging.yard import accept
from tests.serving.bins.shop import stock
from tests.serving.following.registries import Following, Shelf, following, until
from tests.serving.operation.test_metrics import samples_of


def test_a_new_champion_answers_and_everything_says_so(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    with following(shelf, state) as service:
        answer = service.count(4)
        assert (answer["count"], answer["model"], answer["model_version"]) == (4, "tiny-1", first)
        second = shelf.champion()
        assert until(lambda: service.version() == second)
        assert service.count()["model"] == "tiny-2"
        assert service.get("/health")["model_version"] == service.get("/model")["version"] == second
        assert service.get("/health")["status"] == "ok"
        found = samples_of(service.client.get("/metrics").text)
        assert found["bintally_model_changes_total", "taken"] == 1
        assert found["bintally_model_version", second] == 1
        assert until(lambda: shelf.done() == [(first, "taken"), (first, "left"), (second, "taken")])
        with Registry.open(shelf.place) as registry:
            assert until(lambda: [list(each.versions) for each in heartbeats.running(registry)] == [[second, first]])
    assert shelf.done()[-1] == (second, "left")
    with Registry.open(shelf.place) as registry:
        assert heartbeats.running(registry) == []


def test_a_model_can_be_asked_for_by_what_the_registry_calls_it(shelf: Shelf, state: Path) -> None:
    version = shelf.champion()
    with following(shelf, state) as service:
        for name in ("default", "tiny-1", "bintally", version):
            assert service.count(model=name)["model_version"] == version
        response = service.client.post(
            "/v1/counts", content=bin_photo(1), headers={"Content-Type": "image/png"}, params={"model": "bintally/9"}
        )
        assert response.status_code == 404


def test_without_a_registry_answers_name_no_version(bundle: Path, state: Path) -> None:
    from bintally.counting.counter import Counter
    from tests.serving.services import client_of

    with client_of(Counter(bundle, threads=1), state=state) as client:
        told = client.post("/v1/counts", content=bin_photo(1), headers={"Content-Type": "image/png"}).json()
        assert "model_version" not in told
        assert client.get("/health").json()["model_version"] is None


def truncated(shelf: Shelf) -> str:
    version = shelf.put()
    model = shelf.folder_of(version) / MODEL
    model.write_bytes(model.read_bytes()[:-10])
    return version


def changed(shelf: Shelf) -> str:
    version = shelf.put()
    card = shelf.folder_of(version) / CARD
    card.write_bytes(card.read_bytes().replace(b'"temperature": 1.0', b'"temperature": 1.5'))
    return version


def gone(shelf: Shelf) -> str:
    version = shelf.put()
    shutil.rmtree(shelf.folder_of(version))
    return version


def other_counts(shelf: Shelf) -> str:
    return shelf.put(keys=("0", "1", "2", "3+"))


def no_novelty(shelf: Shelf) -> str:
    return shelf.put(novelty=False)


def not_a_number(shelf: Shelf) -> str:
    return shelf.slip_in(shelf.bundle(sharpness=float("nan")))


def newer_schema(shelf: Shelf) -> str:
    return shelf.slip_in(shelf.bundle(schema_version=99))


def no_network(shelf: Shelf) -> str:
    """Its parts agree with each other, and it is no ONNX."""
    from tests.bundles import recard

    bundle = shelf.bundle()
    (bundle / MODEL).write_bytes(b"no network")
    return shelf.slip_in(recard(bundle))


def wrong_acceptance(shelf: Shelf) -> str:
    bundle = shelf.bundle()
    (bundle / "acceptance.json").write_text("{}")
    return shelf.slip_in(bundle)


BROKEN: dict[str, Callable[[Shelf], str]] = {
    "not those that were registered": truncated,
    "those that were registered": changed,
    "is gone": gone,
    "the counts 0, 1, 2, 3+": other_counts,
    "does not tell photos that show no bin": no_novelty,
    "NaN": not_a_number,
    "schema version 99": newer_schema,
    "can't be loaded": no_network,
    "acceptance.json": wrong_acceptance,
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_version_is_refused_for_good_and_the_old_one_goes_on(shelf: Shelf, state: Path, why: str) -> None:
    first = shelf.champion()
    with following(shelf, state) as service:
        broken = BROKEN[why](shelf)
        point_to(shelf, broken)
        assert until(lambda: bool(service.problem()))
        check_refused(service, shelf, first, broken, why)
    with following(shelf, state) as service:  # nor is it taken by the next start
        assert service.version() == first
        assert service.get("/health")["status"] == "degraded"
        assert broken in service.problem()
        assert [done for done in shelf.done() if done[1] == "refused"] == [(broken, "refused")]


def check_refused(service: Following, shelf: Shelf, first: str, broken: str, why: str) -> None:
    assert why in service.problem()
    assert f"{broken} is refused" in service.problem()
    assert f"{first} goes on" in service.problem()
    assert service.version() == first
    assert service.get("/health")["status"] == "degraded"
    assert until(lambda: (broken, "refused") in shelf.done())
    assert [why in reason for reason in shelf.reasons("refused")] == [True]
    found = samples_of(service.client.get("/metrics").text)
    assert found["bintally_problem", "model"] == 1
    assert found["bintally_model_changes_total", "refused"] == 1


def point_to(shelf: Shelf, version: str, *, kind: Kind = "promote") -> None:
    """Promotes what no promotion would: its bundle is not there, or damaged."""
    from bintally.registry import aliases
    from bintally.registry.versions import version_of

    with Registry.open(shelf.place) as registry, registry.write() as connection:
        before = aliases.alias_target(connection, "bintally", aliases.CHAMPION)
        aliases.point(
            connection, "bintally", aliases.CHAMPION, version_of(connection, version).id,
            kind=kind, by="tests", reason="", expect=before,
        )  # fmt: skip


def test_a_slow_version_is_refused(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    with following(shelf, state, max_slower=3.0) as service:
        shelf.champion(height_px=1500, width_px=1500)
        assert until(lambda: "times as long as the version before; 3 times is allowed" in service.problem())
        assert service.version() == first


def test_nothing_is_quick_enough_where_nothing_may_take_time(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    with following(shelf, state, max_slower=0.0) as service:
        shelf.champion()
        assert until(lambda: "0 times is allowed" in service.problem())
        assert service.version() == first


def test_what_was_refused_is_tried_again_after_the_next_change_of_the_alias(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    with following(shelf, state) as service:
        broken = truncated(shelf)
        point_to(shelf, broken)
        assert until(lambda: bool(service.problem()))
        shelf.roll_back()
        assert until(lambda: not service.problem())
        make_whole(shelf, broken)
        assert service.version() == first
        shelf.promote(broken)
        assert until(lambda: service.version() == broken)
        assert service.problem() == ""


def make_whole(shelf: Shelf, version: str) -> None:
    """Puts the files back that were registered."""
    number = int(version.rpartition("/")[2])
    shutil.copytree(shelf.place.parent / "bundles" / str(number), shelf.folder_of(version), dirs_exist_ok=True)


def test_a_reload_tries_a_refused_version_again(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    with following(shelf, state) as service:
        broken = truncated(shelf)
        point_to(shelf, broken)
        assert until(lambda: bool(service.problem()))
        response = service.client.post("/v1/reload")
        assert response.status_code == 409
        assert "not those that were registered" in response.json()["error"]["message"]
        assert service.version() == first
        make_whole(shelf, broken)
        assert service.client.post("/v1/reload").status_code == 200
        assert service.version() == broken
        assert service.problem() == ""


def test_going_back_needs_no_files_while_the_last_champion_is_kept_loaded(shelf: Shelf, state: Path) -> None:
    first, second = shelf.champion(), shelf.put()
    with following(shelf, state) as service:
        shelf.promote(second)
        assert until(lambda: service.version() == second)
        shelf.folder_of(first).rename(shelf.place / "elsewhere")
        point_to(shelf, first, kind="rollback")
        assert until(lambda: service.version() == first)
        assert "rollback, it was still loaded" in shelf.reasons("taken")[-1]
        assert service.get("/health")["problems"] == {}


def test_going_back_loads_again_where_nothing_is_kept(shelf: Shelf, state: Path) -> None:
    first, second = shelf.champion(), shelf.put()
    with following(shelf, state, keep_mb=0, max_slower=0.001) as service:
        assert service.follower.models.version_of(service.follower.models.default) == first
        shelf.promote(second)
        assert until(lambda: bool(service.problem()))  # too slow
    with following(shelf, state, keep_mb=0) as service:
        assert service.client.post("/v1/reload").status_code == 200
        assert service.version() == second
    with following(shelf, state, keep_mb=0, max_slower=0.0) as service:
        shelf.roll_back()  # is not held against the version that somebody wants to be rid of
        assert until(lambda: service.version() == first)
        assert "rollback, ready after" in shelf.reasons("taken")[-1]


def test_a_rollback_overtakes_a_version_that_is_still_being_tried(shelf: Shelf, state: Path) -> None:
    first, large = shelf.champion(), shelf.put(height_px=1200, width_px=1200)
    with following(shelf, state) as service:
        shelf.promote(large)
        assert until(lambda: bool(service.follower._tasks))
        shelf.roll_back()
        assert until(lambda: service.follower._current.kind == "rollback" and not service.follower._tasks)
        assert service.version() == first
        assert service.problem() == ""
        assert all(version == first for version, outcome in shelf.done() if outcome == "taken")


def test_a_registry_that_is_away_is_missed_and_found_again(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    database = shelf.place / "registry.sqlite"
    with following(shelf, state) as service:
        second = shelf.put()
        away = shelf.place.rename(shelf.place.with_name("away"))
        assert until(lambda: bool(service.problem("registry")))
        assert f"{first} goes on" in service.problem("registry")
        assert service.version() == first
        assert service.client.post("/v1/reload").status_code == 409
        away.rename(shelf.place)
        shelf.promote(second)
        assert until(lambda: service.version() == second)
        assert service.get("/health")["problems"] == {}
        database.rename(shelf.place / "lost.sqlite")
        assert until(lambda: "is gone" in service.problem("registry"))
        assert service.version() == second


def test_a_folder_that_is_not_mounted_is_no_fault_of_the_version(shelf: Shelf, state: Path) -> None:
    """The database is elsewhere, as a server's would be; versions of a folder that went are tried when it is back."""
    elsewhere = shelf.place.with_name("elsewhere.sqlite")
    (shelf.place / "registry.sqlite").rename(elsewhere)
    (shelf.place / "registry.toml").write_text(f"database = '{elsewhere}'\n")
    shelf.champion()
    with following(shelf, state) as service:
        second = shelf.put()
        bundles = shelf.place / "bundles"
        shelf.promote(second)
        identity = (shelf.place / "identity").rename(shelf.place / "not-mounted")
        away = bundles.rename(shelf.place / "not-mounted-either")
        assert until(lambda: bool(service.problem("registry")) or service.version() == second)
        away.rename(bundles)
        identity.rename(shelf.place / "identity")
        assert until(lambda: service.version() == second)
        assert shelf.reasons("refused") == []


def test_the_champion_and_the_challenger_are_told_to_whoever_listens(shelf: Shelf, state: Path) -> None:
    first, second = shelf.champion(), shelf.put()
    told: list[tuple[str, str | None]] = []
    with following(shelf, state) as service:

        def listen(both: Champions) -> None:
            told.append((both.champion.name, None if both.challenger is None else both.challenger.name))

        service.follower.subscribe(listen)
        shelf.challenge(second)
        assert until(lambda: told == [(first, None), (first, second)])
        shelf.promote(second)  # which ends the challenge at once, and then takes a while to load
        assert until(lambda: told[2:] == [(first, None), (second, None)])


def test_an_alias_that_points_to_nothing_any_more_leaves_the_version_that_answers(shelf: Shelf, state: Path) -> None:
    first = shelf.champion()
    with following(shelf, state) as service:
        clear(shelf)
        second = shelf.put()
        assert service.version() == first
        point_to(shelf, second)
        assert until(lambda: service.version() == second)


def clear(shelf: Shelf) -> None:
    from bintally.registry import aliases

    with Registry.open(shelf.place) as registry, registry.write() as connection:
        before = aliases.alias_target(connection, "bintally", aliases.CHAMPION)
        aliases.point(
            connection, "bintally", aliases.CHAMPION, None, kind="clear", by="tests", reason="", expect=before
        )


def test_bins_are_followed_with_the_version_that_answers(shelf: Shelf, state: Path, tmp_path: Path) -> None:
    """Also where the default model is asked for by a name, and was another one when the photo came."""
    shelf.champion(change=True, sharpness=2.0)
    ledger = stock(str(tmp_path / "ledger.sqlite"))
    with following(shelf, state, ledger=ledger) as service:
        for number, model in enumerate((None, "default", "bintally")):
            second = None if number == 0 else shelf.champion(change=True, sharpness=2.0 + number)
            assert until(lambda version=second: version in (None, service.version()))  # type: ignore[misc]
            told = service.count(3 - number, bin_id="A", **({} if model is None else {"model": model}))
            assert told["bin"]["photos"] == number + 1
            assert told["model"] == f"tiny-{number + 1}"
            assert "degraded" not in told
    with Ledger.open(ledger) as opened, opened.read() as connection:
        models = connection.execute(select(schema.Estimate.model_sha256).distinct()).scalars().all()
    assert len(models) == 3


def test_records_are_judged_by_what_the_answering_version_promises(shelf: Shelf, state: Path) -> None:
    """A promotion brings the bundle's acceptance file with it."""
    shelf.champion(sharpness=4.0)
    promising = make_bundle(state.parent / "promising", name="promising", sharpness=4.0)
    card = msgspec.json.decode((promising / CARD).read_bytes())
    accept(promising, card["name"], card["model_sha256"])
    with following(shelf, state) as service:
        before: dict[str, Any] = service.count(3, recorded_count=3)
        assert before["verdict"]["outcome"] == "uncertain"
        shelf.promote(shelf.slip_in(promising))
        assert until(lambda: service.version() == "bintally/2")
        assert service.count(3, recorded_count=3)["verdict"]["outcome"] == "match"
        shelf.roll_back()
        assert until(lambda: service.version() == "bintally/1")
        assert service.count(3, recorded_count=3)["verdict"]["outcome"] == "uncertain"
