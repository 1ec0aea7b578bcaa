"""A network's kernels, recorded once and replayed each step (CUDA graphs).

A DenseNet-169 is hundreds of layers of small kernels: sent one by one from Python, they can leave a large GPU waiting.
"""

from contextlib import ExitStack

import torch
from torch import Tensor, nn


def record(network: nn.Module, sample: Tensor, *, bf16: bool) -> None:
    """From now on `network` replays what it does to a batch shaped as `sample`, in the mode (training or not) it is in.

    In the other mode it computes as before. Weights, statistics and random state are as if nothing had been recorded:
    torch runs the batch a few times first.
    """
    device = sample.device
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device]))
        # The cast weights must not be remembered: they would be those of the recording, for ever.
        stack.enter_context(torch.autocast("cuda", torch.bfloat16, enabled=bf16, cache_enabled=False))
        torch.cuda.make_graphed_callables(network, (sample,))
    network.load_state_dict(state)
    for parameter in network.parameters():
        parameter.grad = None
