"""Training steps a second, with the C library's allocator as it is and as `bintally train` sets it, in turns.

    python benchmarks/training.py [--backbone densenet169] [--px 192] [--batch 32] [--steps 8] [--rounds 3]

Each round runs both, each in a process of its own, so that whatever else the machine does meets both; ratios are taken
within a round. Steps are forward, backward and AdamW on random pixels, in bf16 where the machine computes in it.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

from bintally.settings import cpu_count

WAYS = ("as it is", "kept")


def main() -> None:
    """Prints photos/s of both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="densenet169")
    parser.add_argument("--px", type=int, default=192)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # what each process of a round is asked
    asked = parser.parse_args()
    if asked.way:
        measure(asked)
        return
    print(f"{asked.backbone}, {asked.px} px, batches of {asked.batch}, {asked.threads} threads")
    ratios = []
    for _ in range(asked.rounds):
        rates = {way: _in_own_process(way) for way in WAYS}
        ratios.append(rates["kept"] / rates["as it is"])
        told = "  ".join(f"{way}: {rate:.1f} photos/s" for way, rate in rates.items())
        print(f"{told}  {ratios[-1]:.2f}x", flush=True)
    print(f"median {statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})")


def _in_own_process(way: str) -> float:
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def measure(asked: argparse.Namespace) -> None:
    """Prints photos/s of one way; page faults a step go to stderr."""
    import torch
    from torch import nn

    from bintally.training.allocator import keep_freed_memory
    from bintally.training.loop import uses_bf16
    from bintally.training.network import build_network
    from bintally.training.recipe import NetworkSettings

    if asked.way == "kept" and not keep_freed_memory():
        sys.exit("This C library has no mallopt: both ways are one here.")
    torch.set_num_threads(asked.threads)
    network, _ = build_network(NetworkSettings(backbone=asked.backbone), 7, pretrained=False)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    pixels_nchw = torch.randint(0, 256, (asked.batch, 3, asked.px, asked.px), dtype=torch.uint8)
    labels_n = torch.randint(0, 7, (asked.batch,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16("auto")):
            loss = nn.functional.cross_entropy(network(pixels_nchw), labels_n)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(2):
        step()
    faults, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.monotonic()
    for _ in range(asked.steps):
        step()
    seconds = time.monotonic() - started
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) // asked.steps
    print(f"  {asked.way}: {faults:,} page faults a step", file=sys.stderr)
    print(asked.steps * asked.batch / seconds)


if __name__ == "__main__":
    main()
