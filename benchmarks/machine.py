"""Description of the machine that a benchmark ran on: processor, versions, source and date; no person or place."""

from __future__ import annotations

import datetime
import os
import platform

import torch

from spectral.cpu import library
from study.machine import commit, memory, processor, version

SOURCES = ("spectral", "workers", "service", "benchmarks")


def describe(*packages: str) -> dict[str, str]:
    """Return the description as values by name; ``packages`` are further packages whose versions are shown."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "source": commit(*SOURCES),
        "processor": f"{processor()}, {len(os.sched_getaffinity(0))} cores, {torch.backends.cpu.get_cpu_capability()}",
        "memory": memory(),
        "load": f"{os.getloadavg()[0]:.2f} over the last minute, before the start",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if library.available(torch.device("cpu"), torch.float32):
        tile, peak = library.tile(torch.float32), library.peak(torch.float32) / 1e9
        found["compiled code"] = (
            f"{library.instruction_set()}, tile of {tile['rows']} rows x {tile['vectors']} vectors of {tile['width']} "
            f"numbers; multiply-adds alone: {peak:.0f} Gflop/s on one core"
        )
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        found["gpu"] = f"{torch.cuda.get_device_name()} (sm_{major}{minor})"
        found["cuda, cudnn"] = f"{torch.version.cuda}, {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    return found | {name: known for name in packages if (known := version(name))}
