"""What a shadow costs those who ask: latency and throughput of a real service with and without one, in turns.

    python benchmarks/shadow.py
    python benchmarks/shadow.py --bundle fast --rounds 5 --seconds 8

Services without a shadow, and with one of 10% and of 100% of the photos, run side by side, and are asked one after the
other, round by round: first by one client (latency), then by as many as keep all cores busy (throughput). Ratios are to
the service without a shadow in the same round; median, smallest and largest. Challenger and champion are one network.
"""

import argparse
import http.client
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from bintally.artifacts import write_bytes
from bintally.bundle import CARD, card_json, find_bundle, read_card
from bintally.data.rendered import render_photo
from bintally.registry import shadow
from bintally.registry.place import Registry
from bintally.registry.promotion import promote
from bintally.registry.registration.register import register
from bintally.registry.shadow.pairs import folder_of, read_pairs
from bintally.settings import cpu_count

SHARES: Final = (0, 10, 100)
WAIT_S: Final = 120.0
PAUSE_S: Final = 2.0
"""In which the shadow of the service before works off what it has."""

JPEG: Final = {"Content-Type": "image/jpeg"}


class Asked(NamedTuple):
    """What clients saw in a while. Milliseconds; photos a second."""

    p50_ms: float
    p99_ms: float
    photos_s: float


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", default="champion")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--clients", type=int, default=2 * cpu_count())
    asked = parser.parse_args()
    photos = [_photo(seed) for seed in range(32)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = _registry(Path(folder), find_bundle(asked.bundle))
        urls = {share: stack.enter_context(_service(place, Path(folder), share)) for share in SHARES}
        for url in urls.values():
            _ask(url, photos, clients=1, seconds=2.0)
        one, many = [
            [
                {share: _ask(urls[share], photos, clients, asked.seconds) for share in SHARES}
                for _ in range(asked.rounds)
            ]
            for clients in (1, asked.clients)
        ]
        print(f"{asked.bundle}, {cpu_count()} cores, {asked.rounds} rounds of {asked.seconds:g} s")
        print(f"| photos in the shadow | p50 | p99 | p50, {asked.clients} clients | p99 | photos/s |")
        print("|---|---|---|---|---|---|")
        for share in SHARES:
            told = [(one, "p50_ms"), (one, "p99_ms"), (many, "p50_ms"), (many, "p99_ms"), (many, "photos_s")]
            print(f"| {share}% | {' | '.join(_cell(rounds, share, name) for rounds, name in told)} |")
        kept = read_pairs(folder_of(place, 2, 1))
    print(f"{len(kept.pairs)} pairs kept, {kept.dropped} photos dropped")


def _cell(rounds: Sequence[dict[int, Asked]], share: int, name: str) -> str:
    """The median, and its ratio to no shadow."""
    value = statistics.median(float(getattr(each[share], name)) for each in rounds)
    if share == 0:
        return f"{value:.1f}"
    ratios = [getattr(each[share], name) / getattr(each[0], name) for each in rounds]
    return f"{value:.1f} ({statistics.median(ratios):.2f} x, {min(ratios):.2f} to {max(ratios):.2f})"


def _ask(url: str, photos: Sequence[bytes], clients: int, seconds: float) -> Asked:
    time.sleep(PAUSE_S)
    took_ms: list[float] = []
    started = time.perf_counter()

    def ask(first: int) -> None:
        with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=WAIT_S)) as connection:
            number = first
            while time.perf_counter() - started < seconds:
                begun = time.perf_counter()
                connection.request("POST", "/v1/counts", photos[number % len(photos)], JPEG)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    raise RuntimeError(f"answered {response.status}")
                took_ms.append(1000 * (time.perf_counter() - begun))
                number += 1

    threads = [threading.Thread(target=ask, args=(11 * client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - started
    cuts = statistics.quantiles(took_ms, n=100)
    return Asked(cuts[49], cuts[98], len(took_ms) / took_s)


def _photo(seed: int) -> bytes:
    file = io.BytesIO()
    render_photo(seed % 6, seed=seed).save(file, "JPEG", quality=90)
    return file.getvalue()


def _registry(folder: Path, bundle: Path) -> Path:
    """A registry with one network twice: as the champion, and, under another name, as the challenger."""
    place, other = folder / "registry", folder / "other"
    other.mkdir()
    for path in bundle.iterdir():
        if path.is_file() and path.name != CARD:
            write_bytes(other / path.name, path.read_bytes())
    card = read_card(bundle / CARD)
    write_bytes(other / CARD, card_json(msgspec.structs.replace(card, name=f"{card.name}-again")))
    with Registry.open(place, create=True) as registry:
        for each in (bundle, other):
            register(registry, each, by="benchmark")
        promote(registry, "1", force_reason="measured", by="benchmark")
        shadow.start(registry, "2", percent=100, by="benchmark")
    return place


@contextmanager
def _service(place: Path, folder: Path, share: int) -> Iterator[str]:
    told = {"registry": place, "state": folder / f"state-{share}", "shadow": share, "log_level": "error"}
    environment = {f"BINTALLY_SERVE_{name.upper()}": str(value) for name, value in told.items()}
    command = [sys.executable, "-m", "bintally", "serve", "--json", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        if process.stdout is None or not (line := process.stdout.readline()):
            raise RuntimeError("the service did not start")
        yield msgspec.json.decode(line)["url"]
    finally:
        process.terminate()
        process.wait(WAIT_S)


if __name__ == "__main__":
    main()
