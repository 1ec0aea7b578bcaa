"""A folder of rendered bins, laid out like ABID's bucket.

```
FOLDER/bin-images/<id>.jpg
FOLDER/metadata/<id>.json
FOLDER/truth.csv            id, true_count, recorded_count, error, bin: for judging, never for training
FOLDER/rendered.json        seed, settings and code it was made with; written last
```

Ids are strings of five digits; a bin's photos have neighbouring ids, in order of time.
"""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from bintally.artifacts import atomic_folder, code_fingerprint, fingerprint, write_json
from bintally.data.rendered.draw import Faces, draw
from bintally.data.rendered.scene import photo_count, rng_of, timeline
from bintally.data.rendered.settings import DEFAULTS, RenderSettings
from bintally.data.rendered.stock import take_stock
from bintally.errors import DataError, UsageError
from bintally.metadata import metadata_json
from bintally.progress import SILENT, Progress, Task
from bintally.records import BinRecord
from bintally.settings import cpu_count

MARK: Final = "rendered.json"
TRUTH_COLUMNS: Final = ("id", "true_count", "recorded_count", "error", "bin")

_SMALL: Final = 150  # photos that one process renders in the time another takes to start
_JPEG = 5  # this file's part of the random numbers


@dataclass(frozen=True, slots=True)
class BinPhoto:
    """One photo, what is truly on it, and what the record says. `image` is as drawn, `jpeg` as written to disk."""

    image: Image.Image
    jpeg: bytes
    true_count: int
    record: BinRecord
    error: str
    visible_shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One bin's share of a folder: the first `photos` times of bin `index`, under ids from `first_id` on."""

    index: int
    first_id: int
    photos: int


def render_photo(count: int, *, seed: int = 0, settings: RenderSettings = DEFAULTS) -> Image.Image:
    """One photo of a bin with `count` items; another seed, another bin.

    Raises:
        UsageError: a negative seed or count, or more items than fit (30).
    """
    if not 0 <= count <= 30 or seed < 0:
        raise UsageError(
            f"There is no photo of {count} items with seed {seed}.", hint="Ask for 0 to 30 items and a seed from 0 on."
        )
    photo = next(iter(render_bin(0, seed=seed, settings=settings, counts=(count,))))
    return Image.open(io.BytesIO(photo.jpeg)).convert("RGB")


def render_bin(
    index: int,
    *,
    seed: int = 0,
    settings: RenderSettings = DEFAULTS,
    counts: Sequence[int] | None = None,
    first_id: int = 1,
    photos: int | None = None,
) -> Iterator[BinPhoto]:
    """Bin `index` from photo to photo, the first `photos` of them; `counts` says how many items are in it each time."""
    faces: Faces = {}
    for moment in timeline(index, seed=seed, settings=settings, counts=counts):
        if photos is not None and moment.time >= photos:
            return
        drawing = draw(moment, seed=seed, settings=settings, faces=faces)
        stock = take_stock(moment, name_of(first_id + moment.time), seed=seed, settings=settings)
        quality = int(
            rng_of(seed, index, _JPEG, moment.time).integers(settings.jpeg_quality[0], settings.jpeg_quality[1] + 1)
        )
        file = io.BytesIO()
        drawing.image.save(file, "JPEG", quality=quality)
        yield BinPhoto(drawing.image, file.getvalue(), moment.count, stock.record, stock.error, drawing.visible_shares)


def render_source(
    folder: Path,
    *,
    photos: int = 2400,
    seed: int = 0,
    settings: RenderSettings = DEFAULTS,
    progress: Progress = SILENT,
    processes: int | None = None,
) -> Path:
    """Renders `photos` photos with their records into `folder` and returns it; does nothing if they are there already.

    The bytes depend on `seed` and `settings`, not on `photos` (fewer photos are the first of more) or `processes`
    (default: a process a core).

    Raises:
        UsageError: less than one photo, a negative seed, or `folder` holds something else.
        StorageError: disk full, or no permission.
        DataError: a rendering process was killed.
    """
    if photos < 1 or seed < 0:
        raise UsageError(
            f"There is no sample of {photos} photos with seed {seed}.",
            hint="Ask for one photo or more, and a seed from 0 on.",
        )
    made_from = {
        "photos": photos,
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "code": code_fingerprint(["data/rendered"]),
    }
    if _is_made(folder, made_from):
        return folder
    jobs = list(plan(photos, seed=seed, settings=settings))
    workers = min(processes or (cpu_count() if photos > _SMALL else 1), len(jobs))
    with atomic_folder(folder) as part, progress.task("render", total=photos, unit="photos") as task:
        (part / "bin-images").mkdir()
        (part / "metadata").mkdir()
        if workers == 1:
            rows = [row for job in jobs for row in _step(render_job(part, job, seed=seed, settings=settings), task)]
        else:
            rows = _in_processes(part, jobs, workers, seed=seed, settings=settings, task=task)
        _write_truth(part / "truth.csv", rows)
        write_json(part / MARK, made_from)
    return folder


