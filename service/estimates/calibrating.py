"""Calibration: processes of their own train packs for a few seconds, and say what their steps cost here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from workers.spec.cost import Calibration, CalibrationRequest, MeasuredCost
from workers.spec.trial import TrialSpec

STEP_SECONDS = 8.0
"""The time for the steps of all packs together."""
LIMIT_SECONDS = 90.0
"""After so long a calibration is given up: the start of its processes and the first steps have no other bound."""
MOST_PROCESSES = 4
"""So many processes measure at the same time, at the most."""

_one = threading.Lock()


class CalibrationFailed(RuntimeError):
    """No pack could be measured here; the message says why."""


class CalibrationBusy(RuntimeError):
    """Another calibration is under way in this process."""


def calibrate(
    packs: Sequence[Sequence[TrialSpec]],
    cpus: float,
    gpus: float,
    at_once: int,
    data_dir: Path | None,
    scratch_dir: Path | None,
) -> Calibration:
    """Return what packs cost on this machine; one call at a time.

    As many processes measure the same packs as would train at the same time: they share the machine's memory, and all
    of its processors, as the workers will.

    Args:
        packs: The packs, each with trials of one shape key.
        cpus: The CPUs of a pack.
        gpus: The GPUs of a pack; one process alone measures packs that need a GPU.
        at_once: How many packs are going to run at the same time on this machine.
        data_dir: The folder of data sets; None for the one in the user's cache.
        scratch_dir: Where checkpoints are written for a moment; None for the system's own place.

    Raises:
        CalibrationBusy: Another call is under way.
        CalibrationFailed: The packs could not be measured.
    """
    request = CalibrationRequest(
        packs=[list(pack) for pack in packs],
        cpus=cpus,
        gpus=gpus,
        seconds=STEP_SECONDS,
        data_dir=data_dir,
        scratch_dir=scratch_dir,
    )
    copies = 1 if gpus else max(1, min(at_once, MOST_PROCESSES, (os.cpu_count() or 1) // max(1, int(cpus))))
    with _alone():
        answers = _run(request.model_dump_json(), copies)
    costs = [_middle(same) for same in zip(*(answer.costs for answer in answers), strict=True)]
    return Calibration(costs=costs, busy=min(answer.busy for answer in answers))


@contextmanager
def _alone() -> Iterator[None]:
    if not _one.acquire(blocking=False):
        raise CalibrationBusy("another calibration is under way; try again in a few seconds")
    try:
        yield
    finally:
        _one.release()


def _run(request: str, copies: int) -> list[Calibration]:
    """Start so many processes at the same time, and return the answer of each."""
    command = [sys.executable, "-m", "workers.runtime.calibration"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(copies)]
    answers: list[Calibration] = []
    try:
        threads = [_Exchange(process, request) for process in processes]
        for thread in threads:
            thread.join(LIMIT_SECONDS)
            if thread.is_alive():
                raise CalibrationFailed(f"the trial run did not end within {LIMIT_SECONDS:.0f} s")
        for process, thread in zip(processes, threads, strict=True):
            if process.returncode:
                last = (thread.error.strip() or f"its process ended with status {process.returncode}").splitlines()[-1]
                raise CalibrationFailed(last[:500])
            answers.append(Calibration.model_validate_json(thread.output))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return answers


class _Exchange(threading.Thread):
    """Writes to a process and reads what it answers, beside others, so that all of them begin at the same time."""

    def __init__(self, process: subprocess.Popen[str], request: str) -> None:
        super().__init__(daemon=True)
        self._process, self._request = process, request
        self.output, self.error = "", ""
        self.start()

    def run(self) -> None:
        """Exchange the texts."""
        self.output, self.error = self._process.communicate(self._request)


def _middle(same: Sequence[MeasuredCost]) -> MeasuredCost:
    """Return one measurement for those of several processes of one pack."""
    starts = [cost.start_seconds for cost in same if cost.start_seconds is not None]
    return replace(
        same[0],
        steps=sum(cost.steps for cost in same),
        step_seconds=median(cost.step_seconds for cost in same),
        evaluation_seconds=median(cost.evaluation_seconds or 0.0 for cost in same),
        checkpoint_seconds=median(cost.checkpoint_seconds or 0.0 for cost in same),
        start_seconds=median(starts) if starts else None,
        peak_bytes=max(cost.peak_bytes or 0 for cost in same),
    )
