"""How many trials a GPU trains at once: found out by trying, on the worker that has the GPU.

What a pack of K trials needs of memory, and how long its step takes, depends on the device, the kernels that it
chooses and the shape of the trials. So the first pack of a shape tries: it times a step of 1, 2, 4, ... copies of one
trial, until more trials at once bring no more steps a second, or do not fit. The result is kept in the user's cache,
where the other packs of the sweep on this machine find it. A worker to which more trials are assigned trains so many
at once, and the others as places become free (``Trainer``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from platformdirs import user_cache_path

from spectral_rnn_service import installed_version
from workers.errors import is_out_of_memory
from workers.files import write_whole
from workers.spec.trial import TrialSpec
from workers.training.batches import TaskData
from workers.training.pack import TrainingPack
from workers.training.training_state import TrainingState

log = logging.getLogger(__name__)

FEW = 4
"""Packs of up to so many trials are trained at once without a trial run: there is little to gain."""
GAIN = 1.05
"""A pack of twice the size has to train so many times as many trials a second to be worth its memory."""
SHARE = 0.9
"""The part of the memory that a pack may fill; evaluations and diagnostics need some more than a step."""
SECONDS = 0.03
"""How long steps are timed."""


@dataclass(frozen=True)
class GpuCapacity:
    """What was measured of packs of some shape.

    Attributes:
        best: The number of trials with the most steps a second of all trials together, among those that were tried.
        rising: Whether ``best`` was the largest number that was tried, so that a larger one may be better.
        fixed: Bytes that a pack needs beside those of its trials.
        each: Bytes that one more trial needs.
    """

    best: int
    rising: bool
    fixed: int
    each: int

    def fitting(self, memory: int) -> int:
        """Return how many trials fit into so many bytes."""
        return int((SHARE * memory - self.fixed) // max(1, self.each))


def trials_at_once(states: Sequence[TrainingState], data: TaskData, device: torch.device) -> int:
    """Return how many of the trials are to be trained at once on a device, at least 1.

    On a CPU, where the planner knows the answer, and for few trials it is all of them. The trials are divided evenly:
    40 of which 32 fit are trained 20 at a time.

    Args:
        states: The trials, which have one shape key. They are not changed.
        data: The data of their task.
        device: The device.
    """
    count = len(states)
    if device.type != "cuda" or count <= FEW:
        return count
    # Trials differ in their reflectors alone, and a pack is padded to the largest set.
    hardest = max(states, key=lambda state: sum(p.numel() for p in state.model.values()))
    found = _known(hardest.spec, device)
    if found is None or (found.rising and min(count, found.fitting(_memory(device))) >= 2 * found.best):
        found = _measured(hardest, count, data, device)
        _keep(hardest.spec, device, found)
    fitting = found.fitting(_memory(device))
    size = max(1, min(count, fitting if found.rising else min(fitting, found.best)))
    size = math.ceil(count / math.ceil(count / size))
    if size < count:
        log.info("of %d trials, %d are trained at once", count, size)
    return size


def _measured(state: TrainingState, count: int, data: TaskData, device: torch.device) -> GpuCapacity:
    """Time packs of more and more copies of one trial, up to ``count``."""
    found, rate, memory = GpuCapacity(1, True, 0, 0), 0.0, {}
    for size in [*(2**i for i in range(count.bit_length()) if 2**i < count), count]:
        if found.each and size > found.fitting(_memory(device)):
            break  # more may pay, as far as they fit
        measured = _time_and_memory(state, size, data, device)
        if measured is None:
            return replace(found, rising=False)
        seconds, memory[size] = measured
        if len(memory) > 1:
            before = list(memory)[-2]
            each = max(1, (memory[size] - memory[before]) // (size - before))
            found = replace(found, each=each, fixed=max(0, memory[size] - size * each))
        if size / seconds < GAIN * rate:
            return replace(found, rising=False)
        found, rate = replace(found, best=size), size / seconds
    return found


def _time_and_memory(state: TrainingState, size: int, data: TaskData, device: torch.device) -> tuple[float, int] | None:
    """Return the seconds of a step of a pack of copies of one trial, and the bytes that it needs; None if too many."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    try:
        pack = TrainingPack([state] * size, data, device)
        for _ in range(3):  # the first step compiles kernels, the second one is captured
            pack.step(probe=False)
        torch.cuda.synchronize(device)
        taken, steps, started = 0.0, 0, time.perf_counter()
        while taken < SECONDS:
            pack.step(probe=False)
            torch.cuda.synchronize(device)
            taken, steps = time.perf_counter() - started, steps + 1
        needed = torch.cuda.max_memory_reserved(device) - before
        pack.release()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    return taken / steps, needed


def _memory(device: torch.device) -> int:
    """Return the bytes that this process can have on a device: what is free, and what it holds and does not use."""
    free, total = torch.cuda.mem_get_info(device)
    held, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    allowed = int(torch.cuda.get_per_process_memory_fraction() * total) - held
    return max(0, min(free, allowed)) + held - used


def _file(spec: TrialSpec, device: torch.device) -> Path:
    """Return the file of a measurement. Its name tells apart what it depends on."""
    name, total = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
    reflectors = spec.model.reflector_counts if spec.model.reflected else ()
    depends = (name, total, torch.__version__, installed_version(), spec.shape_key, reflectors)
    digest = hashlib.sha256(repr(depends).encode()).hexdigest()[:32]
    return user_cache_path("spectral") / "pack_sizes" / f"{digest}.json"


def _known(spec: TrialSpec, device: torch.device) -> GpuCapacity | None:
    try:
        return GpuCapacity(**json.loads(_file(spec, device).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _keep(spec: TrialSpec, device: torch.device, found: GpuCapacity) -> None:
    path = _file(spec, device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(found)).encode())
    except OSError as error:
        log.warning("how many trials this GPU trains at once cannot be kept for later packs: %s", error)
