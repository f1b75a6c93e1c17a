"""How long the parts of a pack's training take, and how much memory they need: what later estimates are made from."""

from __future__ import annotations

import platform
import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.protocol import PackTimes, SizeTimes

_PROCESSOR = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s*([0-9]+) kB$", re.MULTILINE)


@dataclass
class _Tally:
    """What was counted of packs with one number of rows. The first steps are those until the first count."""

    first_steps: int = 0
    first_seconds: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    evaluation_seconds: float = 0.0

    @property
    def step_seconds(self) -> float:
        """The seconds of one step: without the first ones, which have to warm up, if there are others."""
        if self.steps:
            return self.seconds / self.steps
        return self.first_seconds / max(1, self.first_steps)


class PackTimer:
    """Counts the time of a pack's steps, evaluations and checkpoints, by how many rows the pack has.

    Rows of trials that have ended count too, until the pack becomes smaller: they take time as the others do.

    Args:
        device: The device on which the pack is trained.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = time.monotonic()
        self._ready: float | None = None
        self._ended: float | None = None
        self._sizes: dict[int, _Tally] = {}
        self._checkpoints, self._checkpoint_seconds = 0, 0.0

    def ready(self) -> None:
        """Note that data and checkpoints are loaded and that training begins."""
        self._ready = time.monotonic()

    def ended(self) -> None:
        """Note that no trial is left."""
        self._ended = time.monotonic()

    def count_steps(self, rows: int, steps: int, seconds: float) -> None:
        """Count optimiser steps of a pack with so many rows."""
        tally = self._sizes.setdefault(rows, _Tally())
        if not tally.first_steps:
            tally.first_steps, tally.first_seconds = steps, seconds
        else:
            tally.steps, tally.seconds = tally.steps + steps, tally.seconds + seconds

    def count_evaluation(self, rows: int, seconds: float) -> None:
        """Count what a report of a pack with so many rows measures: validation, and now and then the rest."""
        tally = self._sizes.setdefault(rows, _Tally())
        tally.evaluations, tally.evaluation_seconds = tally.evaluations + 1, tally.evaluation_seconds + seconds

    def count_checkpoints(self, count: int, seconds: float) -> None:
        """Count checkpoints that were written together in so many seconds."""
        self._checkpoints, self._checkpoint_seconds = self._checkpoints + count, self._checkpoint_seconds + seconds

    def times(self) -> PackTimes:
        """Return what was counted so far."""
        now = time.monotonic() if self._ended is None else self._ended
        ready = now if self._ready is None else self._ready
        # the list is made at once: another thread may ask while this pack counts
        trained = {rows: tally for rows, tally in list(self._sizes.items()) if tally.first_steps}
        return PackTimes(
            device=device_name(self._device),
            age_seconds=now - self._began,
            ready_seconds=ready - self._began,
            warm_up_seconds=sum(
                max(0.0, tally.first_seconds - tally.first_steps * tally.step_seconds) for tally in trained.values()
            ),
            sizes=[
                SizeTimes(
                    rows=rows,
                    steps=tally.first_steps + tally.steps,
                    step_seconds=tally.step_seconds,
                    evaluations=tally.evaluations,
                    evaluation_seconds=tally.evaluation_seconds,
                )
                for rows, tally in sorted(trained.items())
            ],
            checkpoints=self._checkpoints,
            checkpoint_seconds=self._checkpoint_seconds,
            peak_bytes=peak_bytes(),
            gpu_peak_bytes=torch.cuda.max_memory_reserved(self._device) if self._device.type == "cuda" else None,
        )


def device_name(device: torch.device) -> str:
    """Return what kind of device it is, such as ``gpu: NVIDIA H100`` or ``cpu: Intel Xeon``; at most 120 characters."""
    if device.type == "cuda":
        return f"gpu: {torch.cuda.get_device_name(device)}"[:120]
    try:
        found = _PROCESSOR.search(Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return f"cpu: {found[1].strip() if found else platform.processor() or platform.machine()}"[:120]


def peak_bytes() -> int:
    """Return the largest main memory that this process had so far, or since ``forget_peak``, in bytes."""
    try:
        found = _PEAK.search(Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def forget_peak() -> None:
    """Let the peak of this process's memory begin at what it has now, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
