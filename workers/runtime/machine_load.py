"""How busy a runner's machine is, as metrics that MLflow shows among its system metrics. No thread measures them."""

from __future__ import annotations

import sys
import time
from typing import Any

SYSTEM = "system/"
"""The prefix of the metrics, by which MLflow's page knows them."""
SAMPLE_SECONDS = 1.0
"""A sample is used again for so many seconds: the trials of a pack report at about the same time."""
MIB = 2**20


class MachineLoad:
    """Measures the load since the last sample, at a report. Without psutil nothing is measured.

    Args:
        gpu: Whether the runner has a GPU.
    """

    def __init__(self, *, gpu: bool) -> None:
        self._gpu = gpu
        self._sample: dict[str, float] = {}
        self._sampled_at = -SAMPLE_SECONDS
        try:
            import psutil
        except ImportError:
            self._psutil: Any = None
            return
        self._psutil, self._process = psutil, psutil.Process()
        self._process.cpu_percent()  # the first call returns 0 and begins the measurement
        self._begun = False

    def sample(self) -> dict[str, float]:
        """Return the metrics by name.

        ``cpu_utilization_percentage``, from the second sample on, and ``system_memory_usage_megabytes`` are those of
        the machine. ``process_cpu_percentage`` (100 for each busy CPU) and ``process_memory_megabytes`` are those of
        the runner, all of its trials together, and ``gpu_0_memory_usage_megabytes`` is that of its GPU.
        """
        if self._psutil is None:
            return {}
        now = time.monotonic()
        if now - self._sampled_at >= SAMPLE_SECONDS:
            self._sampled_at, self._sample = now, self._measure()
        return self._sample

    def _measure(self) -> dict[str, float]:
        memory = self._psutil.virtual_memory()
        busy = self._psutil.cpu_percent()  # since the last call of this thread, and 0 at the first one
        found = {"cpu_utilization_percentage": busy} if self._begun else {}
        self._begun = True
        found |= {
            "system_memory_usage_megabytes": memory.used / MIB,
            "system_memory_usage_percentage": memory.percent,
            "process_cpu_percentage": self._process.cpu_percent(),
            "process_memory_megabytes": self._process.memory_info().rss / MIB,
        }
        torch: Any = sys.modules.get("torch")  # imported by the thread that trains
        if self._gpu and torch is not None and torch.cuda.is_initialized():
            free, total = torch.cuda.mem_get_info()
            found |= {
                "gpu_0_memory_usage_megabytes": (total - free) / MIB,
                "gpu_0_memory_usage_percentage": 100 * (total - free) / total,
            }
        return {f"{SYSTEM}{name}": float(value) for name, value in found.items()}
