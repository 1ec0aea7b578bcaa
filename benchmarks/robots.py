"""How many robots one service carries: the largest fleet with p99 within a second, over HTTP and over MQTT.

    python benchmarks/robots.py [--bundle fast] [--every 10] [--limit-ms 1000] [--repeats 3] [--doors http mqtt]

Service, broker and load generator share this machine's cores. Latency counts from the moment a photo was due. The mix
is the usual one of `bintally simulate --robots`. Needs Mosquitto for MQTT (Debian: apt-get install mosquitto).
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bintally.simulation.robots.ramp import RampReport, Round
from bintally.simulation.robots.run import largest_fleet

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SETTINGS = "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--every", type=float, default=10.0)
    parser.add_argument("--limit-ms", type=float, default=1000.0)
    parser.add_argument("--first", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--doors", nargs="+", default=["http", "mqtt"], choices=["http", "mqtt"])
    asked = parser.parse_args()
    print(f"{asked.bundle}, a photo every {asked.every:g} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for door in asked.doors:
        found = [_ramp(door, asked, seed) for seed in range(asked.repeats)]
        fleets = [each.robots for each in found]
        rates = [max((r.counted_per_s for r in each.rounds if r.is_carried), default=0.0) for each in found]
        print(
            f"{door:<5} {statistics.median(fleets):,.0f} robots ({min(fleets):,}-{max(fleets):,}), "
            f"{statistics.median(rates):.0f} photos/s"
            f"{', the generator at its limit' if any(each.is_generator_the_limit for each in found) else ''}",
            flush=True,
        )


def _ramp(door: str, asked: argparse.Namespace, seed: int) -> RampReport:
    with (
        TemporaryDirectory(prefix="bintally-bench-") as scratch,
        _broker(door, Path(scratch)) as broker,
        _service(asked.bundle, Path(scratch), broker) as url,
    ):
        return largest_fleet(
            robots=asked.first,
            url=None if broker else url,
            mqtt=broker,
            every_s=asked.every,
            limit_ms=asked.limit_ms,
            seed=seed,
            on_round=_show,
        )


def _show(each: Round) -> None:
    p99 = "-" if each.p99_ms is None else f"{each.p99_ms:,.0f}"
    told = f"{each.robots:>6,} robots, {each.counted_per_s:6.1f} photos/s, p99 {p99} ms, generator {each.cpu:.0%}"
    print(f"   {told}  {each.why}", file=sys.stderr, flush=True)


@contextmanager
def _service(bundle: str, folder: Path, broker: str | None) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "bintally",
        "serve",
        bundle,
        "--json",
        "--port",
        "0",
        "--state",
        str(folder / "state"),
    ]
    environment = {**os.environ, **({"BINTALLY_SERVE_MQTT": broker} if broker else {})}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError("The service did not start.")
            yield json.loads(line)["url"]
        finally:
            process.kill()


@contextmanager
def _broker(door: str, folder: Path) -> Iterator[str | None]:
    if door == "http":
        yield None
        return
    if MOSQUITTO is None:
        raise RuntimeError("There is no Mosquitto (Debian: apt-get install mosquitto).")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "mosquitto.conf").write_text(SETTINGS.format(port=port) + ("user root\n" if os.geteuid() == 0 else ""))
    with subprocess.Popen(
        [MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            time.sleep(1)
            yield f"mqtt://127.0.0.1:{port}"
        finally:
            process.kill()


if __name__ == "__main__":
    main()
