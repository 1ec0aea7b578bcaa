"""One photo and its record under the lamp: what they measure, and what is wrong with them.

Run as a module this is a worker process: it reads one `Limits`, then one `Job` a line from stdin and answers each with
one `Inspection` a line. A process of its own, because a damaged photo can take its decoder and the process down.
"""

import hashlib
import signal
import sys
import warnings
from pathlib import Path
from typing import Final

import msgspec

from bintally.data.quality import Quality, measure
from bintally.errors import PhotoError
from bintally.metadata import parse_metadata

READY: Final = b"ready\n"

_SUFFIXES: Final = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "GIF": {".gif"},
}
_LOOKS: Final = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"<": "a web page or XML",
}


class Limits(msgspec.Struct, frozen=True):
    """What is still taken for a good photo; see `check.CheckSettings`."""

    dark_below: float
    blurred_below: float
    min_side_px: int
    max_side_px: int
    max_aspect: float
    max_bytes: int


class Job(msgspec.Struct, frozen=True):
    """A manifest's row to look into; paths are absolute."""

    photo: str
    metadata: str | None
    sha256: str | None
    recorded_count: int | None
    count_source: str | None


class Inspection(msgspec.Struct):
    """What was found: measures (None where the photo can't be read) and findings in the words of `reasons`."""

    sha256: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    brightness: float | None = None
    sharpness: float | None = None
    dhash: int | None = None
    quarantine: list[str] = []
    warnings: list[str] = []


def inspect(job: Job, limits: Limits) -> Inspection:
    """Looks into one photo and its record; whatever is wrong with them ends in the findings, never in an error."""
    found = Inspection()
    photo = _bytes_of(Path(job.photo), limits, found)
    if photo is not None:
        found.sha256 = hashlib.sha256(photo).hexdigest()
        if job.sha256 is not None and found.sha256 != job.sha256:
            found.quarantine.append("changed")
        _judge_photo(photo, Path(job.photo).suffix.lower(), limits, found)
    if job.recorded_count is None:
        found.quarantine.append("no_count")
    if job.metadata is not None:
        _judge_record(Path(job.metadata), job, found)
    return found


def _bytes_of(path: Path, limits: Limits, found: Inspection) -> bytes | None:
    try:
        if not path.is_file():
            found.quarantine.append("missing")
            return None
        if (size := path.stat().st_size) > limits.max_bytes:
            found.quarantine.append(f"too_large:{size} bytes")
            return None
        return path.read_bytes()
    except OSError as error:
        found.quarantine.append(f"undecodable:{error.strerror}")
        return None


def _judge_photo(photo: bytes, suffix: str, limits: Limits, found: Inspection) -> None:
    try:
        quality = measure(photo)
    except PhotoError as error:
        about = _look(photo) if error.reason == "not_a_photo" else error.message if error.reason == "too_large" else ""
        found.quarantine.append(f"{error.reason}:{about}" if about else error.reason)
        return
    found.width_px, found.height_px = quality.width_px, quality.height_px
    found.brightness, found.sharpness, found.dhash = quality.brightness, quality.sharpness, quality.dhash
    if suffix not in _SUFFIXES.get(quality.format, {suffix}):
        found.warnings.append(f"wrong_extension:{quality.format} named {suffix or 'without one'}")
    if _absurd(quality, limits):
        found.quarantine.append(f"absurd_size:{quality.width_px} x {quality.height_px} px")
    elif quality.brightness < limits.dark_below:
        found.warnings.append(f"dark:{quality.brightness:.0f}")
    elif quality.sharpness < limits.blurred_below:
        found.warnings.append(f"blurred:{quality.sharpness:.1f}")


def _absurd(quality: Quality, limits: Limits) -> bool:
    short, long = sorted((quality.width_px, quality.height_px))
    return short < limits.min_side_px or long > limits.max_side_px or long > short * limits.max_aspect


def _look(photo: bytes) -> str:
    """What bytes that are no photo seem to be."""
    start = photo[:512].lstrip()
    for magic, name in _LOOKS.items():
        if start.startswith(magic):
            return name
    return "text" if start.isascii() and b"\0" not in start else "unknown bytes"


def _judge_record(path: Path, job: Job, found: Inspection) -> None:
    """Findings about a record: it sets the photo aside only where the photo's count hangs on it."""
    grave = found.quarantine if job.count_source in (None, "metadata") else found.warnings
    try:
        record = parse_metadata(path.read_bytes())
    except FileNotFoundError:
        found.warnings.append("record_missing")
        return
    except OSError as error:
        grave.append(f"record_malformed:{error.strerror}")
        return
    quantities = [product.quantity for product in record.products]
    expected = record.expected_quantity
    if record.problems:
        grave.append(f"record_malformed:{record.problems[0]}")
    if record.problems or expected is None:
        return
    if job.recorded_count not in (None, expected):
        found.warnings.append(f"count_differs:{job.recorded_count} against {expected} in the record")
    if sum(quantities) != expected:
        found.warnings.append(f"quantities_contradict:{sum(quantities)} against {expected} expected")


def main() -> None:
    """Serves inspections until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it closes stdin
    warnings.simplefilter("ignore")  # Pillow's remarks on damaged EXIF: nobody reads a worker's stderr
    lines, answers = sys.stdin.buffer, sys.stdout.buffer
    limits = msgspec.json.decode(lines.readline(), type=Limits)
    answers.write(READY)
    answers.flush()
    jobs, encoder = msgspec.json.Decoder(Job), msgspec.json.Encoder()
    for line in lines:
        answers.write(encoder.encode(inspect(jobs.decode(line), limits)) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
