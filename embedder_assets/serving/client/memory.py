"""Memory in use: of GPUs, from Triton's metrics and from the driver where it is on this machine, and of processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

GPU_MEMORY_SERIES = "nv_gpu_memory_used_bytes"
REFRESH_S = 5.0


def gpu_memory_of_metrics(text: str) -> dict[str, int]:
    """GPU memory in use (bytes) by device, from the text of Triton's metrics; empty without a GPU.

    Triton samples it at ``--metrics-interval-ms``, so a short peak between two samples is missed.
    """
    from prometheus_client.parser import text_string_to_metric_families

    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.labels["gpu_uuid"]: int(sample.value) for sample in samples if sample.name == GPU_MEMORY_SERIES}


def gpu_memory_of_driver() -> dict[str, int]:
    """GPU memory in use (bytes) by device, from NVML on this machine; empty without a driver or a GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        return dict(_devices())
    finally:
        pynvml.nvmlShutdown()


def _devices() -> Iterator[tuple[str, int]]:
    import pynvml

    for index in range(pynvml.nvmlDeviceGetCount()):
        with contextlib.suppress(pynvml.NVMLError):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            yield str(pynvml.nvmlDeviceGetUUID(device)), int(pynvml.nvmlDeviceGetMemoryInfo(device).used)


class ProcessMemory:
    """Resident memory of some processes and all that they started."""

    def __init__(self) -> None:
        self._trees: dict[int, list[Any]] = {}
        self._refreshed_at = 0.0

    def used_bytes(self, *pids: int) -> int:
        """The sum now, in bytes; a page that processes share counts for each of them."""
        import psutil

        # Finding descendants reads all of /proc, so it is not done at every call.
        if time.monotonic() - self._refreshed_at > REFRESH_S or not self._trees.keys() >= set(pids):
            self._trees = {pid: _tree(pid) for pid in pids}
            self._refreshed_at = time.monotonic()
        total = 0
        for process in (process for pid in pids for process in self._trees[pid]):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total


def _tree(pid: int) -> list[Any]:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
