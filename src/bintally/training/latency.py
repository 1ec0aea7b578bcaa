"""How long one photo takes in torch: a stand-in for the exported network, to compare architectures and sizes by.

Not what a bundle takes: no export, no decoding, no mirrored view, no ONNX Runtime.
"""

import statistics
import time
from typing import Final

import torch

from bintally.training.network import build_network
from bintally.training.recipe import Recipe

WARM_UP: Final = 3
PASSES: Final = 15


def forward_ms(recipe: Recipe, *, classes: int) -> float:
    """Median milliseconds of a float32 forward pass, one photo as the bundle would see it, one thread of the CPU.

    The weights are random: they do not matter to the time. Whatever else the machine does at that moment does.
    """
    network, _ = build_network(recipe.network, classes, pretrained=False)
    network = network.eval().to(memory_format=torch.channels_last)
    px = recipe.export.px or recipe.input.px
    pixels_nchw = torch.zeros(1, 3, px, px, dtype=torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            seconds = [_seconds(network, pixels_nchw) for _ in range(WARM_UP + PASSES)]
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(seconds[WARM_UP:])


def _seconds(network: torch.nn.Module, pixels_nchw: torch.Tensor) -> float:
    started = time.perf_counter()
    network(pixels_nchw)
    return time.perf_counter() - started
