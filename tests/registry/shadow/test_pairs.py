"""Files of pairs: whole lines only, whatever was killed when."""

import os
import random
import resource
import signal
from pathlib import Path

import pytest

from bintally.errors import StorageError
from bintally.records import CountEstimate, Timings
from bintally.registry.shadow.pairs import Begun, PairFile, Told, bytes_in, folder_of, read_pairs
from tests.registry.shadow.made import MORNING, pair, told

BEGUN = Begun(at=MORNING, service="a", challenger="m/2", champion="m/1", challenger_ms=3.0, champion_ms=2.0)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 7, 3)
    assert read_pairs(folder).pairs == []
    wanted = [pair(number, told(1), told(2, abstain="no bin"), recorded_count=4) for number in range(3)]
    file = PairFile(folder / "a.jsonl")
    written = file.add(BEGUN) + sum(file.add(each) for each in reversed(wanted))
    assert written == bytes_in(folder)
    file.sync()
    file.close()
    kept = read_pairs(folder)
    assert kept.begun == [BEGUN]
    assert kept.pairs == wanted, "in the order of their moments"
    assert kept.torn == 0


def test_each_request_counts_once_but_two_photos_may_share_its_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        file = PairFile(tmp_path / f"{name}.jsonl")
        file.add(pair(1, told(1), told(2)))
        file.add(pair(2, told(1), told(2), request_id="r1"))
        file.close()
    assert [(each.request_id, each.photo_sha256[-1]) for each in read_pairs(tmp_path).pairs] == [
        ("r1", "1"),
        ("r1", "2"),
    ]


def test_a_torn_line_is_skipped_and_cut_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = PairFile(path)
    for number in range(3):
        file.add(pair(number, told(1), told(2)))
    file.close()
    whole = path.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in (0, 1, ends[0], ends[1] - 1, ends[1], ends[1] + 1, ends[2] - 5, len(whole)):
        path.write_bytes(whole[:cut])
        lines = whole[:cut].count(b"\n")
        torn = not whole[:cut].endswith(b"\n") and cut > 0
        whole_but_for_its_end = cut in ends
        kept = read_pairs(tmp_path)
        assert len(kept.pairs) == lines + whole_but_for_its_end
        assert kept.torn == (torn and not whole_but_for_its_end)
        file = PairFile(path)
        file.add(pair(9, told(1), told(2)))
        file.close()
        after = read_pairs(tmp_path)
        assert len(after.pairs) == lines + 1
        assert after.torn == 0


def test_a_torn_line_longer_than_any_buffer_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    PairFile(path).close()
    file = PairFile(path)
    file.add(BEGUN)
    file.close()
    size = path.stat().st_size
    with path.open("ab") as torn:
        torn.write(b"x" * 200_000)
    PairFile(path).close()
    assert path.stat().st_size == size


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    file = PairFile(tmp_path / "a.jsonl")
    size = file.add(BEGUN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        with pytest.raises(StorageError, match="No space left"):
            file.add(pair(1, told(1), told(2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert bytes_in(tmp_path) == size
    file.add(pair(1, told(1), told(2)))
    file.close()
    assert len(read_pairs(tmp_path).pairs) == 1


def test_a_writer_that_is_killed_leaves_whole_lines_and_one_torn_at_most(tmp_path: Path) -> None:
    chance = random.Random(0)
    for life in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            file = PairFile(tmp_path / "a.jsonl")
            os.write(writer, b"x")
            for number in range(100_000):
                file.add(pair(1_000_000 * life + number, told(1), told(2)))
            os._exit(0)
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        while bytes_in(tmp_path) < (life + 1) * 50_000 + chance.randrange(20_000):
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kept = read_pairs(tmp_path)
        assert kept.torn <= 1
        assert len(kept.pairs) > 20 * (life + 1)


def test_probabilities_keep_digits_for_a_log_loss() -> None:
    estimate = CountEstimate(
        count=1, expected_count=1.23456789, probabilities={"0": 0.00001234567, "1": 0.99998765433}, model="m",
        timings=Timings(decode_ms=1.0, inference_ms=2.5),
    )  # fmt: skip
    said = Told.of(estimate)
    assert said.probabilities["0"] == pytest.approx(1.2e-5, rel=0.02)
    assert (said.latency_ms, said.taken_for) == (3.5, 1)
    assert Told.of(CountEstimate(count=1, abstain="a face")).taken_for is None
