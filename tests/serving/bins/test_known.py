"""A ledger that can't be used costs a photo its verdict, never its place: it waits on disk, and is taken in once."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine, text

from bintally.counting.counter import Counter
from bintally.errors import RequestError
from bintally.inventory import schema
from bintally.inventory.intake import take_bin
from bintally.inventory.ledger import site_of
from bintally.serving.service import Judged
from tests.inventory.judging.yard import hour, shown
from tests.serving.bins.shop import Shop, replaced, stock, wrong_estimate


def waits(judged: Judged) -> bool:
    """Whether an answer says that the photo waits; it then says nothing of the bin."""
    assert bool(judged.degraded) == (judged.bin is None)
    if judged.degraded:
        assert (judged.verdict, judged.estimate) == (None, None)
        assert "not in the ledger yet" in judged.degraded[0]
    return bool(judged.degraded)


def test_while_others_write_for_long_photos_wait_and_are_then_taken_in(shop: Shop) -> None:
    with shop.locked():
        assert waits(shop.sends("A", 3, at=1, recorded_count=3))
        assert waits(shop.sends("B", 3, at=1, recorded_count=4))
        assert list(shop.known.failures) == ["ledger"]
        assert shop.empties() == 0
        assert len(shop.spool.waiting()) == 2
    assert shop.empties() == 2
    assert shop.known.failures == {}
    assert shop.spool.size().bytes == 0
    assert [row.taken_at for row in shop.rows(schema.Photo)] == [hour(1), hour(1)]
    assert [(row.quantity, row.source) for row in shop.rows(schema.StockRecord)[3:]] == [(4, "photo")]
    assert len(shop.rows(schema.Verdict)) == 2
    assert not waits(shop.sends("A", 3, at=2))


def test_after_a_failure_requests_do_not_try_the_ledger_for_a_while(shop: Shop) -> None:
    with shop.locked():
        first = shop.sends("A", 3, at=1)
    assert shop.sends("B", 3, at=1).degraded == first.degraded  # though it could be used again
    assert shop.rows(schema.Photo) == []
    shop.clock.passes(60.0)
    assert not waits(shop.sends("C", 2, at=1))


def test_what_comes_of_a_bin_waits_behind_what_waits_of_it(shop: Shop) -> None:
    with shop.locked():
        shop.sends("A", 3, at=1)
    shop.clock.passes(60.0)
    assert "earlier photos of the bin wait" in shop.sends("A", 3, at=2).degraded[0]
    assert not waits(shop.sends("B", 3, at=2))
    assert shop.empties() == 2
    times = {row.id: row.taken_at for row in shop.rows(schema.Photo)}
    assert list(times.values()) == [hour(2), hour(1), hour(2)]


def test_a_photo_that_nobody_timed_has_the_time_it_came_at(shop: Shop) -> None:
    with shop.locked():
        shop.sends("A", 3, at=None, received_at=hour(7))
        shop.sends("A", 3, at=None, received_at=hour(8))  # a retry
    assert len(shop.spool.waiting()) == 1
    shop.empties()
    assert [row.taken_at for row in shop.rows(schema.Photo)] == [hour(7)]


def test_a_file_that_is_gone_for_a_while_is_no_other_ledger(file_shop: Shop) -> None:
    file_shop.sends("A", 3, at=1)
    away = Path(f"{file_shop.place}.away")
    file_shop.taker.place.close()
    Path(file_shop.place).rename(away)
    assert waits(file_shop.sends("B", 5, at=1))
    assert "There is no ledger" in file_shop.known.failures["ledger"]
    assert file_shop.empties() == 0
    away.rename(file_shop.place)
    assert file_shop.empties() == 1
    assert len(file_shop.rows(schema.Photo)) == 2


def test_a_ledger_of_a_newer_version_is_left_alone_until_it_fits_again(shop: Shop) -> None:
    held = version(shop, "9999")
    assert waits(shop.sends("A", 3, at=1))
    assert "newer bintally" in shop.known.failures["ledger"]
    version(shop, held)
    assert shop.empties() == 1


def version(shop: Shop, told: str) -> str:
    """Changes the version that the ledger says it has; what it was."""
    url = f"sqlite:///{shop.place}" if "://" not in shop.place else shop.place.replace(":", "+psycopg:", 1)
    engine = create_engine(url)
    with engine.begin() as connection:
        held = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
        connection.execute(text("UPDATE alembic_version SET version_num = :told"), {"told": told})
    engine.dispose()
    return held


def test_a_database_that_only_reads_makes_photos_wait(
    new_place: Callable[[str], str], counter: Counter, tmp_path: Path
) -> None:
    place = stock(new_place("postgresql"))
    url, reader = place.replace("postgresql://", "postgresql+psycopg://"), f"reader_{tmp_path.stat().st_ino}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, Shop(place.replace("postgres:@", f"{reader}@"), counter, tmp_path) as shop:
        connection.execute(text(f"CREATE ROLE {reader} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"))
        assert waits(shop.sends("A", 3, at=1))
        assert "permission denied" in shop.known.failures["ledger"]
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {reader}"))
        connection.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {reader}"))
        assert shop.empties() == 1
    engine.dispose()


def test_an_answer_that_is_wanted_soon_does_not_wait_for_the_ledger(
    new_place: Callable[[str], str], counter: Counter, tmp_path: Path
) -> None:
    with Shop(stock(new_place("sqlite")), counter, tmp_path, wait_s=1.0) as shop:
        with shop.locked():
            judged = shop.takes(shop.delivery("A", 3, at=1), left_s=0.05)
            assert waits(judged)
            assert "takes too long" in judged.degraded[0]
        shop.empties()
        assert len(shop.rows(schema.Photo)) == 1
    assert len(shop.rows(schema.Verdict)) == 1  # also if the thread that nobody waited for came to its end


def test_one_who_can_not_wait_does_not_keep_others_from_the_ledger(
    new_place: Callable[[str], str], counter: Counter, tmp_path: Path
) -> None:
    with Shop(stock(new_place("sqlite")), counter, tmp_path, wait_s=30.0, patience_s=0.1) as shop:
        with shop.locked():
            assert waits(shop.takes(shop.delivery("A", 3, at=1), left_s=0.05))
            assert shop.known.failures == {}
        shop.known._patience_s = 30.0
        assert not waits(shop.sends("B", 5, at=1))
        shop.known._patience_s = 0.1
        with shop.locked():
            assert waits(shop.sends("C", 2, at=1))  # who waited as long as anybody does has learnt something
            assert shop.known.failures == {"ledger": "it takes too long"}


def test_what_the_ledger_will_never_take_is_put_aside_and_holds_up_nothing(shop: Shop) -> None:
    with shop.locked():
        shop.sends("A", 3, at=1)
        shop.sends("Z", 3, at=1)  # nobody asks whether there is such a bin
        shop.sends("B", 5, at=1)
    assert shop.empties() == 3
    assert "1 photos will never be taken" in shop.known.failures["rejected"]
    [why] = shop.spool.rejected_folder.glob("*.json")
    assert "has no bin 'Z'" in json.loads(why.read_text())["reason"]
    with shop.taker.place.opened() as ledger, ledger.write() as connection:
        take_bin(connection, site_of(connection), "Z")
    [photo] = shop.spool.rejected_folder.glob("*.photo")
    photo.rename(shop.spool.waiting_folder / photo.name)
    assert shop.empties() == 1
    assert shop.known.failures == {}
    assert len(shop.rows(schema.Photo)) == 3


def test_what_can_not_be_put_aside_is_the_disk_s_fault_and_holds_up_its_own_bin_only(shop: Shop) -> None:
    """Once the ledger was said to be away, and everybody's photos waited."""
    with shop.locked():
        shop.sends("A", 3, at=1)
        shop.sends("Z", 3, at=1)
        shop.sends("B", 5, at=1)
    shop.spool.rejected_folder.write_text("a file where the folder would be")
    assert shop.empties() == 2
    assert list(shop.known.failures) == ["waiting"]
    assert str(shop.spool.rejected_folder) in shop.known.failures["waiting"]
    assert len(shop.spool.waiting()) == 1
    shop.spool.rejected_folder.unlink()
    assert shop.empties() == 1
    assert list(shop.known.failures) == ["rejected"]


