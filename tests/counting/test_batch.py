"""Many photos: in order, unreadable ones with their error, resumable, with flat memory."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import bintally
from bintally.counting.batch import count, estimates
from bintally.counting.counter import Counter
from bintally.errors import BundleError, ConfigError, DataError, UsageError
from bintally.records import CountEstimate
from tests.bundles import bin_photo, make_bundle, no_bin_pixels

PHOTOS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 photos whose counts run 0..6, 0..6 ..., of which 3 can't be read."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(PHOTOS):
        (folder / f"{index:05}.png").write_bytes(b"broken" if index in (7, 8, 33) else bin_photo(index % 7))
    return folder


def _lines(out: Path) -> list[CountEstimate]:
    return [CountEstimate.from_json(line) for line in out.read_text().splitlines()]


def test_every_photo_gets_a_line_in_order(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.jsonl"
    report = count(photos=folder, bundle=tiny_bundle, out=out, workers=3)
    lines = _lines(out)
    assert [line.bin_image_id for line in lines] == [f"{index:05}" for index in range(PHOTOS)]
    assert [line.count for line in lines if not line.error] == [i % 7 for i in range(PHOTOS) if i not in (7, 8, 33)]
    assert [index for index, line in enumerate(lines) if line.error] == [7, 8, 33]
    assert lines[7].error == "This is not a photo."
    assert lines[7].probabilities == {}
    assert lines[7].model == "tiny"
    assert (report.photos, report.counted, report.failed, report.abstained, report.resumed) == (PHOTOS, 37, 3, 0, 0)
    assert report.photos_per_s > 0


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_the_batch_size_changes_nothing_but_the_time(tiny_bundle: Path, folder: Path, batch_size: int) -> None:
    counter = Counter(tiny_bundle, threads=1)
    names = [str(path) for path in sorted(folder.iterdir())]
    answers = list(estimates(counter, names, batch_size=batch_size, workers=2))
    for name, answer in zip(names, answers, strict=True):
        assert answer.path == name
        if not answer.error:
            assert answer.probabilities == pytest.approx(counter.count(name).probabilities, abs=1e-6)


def test_all_photos_broken_is_an_answer_too(tiny_bundle: Path, tmp_path: Path) -> None:
    for index in range(9):
        (tmp_path / f"{index}.jpg").write_bytes(b"")
    report = count(photos=[tmp_path], bundle=tiny_bundle)
    assert (report.photos, report.counted, report.failed) == (9, 0, 9)


def test_estimates_go_to_a_stream_as_they_are_made(tiny_bundle: Path, folder: Path) -> None:
    stream = io.StringIO()
    count(photos=[folder / "00003.png"], bundle=tiny_bundle, counts="1-5", to=stream, style="csv")
    header, row = stream.getvalue().splitlines()
    assert header.startswith("path,bin_image_id,count,expected_count,p_1,p_2,p_3,p_4,p_5,")
    assert row.split(",")[1:3] == ["00003", "3"]


def test_it_is_a_name_at_the_top_of_the_package(tiny_bundle: Path, folder: Path) -> None:
    assert bintally.count(photos=str(folder / "00003.png"), bundle=tiny_bundle).counted == 1


def test_abstentions_are_told_apart(tiny_bundle: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(no_bin_pixels()).save(tmp_path / "face.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "night.png")
    (tmp_path / "bin.png").write_bytes(bin_photo(2))
    report = count(photos=[tmp_path], bundle=tiny_bundle)
    assert (report.counted, report.abstained, report.failed) == (1, 2, 0)


def test_a_second_run_counts_only_what_is_missing(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.jsonl"
    some = sorted(folder.iterdir())[:10]
    count(photos=some, bundle=tiny_bundle, out=out)
    first = out.read_bytes()
    report = count(photos=folder, bundle=tiny_bundle, out=out)
    assert out.read_bytes().startswith(first)
    assert (report.photos, report.resumed, report.failed) == (PHOTOS, 10, 3)
    assert len({line.path for line in _lines(out)}) == PHOTOS


def test_a_resume_with_other_counts_or_another_model_is_refused(
    tiny_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "counts.jsonl"
    count(photos=[folder / "00001.png"], bundle=tiny_bundle, out=out)
    with pytest.raises(UsageError, match="counts 0 1 2 3 4 5 6\\+, not of counts 1 2"):
        count(photos=folder, bundle=tiny_bundle, counts="1-2", out=out)
    with pytest.raises(UsageError, match="not of"):
        count(photos=folder, bundle=make_bundle(tmp_path / "other", sharpness=3.0), out=out)
    assert len(_lines(out)) == 1


RUN = """
import sys
from bintally import count
count(photos=sys.argv[1], bundle=sys.argv[2], out=sys.argv[3], batch_size=1)
"""


@contextmanager
def _running(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", RUN, *map(str, arguments)], stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for_lines(out: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not out.exists() or out.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 photos: enough for a run to be stopped in its midst."""
    folder = tmp_path_factory.mktemp("many")
    photo = bin_photo(3)
    for index in range(3000):
        (folder / f"{index:05}.png").write_bytes(photo)
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_at_any_moment_it_goes_on_without_a_double_or_a_gap(
    tiny_bundle: Path, many: Path, tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "counts.jsonl"
    with _running(many, tiny_bundle, out) as process:
        _wait_for_lines(out, 20, process)
        process.send_signal(how)
        assert process.wait(30) != 0
    before = out.read_bytes()
    done = before.count(b"\n")
    assert 20 <= done < 3000
    out.write_bytes(before + b'{"path": "torn')  # what a power cut leaves
    report = count(photos=many, bundle=tiny_bundle, out=out)
    assert (report.photos, report.resumed) == (3000, done)
    assert [line.path for line in _lines(out)] == [str(path) for path in sorted(many.iterdir())]


FULL_DISK = """
import resource, sys
from bintally.errors import StorageError
from bintally import count
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    count(photos=sys.argv[1], bundle=sys.argv[2], out=sys.argv[3])
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_the_run_goes_on_later(tiny_bundle: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.jsonl"
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(many.iterdir())[:200]:
        (some / path.name).hardlink_to(path)
    arguments = [sys.executable, "-c", FULL_DISK, str(some), str(tiny_bundle), str(out)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"No space left to write {out}.")
    count(photos=some, bundle=tiny_bundle, out=out)
    assert len({line.path for line in _lines(out)}) == len(_lines(out)) == 200


def test_memory_stays_flat_however_many_photos(tiny_bundle: Path, many: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    measure = (
        "import sys, resource; from bintally import count; count(listed=sys.argv[1], bundle=sys.argv[2], workers=2);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak_mb(photos: int) -> float:
        listed.write_text("\n".join(str(path) for path in sorted(many.iterdir())[:photos]))
        arguments = [sys.executable, "-c", measure, str(listed), str(tiny_bundle)]
        return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout) / 1024

    # 3,000 photos decoded and kept would be 14 MB of pixels and as much of estimates.
    assert peak_mb(3000) - peak_mb(100) < 8


@pytest.mark.parametrize("values", [{"batch_size": 0}, {"batch_size": 1000}, {"workers": 0}, {"style": "xml"}])
def test_settings_out_of_range_are_told(tiny_bundle: Path, folder: Path, values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        count(photos=folder, bundle=tiny_bundle, **values)  # type: ignore[arg-type]  # wrong on purpose


def test_a_photo_from_stdin_can_not_be_resumed(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stdin"):
        count(photos=["-"], bundle=tiny_bundle, out=tmp_path / "counts.jsonl")


def test_nothing_is_written_when_the_model_or_the_photos_are_missing(
    tiny_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "counts.jsonl"
    with pytest.raises(BundleError):
        count(photos=folder, bundle=tmp_path / "nowhere", out=out)
    with pytest.raises(DataError):
        count(photos=tmp_path, bundle=tiny_bundle, out=out)
    assert list(tmp_path.iterdir()) == []


def test_progress_hears_of_every_photo(tiny_bundle: Path, folder: Path) -> None:
    heard: list[int] = []

    class Task:
        def advance(self, amount: int = 1) -> None:
            heard.append(amount)

        def note(self, text: str) -> None: ...

    class Progress:
        @contextmanager
        def task(self, label: str, *, total: int | None, unit: str = "") -> Iterator[Task]:
            assert (total, unit) == (PHOTOS, "photos")
            yield Task()

        def say(self, text: str) -> None: ...

    count(photos=folder, bundle=tiny_bundle, batch_size=8, progress=Progress())
    assert sum(heard) == PHOTOS
    assert len(heard) == 5


def test_the_settings_beside_a_results_file_name_the_model(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.csv"
    count(photos=[folder / "00001.png"], bundle=tiny_bundle, out=out)
    beside = json.loads((tmp_path / "counts.csv.settings.json").read_text())
    assert beside["model_sha256"] == Counter(tiny_bundle).card.model_sha256
    assert beside["style"] == "csv"
    assert out.stat().st_size > 0
