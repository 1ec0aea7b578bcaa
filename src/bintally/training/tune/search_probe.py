"""How fast a network looks at photos and trains on them here: a few steps on noise, before any budget is divided.

Shapes: pixels_nchw uint8 [N, 3, px, px]; labels_n int64 [N].
"""

import time
from collections.abc import Callable
from typing import Final

import torch
from torch import nn

from bintally.training.loop import uses_bf16
from bintally.training.network import build_network, try_out
from bintally.training.recipe import NetworkSettings
from bintally.training.tune.search_plan import PROBE_PX, Speed

BATCH: Final = 16
STEPS: Final = 2


def probe(settings: NetworkSettings, classes: int, *, threads: int, precision: str) -> tuple[Speed, int]:
    """Photos a second at `PROBE_PX`, the best of a few steps (another job's share is no property of it), and layers.

    Raises:
        BackboneError: its weights can't be had, or it can't count at this size.
    """
    torch.set_num_threads(threads)
    network, _ = build_network(settings, classes)
    try_out(network, PROBE_PX)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device).to(memory_format=torch.channels_last)
    pixels_nchw = torch.randint(0, 256, (BATCH, 3, PROBE_PX, PROBE_PX), dtype=torch.uint8, device=device)
    labels_n = torch.randint(0, classes, (BATCH,), device=device)

    def look() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=uses_bf16(precision)):
            network(pixels_nchw).float().sum().item()

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=uses_bf16(precision)):
            loss = nn.functional.cross_entropy(network(pixels_nchw), labels_n)
        loss.backward()  # type: ignore[no-untyped-call]
        network.zero_grad()
        loss.item()

    trained = _photos_a_second(step)
    network.eval()
    layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules())
    return Speed(look=_photos_a_second(look), train=trained), layers


def _photos_a_second(work: Callable[[], None]) -> float:
    work()
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return BATCH / min(seconds)
