"""How busy and how full the GPUs are, by NVML where it can be had."""

from collections.abc import Callable
from typing import Any

import torch


class Gpus:
    """The GPUs this process may use; none where there is no GPU, or nobody to tell.

    nvidia-ml-py speaks to the driver itself; without it, torch tells at least the memory.
    """

    def __init__(self) -> None:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        self._busy: list[Callable[[], float]] = []
        self._memory: list[Callable[[], float]] = []
        for index in range(count):
            handle = _nvml_handle(index)
            if handle is not None:
                self._busy.append(lambda handle=handle: _nvml_busy(handle))  # type: ignore[misc]
                self._memory.append(lambda handle=handle: _nvml_memory(handle))  # type: ignore[misc]
            else:
                self._memory.append(lambda index=index: _torch_memory(index))  # type: ignore[misc]

    def busy(self) -> tuple[float, ...]:
        """Percent of the last moments with something running, by GPU."""
        return tuple(look() for look in self._busy)

    def memory(self) -> tuple[float, ...]:
        """Percent of the memory that is taken, by GPU."""
        return tuple(look() for look in self._memory)


def _nvml_handle(index: int) -> Any | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        # CUDA_VISIBLE_DEVICES renumbers GPUs for torch alone, so that they are looked up by their own name.
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(index).uuid}")
    except Exception:  # not installed, no driver, a slice of a GPU (MIG) ...: each its own error
        return None


def _nvml_busy(handle: Any) -> float:
    import pynvml

    return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def _nvml_memory(handle: Any) -> float:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return round(100 * float(memory.used) / float(memory.total), 1)


def _torch_memory(index: int) -> float:
    free, total = torch.cuda.mem_get_info(index)
    return round(100 * (1 - free / total), 1)