def plan(photos: int, *, seed: int, settings: RenderSettings) -> Iterator[Job]:
    """Which bins make up the first `photos` photos."""
    index, done = 0, 0
    while done < photos:
        times = min(photo_count(index, seed=seed, settings=settings), photos - done)
        yield Job(index, done + 1, times)
        index, done = index + 1, done + times


def name_of(number: int) -> str:
    """The id of the n-th photo: ABID's oldest ids have five digits and keep their zeros."""
    return f"{number:05d}"


def render_job(folder: Path, job: Job, *, seed: int, settings: RenderSettings) -> list[list[str]]:
    """Writes one bin's photos and metadata into `folder`; returns its rows of truth.csv."""
    rows = []
    for photo in render_bin(job.index, seed=seed, settings=settings, first_id=job.first_id, photos=job.photos):
        name = photo.record.bin_image_id
        (folder / "bin-images" / f"{name}.jpg").write_bytes(photo.jpeg)
        (folder / "metadata" / f"{name}.json").write_bytes(metadata_json(photo.record))
        rows.append([name, str(photo.true_count), str(photo.record.recorded_count), photo.error, str(job.index)])
    return rows


def _step(rows: list[list[str]], task: Task) -> list[list[str]]:
    task.advance(len(rows))
    return rows


def _in_processes(
    folder: Path, jobs: list[Job], workers: int, *, seed: int, settings: RenderSettings, task: Task
) -> list[list[str]]:
    """Rows of all jobs, each worker taking every n-th bin.

    Plain subprocesses rather than multiprocessing: its spawned children import the caller's main module again, which
    breaks scripts without a `__main__` guard, and a fork of a process with threads (polars, torch) may hang.
    """
    # However it ends: first the children are killed, then their threads see the end, then pipes that nobody uses close.
    with ExitStack() as started, ThreadPoolExecutor(workers) as pool, ExitStack() as kills:
        children = []
        for worker in range(workers):
            child = started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "bintally.data.rendered"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,  # the terminal's Ctrl-C is for this process, which stops its children
                )
            )
            kills.callback(child.kill)
            children.append((child, _order(folder, jobs[worker::workers], seed=seed, settings=settings)))
        found = pool.map(lambda pair: [_step(rows, task) for rows in _listen(*pair)], children)
        rows = [row for results in found for group in results for row in group]
    return sorted(rows)


def _order(folder: Path, jobs: list[Job], *, seed: int, settings: RenderSettings) -> str:
    values: dict[str, Any] = {
        "folder": str(folder.absolute()),
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "jobs": [[job.index, job.first_id, job.photos] for job in jobs],
    }
    return json.dumps(values)


def _listen(child: "subprocess.Popen[str]", order: str) -> Iterator[list[list[str]]]:
    """Hands a child its order and yields each bin's rows as they come; a child's OSError is raised here again."""
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the child was started without pipes")
    with suppress(BrokenPipeError), child.stdin as pipe:  # it died before it read: its return code says more
        pipe.write(order)
    for line in child.stdout:
        answer = json.loads(line)
        if "errno" in answer:
            raise OSError(answer["errno"], answer["message"])
        yield answer["rows"]
    if child.wait() != 0:
        raise DataError(
            f"A rendering process ended with code {child.returncode}.", hint="Run it again; its error is above."
        )


def run_order(order: str) -> Iterator[str]:
    """What a child does: renders each bin of its order, answers with a line of JSON for it or for what stopped it."""
    values = json.loads(order)
    settings = RenderSettings.of(values["settings"])
    for index, first_id, photos in values["jobs"]:
        try:
            rows = render_job(
                Path(values["folder"]), Job(index, first_id, photos), seed=values["seed"], settings=settings
            )
        except OSError as error:
            yield json.dumps({"errno": error.errno, "message": str(error)})
            return
        yield json.dumps({"rows": rows})


def _write_truth(path: Path, rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        writer.writerows(rows)


def _is_made(folder: Path, made_from: dict[str, Any]) -> bool:
    """Whether the same photos are in `folder` already.

    Raises:
        UsageError: `folder` holds something that was not rendered, which must not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        return fingerprint(json.loads((folder / MARK).read_text())) == fingerprint(made_from)
    except (OSError, ValueError):
        raise UsageError(
            f"{folder} holds something else than rendered bins.", hint="Choose an empty or a new folder."
        ) from None
