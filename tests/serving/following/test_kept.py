"""Versions that stay loaded."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bintally.counting.counter import Counter
from bintally.serving.engine.batching import BatchingEngine
from bintally.serving.following.kept import KeptVersions
from bintally.serving.models import MEMORY_PER_BYTE
from tests.serving.following.test_memory import version


@pytest.fixture
def engines(bundle: Path) -> Iterator[list[BatchingEngine]]:
    made = [BatchingEngine(Counter(bundle, threads=1), threads=1) for _ in range(3)]
    yield made
    for engine in made:
        asyncio.run(engine.close())


def test_the_oldest_ones_go_when_memory_is_short(engines: list[BatchingEngine]) -> None:
    each = MEMORY_PER_BYTE * engines[0].card.model_bytes
    kept = KeptVersions(2 * each)
    assert kept.put(version(1), engines[0]) == []
    assert kept.put(version(2), engines[1]) == []
    assert kept.put(version(3), engines[2]) == [engines[0]]
    assert [held.name for held in kept.versions()] == ["bintally/3", "bintally/2"]
    assert kept.take(version(1)) is None
    assert kept.take(version(2)) is engines[1]
    assert kept.take(version(2)) is None
    assert kept.clear() == [engines[2]]


def test_what_never_fits_is_not_kept_and_drives_nobody_out(engines: list[BatchingEngine]) -> None:
    each = MEMORY_PER_BYTE * engines[0].card.model_bytes
    assert KeptVersions(each - 1).put(version(1), engines[0]) == [engines[0]]
    assert KeptVersions(0).put(version(1), engines[0]) == [engines[0]]
