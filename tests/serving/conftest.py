"""A tiny model, a folder of samples with their records, and the service as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bintally.counting.counter import Counter
from tests.bundles import bin_photo, make_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network reads the count off the brightness (see tests/bundles.py)."""
    return make_bundle(tmp_path_factory.mktemp("serving") / "tiny", licence="CC0-1.0: free for every use")


@pytest.fixture(scope="session")
def counter(bundle: Path) -> Counter:
    return Counter(bundle, threads=1)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos laid out like the bucket; the records of two of them are known."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "bin-images").mkdir()
    for count in (1, 2, 9):
        photo = bin_photo(min(count, 6), image_format="JPEG")
        (folder / "bin-images" / f"0000{count}.jpg").write_bytes(photo)
    (folder / "bin-images" / "notes.txt").write_text("not a photo")
    (folder / "labels.csv").write_text("id,count\n00001,1\n00009,9\n")
    return folder


@contextmanager
def running(*arguments: str | Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`bintally serve ARGUMENTS` on a free port: its address and process."""
    command = [sys.executable, "-m", "bintally", "serve", "--json", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield json.loads(line)["url"], process
    finally:
        process.kill()
        process.communicate()
