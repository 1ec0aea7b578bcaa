"""This process among those that train one network together; alone, it is the first of one.

Whoever starts the processes (our `launch`, torchrun, Ray, SageMaker, Slurm's torchrun step) says so in the environment:
RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT. All functions here are collective where there are several
processes: each must call them, in the same order.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

T = TypeVar("T")
Row = TypeVar("Row", bound=np.generic)


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _joined() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if _joined() else 0


def is_first() -> bool:
    """Whether this process writes files and speaks to people."""
    return rank() == 0


def started_together() -> bool:
    """Whether somebody has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def started_again() -> bool:
    """Whether torchrun has started this process in the place of one that died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def joined() -> Iterator[None]:
    """With the other processes, if there are any; leaves them at the end, unless somebody else had joined them.

    Tensors on a GPU go through NCCL, those on the CPU through gloo.
    """
    if not started_together() or _joined():
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_devices() -> int:
    """How many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _joined() else 1


def mean(value: Tensor) -> Tensor:
    """The mean of all processes' values, detached."""
    value = value.detach()
    if not _joined():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world()


def of_first(value: T) -> T:
    """The first process's value, for all."""
    if not _joined():
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return cast(T, box[0])


def gathered(value: T) -> list[T]:
    """All processes' values, by rank."""
    if not _joined():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return cast(list[T], values)


def all_parts(rows: NDArray[Row]) -> NDArray[Row]:
    """All processes' rows, one after the other, in the order of `part`."""
    return np.concatenate(gathered(rows))


def share_buffers(network: nn.Module) -> None:
    """The first process's statistics for all: each had counted those of its own part of a batch."""
    if _joined():
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


def wait() -> None:
    """Until all are here."""
    if _joined():
        dist.barrier()


@contextmanager
def first_alone() -> Iterator[None]:
    """What is made here once for all, the first process makes; the others come after it, and find it made."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def part(length: int) -> slice:
    """What of `length` things in a row is this process's."""
    return part_of(length, rank(), world())


def part_of(length: int, place: int, together: int) -> slice:
    """The `place`-th of `together` parts, which differ in length by at most one."""
    return slice(length * place // together, length * (place + 1) // together)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
