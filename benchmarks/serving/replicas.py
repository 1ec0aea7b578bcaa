"""What a second replica brings: the service on Ray Serve with one and with two, a core each, in turns.

    python benchmarks/serving/replicas.py --photos DIR [--bundle fast] [--replicas 1 2] [--rounds 3] [--seconds 5]

Ray's own processes and this client work on the same cores, so that on a machine of two cores a second replica can't
bring twice the photos/s. Beside them: `bintally serve --threads 1`, the same without Ray.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))  # this folder's modules, where it is run as a file

from benchmarks.serving.client import saturated
from benchmarks.serving.systems import Running, System, free_port, running
from benchmarks.serving.venvs import REPOSITORY

from bintally.data.rendered.source import render_source

CONNECTIONS = 16
PLAIN = "bintally serve --threads 1"
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "BINTALLY_STATE": "{scratch}"}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs (default: rendered ones)")
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="bintally-bench-") as scratch:
        folder = asked.photos or render_source(Path(scratch), photos=100) / "bin-images"
        photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:100]]
        all_systems = [_plain(), *(_on_ray(number, asked.bundle, Path(scratch)) for number in asked.replicas)]
        rates: dict[str, list[float]] = {system.name: [] for system in all_systems}
        print(f"{asked.bundle}, {len(photos)} photos, load average {os.getloadavg()[0]:.1f}", flush=True)
        for _ in range(asked.rounds):
            for system in all_systems:
                rates[system.name].append(_rate(system, asked.bundle, photos, asked.seconds))
    for name, per_s in rates.items():
        first = rates[all_systems[1].name]
        ratios = [one / other for one, other in zip(per_s, first, strict=True)]
        print(
            f"{name:<28} {statistics.median(per_s):6.1f} photos/s ({min(per_s):.1f}-{max(per_s):.1f}), "
            f"{statistics.median(ratios):.2f}x one replica's ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def _plain() -> System:
    command = ("{python}", "-m", "bintally", "serve", "{bundle}", "--port", "{port}", "--threads", "1")
    return System(PLAIN, "", command, 1, path="/v1/counts", environment=ENVIRONMENT, python=Path(sys.executable))


def _on_ray(replicas: int, bundle: str, folder: Path) -> System:
    """The config that ships, with so many replicas."""
    config = yaml.safe_load((REPOSITORY / "deploy" / "ray" / "serve.yaml").read_text())
    port = config["http_options"]["port"] = free_port()
    [app] = config["applications"]
    app["args"] |= {"bundle": bundle, "require_keys": "never"}
    [deployment] = app["deployments"]
    del deployment["autoscaling_config"]
    deployment["num_replicas"] = replicas
    path = folder / f"{replicas}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = ("{bin}/serve", "run", "--address", "local", str(path))
    return System(
        f"on Ray, {replicas} replica(s)",
        "",
        command,
        replicas,
        path="/v1/counts",
        environment=ENVIRONMENT,
        python=Path(sys.executable),
        port=port,
    )


def _rate(system: System, bundle: str, photos: Sequence[bytes], seconds: float) -> float:
    with running(system, bundle=bundle, photos=photos) as service:
        if system.name != PLAIN:
            _wait_for_replicas(service, system.threads)
        requests = system.requests(photos, service.port)
        asyncio.run(saturated(service.port, requests, connections=CONNECTIONS, seconds=min(seconds, 2)))  # warms it
        return asyncio.run(saturated(service.port, requests, connections=CONNECTIONS, seconds=seconds)).photos_per_s


def _wait_for_replicas(service: Running, replicas: int) -> None:
    until = time.monotonic() + 60
    while service.named("ServeReplica:") < replicas and time.monotonic() < until:
        time.sleep(0.2)


if __name__ == "__main__":
    main()
