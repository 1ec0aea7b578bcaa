"""Photos of all kinds with bytes flipped, cut out, doubled and spliced, by the thousand: never a 5xx, never a hang."""

import random
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.hardening import strange
from tests.serving.hardening.watched import Held, Watched, check_error, check_threads_and_files

LARGEST = 20_000
"""Bytes of the photos that are mutated: in larger ones, most mutations change nothing that matters."""

EVERY = 250
"""Photos from one look at the memory to the next."""


@pytest.fixture(scope="module")
def served(bundle: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        # Else the allocator keeps what large photos took, 40 MB more or less from look to look, and hides a leak.
        for threshold in ("MMAP", "TRIM"):
            patch.setenv(f"MALLOC_{threshold}_THRESHOLD_", str(2**17))
        with Watched(bundle, state=state, samples=samples, threads=1, workers=2) as made:
            made.start()
            yield made


def mutated(rng: random.Random, files: list[bytes]) -> bytes:
    """One of `files`, damaged up to eight times; the beginning, where headers are, as often as all the rest."""
    file = bytearray(rng.choice(files))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(min(len(file), 200) if rng.random() < 0.5 else len(file))
        size = rng.choice((1, 2, 4, 16, 64, 512))
        match rng.randrange(5):
            case 0:
                file[at] ^= 1 << rng.randrange(8)
            case 1:
                file[at] = rng.choice((0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF))
            case 2:
                del file[at : at + size]
            case 3:
                file[at:at] = file[at : at + size] * rng.choice((1, 1, 100))
            case _:
                other = rng.choice(files)
                start = rng.randrange(len(other))
                file[at : at + size] = other[start : start + size]
        if not file:
            break
    return bytes(file)


def sent(served: Watched, number: int, *, seed: int) -> tuple[Tally[int], list[Held]]:
    """Sends so many mutated photos on two kept-alive connections: answers by status, and what was held on the way."""
    rng = random.Random(seed)
    files = [photo.file for photo in strange.readable() if len(photo.file) <= LARGEST]
    statuses: Tally[int] = Tally()
    held: list[Held] = []
    with served.client() as one, served.client() as other:
        for place in range(number):
            if place % EVERY == 0:
                held.append(served.held())
            client = rng.choice((one, other))
            path = "/v1/overlay" if rng.random() < 0.02 else "/v1/counts"
            told = client.ask("POST", path, mutated(rng, files), Content_Type="image/jpeg")
            if told.status != 200:
                check_error(told)
            statuses[told.status] += 1
    return statuses, held


def check_mutated(served: Watched, number: int, *, seed: int) -> tuple[Tally[int], list[Held]]:
    """All are answered, by workers that live on."""
    workers = served.workers()
    statuses, held = sent(served, number, seed=seed)
    assert served.workers() == workers
    assert statuses.total() == number
    assert statuses[200] > number // 10, "many a mutation leaves a photo that can be read"
    assert statuses[400] > number // 10, "many a mutation leaves none"
    return statuses, held


def test_mutated_photos_are_counted_or_refused_and_never_break_the_service(served: Watched) -> None:
    check_mutated(served, 300, seed=0)


@pytest.mark.soak
def test_ten_thousand_mutated_photos(served: Watched) -> None:
    _, held = check_mutated(served, 10_000, seed=1)
    early, late = held[len(held) // 4 : len(held) // 2], held[-len(held) // 4 :]
    # The least of several looks: at one, a large photo may be under way.
    assert min(late).resident_mb - min(early).resident_mb < 10
    check_threads_and_files(held)