def test_a_disk_that_can_not_be_listed_does_not_end_the_emptying(
    file_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One EMFILE ended the task, and nothing left the disk until the next restart."""
    monkeypatch.setattr("bintally.serving.bins.known._POLL_S", 0.01)
    with file_shop.locked():
        file_shop.sends("A", 3, at=1)
    file_shop.spool.rejected_folder.symlink_to(file_shop.spool.rejected_folder)  # ELOOP stands in for EMFILE
    file_shop.clock.passes(60.0)

    async def emptied() -> None:
        async with asyncio.timeout(30), file_shop.known.running():
            while "waiting" not in file_shop.known.failures:
                await asyncio.sleep(0.01)
            file_shop.spool.rejected_folder.unlink()
            while file_shop.known.failures:
                await asyncio.sleep(0.01)
                file_shop.clock.passes(60.0)

    asyncio.run(emptied())
    assert len(file_shop.rows(schema.Photo)) == 1


def test_a_damaged_file_is_put_aside(file_shop: Shop) -> None:
    with file_shop.locked():
        file_shop.sends("A", 3, at=1)
    [path] = file_shop.spool.waiting_folder.glob("*.photo")
    path.write_bytes(path.read_bytes()[:50])
    assert file_shop.empties() == 1
    assert file_shop.spool.size().rejected == 1


def test_a_photo_that_fails_again_and_again_is_put_aside(file_shop: Shop) -> None:
    """One such photo would otherwise keep those of its bin waiting for ever."""
    broken = msgspec.structs.replace(wrong_estimate(3), probabilities={"three": 0.5, "four": 0.5})
    with file_shop.locked():
        file_shop.takes(replaced(file_shop.delivery("A", 3, at=1), estimate=broken))
        file_shop.sends("B", 3, at=1)
    assert file_shop.empties() == 1
    assert file_shop.spool.size().waiting == 1
    assert [file_shop.empties() for _ in range(5)].count(1) == 1
    [why] = file_shop.spool.rejected_folder.glob("*.json")
    assert "Error" in json.loads(why.read_text())["reason"]


def test_when_too_much_waits_it_is_told_to_come_later(
    new_place: Callable[[str], str], counter: Counter, tmp_path: Path
) -> None:
    with Shop(stock(new_place("sqlite")), counter, tmp_path, spool_bytes=9000) as shop, shop.locked():
        assert waits(shop.sends("A", 3, at=1))
        with pytest.raises(RequestError) as caught:
            for moment in range(2, 9):
                shop.sends("A", 3, at=moment)
        assert (caught.value.status, caught.value.code) == (503, "spool_full")


def test_a_disk_that_is_gone_is_told_and_nothing_is_promised(file_shop: Shop) -> None:
    file_shop.spool.waiting_folder.parent.write_text("a file where the folder would be")
    with file_shop.locked():
        with pytest.raises(RequestError) as caught:
            file_shop.sends("A", 3, at=1)
        assert (caught.value.status, caught.value.code) == (503, "not_kept")
        assert sorted(file_shop.known.failures) == ["ledger", "spool"]
        file_shop.spool.waiting_folder.parent.unlink()
        assert waits(file_shop.sends("A", 3, at=1))
        assert sorted(file_shop.known.failures) == ["ledger"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from bintally.counting.counter import Counter
from bintally.errors import RequestError
from tests.serving.bins.shop import Shop
place, bundle, folder = sys.argv[1:]
with Shop(place, Counter(bundle, threads=1), Path(folder)) as shop:
    told = [bool(shop.sends("A", 3, at=1).degraded)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.RLIM_INFINITY))  # a photo fits, the log not
    told.append(bool(shop.sends("A", 3, at=2).degraded))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
    try:
        shop.sends("A", 3, at=3)
    except RequestError as error:
        told.append(error.code)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    shop.sends("A", 3, at=3)
    shop.empties()
    print(*told, len(shop.spool.waiting()), shop.known.failures)
"""


def test_a_full_disk_of_the_ledger_makes_photos_wait_and_of_both_refuses_them(
    new_place: Callable[[str], str], bundle: Path, tmp_path: Path
) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the kernel refuses the write in the same place."""
    place = stock(new_place("sqlite"))
    command = [sys.executable, "-c", FULL_DISK, place, str(bundle), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.stdout.split() == ["False", "True", "not_kept", "0", "{}"], done.stderr
    with Shop(place, Counter(bundle, threads=1), tmp_path) as shop:
        assert [row.taken_at for row in shop.rows(schema.Photo)] == [hour(1), hour(2), hour(3)]
        assert shown("A", 3, 2) in [Path(row.place).read_bytes() for row in shop.rows(schema.Photo)]
