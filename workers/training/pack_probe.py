"""A short trial run of a pack: how long its steps, evaluations and checkpoints take, and how much memory it needs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from spectral import torch_on_one_thread
from workers.checkpoints import CheckpointFolder
from workers.spec.cost import MeasuredCost, cost_shape, multiply_adds
from workers.spec.trial import TrialSpec
from workers.training.batches import TaskData
from workers.training.checkpoint_writer import CheckpointWriter, DueCheckpoint
from workers.training.diagnostics import interval
from workers.training.pack import TrainingPack
from workers.training.pack_size import trials_at_once
from workers.training.pack_timer import device_name, forget_peak, peak_bytes
from workers.training.running_clock import running_seconds
from workers.training.training_state import TrainingState

WARM_UP_STEPS = 3
"""The first step compiles kernels, and the second one is captured on a GPU."""
LEAST_STEPS = 2
"""So many steps are timed, however long they take."""


@dataclass(frozen=True)
class PackProbe:
    """What a trial run of a pack has measured; the fields are those of ``MeasuredCost``.

    On a CPU, steps, evaluations and the start are timed beside nothing else: the time for which the main thread waits
    for a processor is left out. ``busy`` is the CPU time of the process while steps were timed, as a share of all the
    time that passed.
    """

    device: str
    size: int
    steps: int
    step_seconds: float
    evaluation_seconds: float
    checkpoint_seconds: float
    start_seconds: float | None
    peak_bytes: int
    gpu_peak_bytes: int | None
    busy: float

    def cost(self, trials: Sequence[TrialSpec], cpus: float, gpus: float) -> MeasuredCost:
        """Return it as what is known of the shape of these trials, which were measured with so many CPUs and GPUs."""
        work = sum(map(multiply_adds, trials)) / len(trials) * self.size
        return MeasuredCost(
            source="calibration",
            shape=cost_shape(trials[0]),
            kind=trials[0].model.kind,
            device=self.device,
            cpus=cpus,
            gpus=gpus,
            trials=len(trials),
            size=self.size,
            work=work,
            steps=self.steps,
            step_seconds=self.step_seconds,
            evaluation_seconds=self.evaluation_seconds,
            checkpoint_seconds=self.checkpoint_seconds,
            start_seconds=self.start_seconds,
            peak_bytes=self.peak_bytes,
            gpu_peak_bytes=self.gpu_peak_bytes,
            at=time.time(),
        )


@torch_on_one_thread()
def probe(
    trials: Sequence[TrialSpec],
    device: torch.device,
    seconds: float,
    data_dir: Path | None,
    scratch_dir: Path | None,
    began: float | None,
) -> PackProbe:
    """Train a pack for a few steps, and measure it.

    Args:
        trials: The trials of the pack, all of one shape key.
        device: The device.
        seconds: About how long steps are timed.
        data_dir: The folder of data sets; None for the one in the user's cache.
        scratch_dir: Where a folder for checkpoints is made, and removed; None for the system's own place.
        began: When the process began, as ``running_seconds`` says; None if that is not to be measured.

    Raises:
        DataMissing: The data of the task cannot be read.
    """
    forget_peak()
    # beside a GPU, the host may wait for a processor while the device works: then all of the time counts
    clock = running_seconds if device.type == "cpu" else time.perf_counter
    training = trials[0].training
    states = [TrainingState.start(spec) for spec in trials]
    data = TaskData(trials[0].task, data_dir, device, getattr(torch, training.parameter_dtype))
    states = states[: trials_at_once(states, data, device)]
    pack = TrainingPack(states, data, device)
    loaded, ready = running_seconds(), clock()  # the first one is compared with ``began``
    for _ in range(WARM_UP_STEPS):
        pack.step(probe=False)
    pack.readings()  # waits for the device, as below
    warmed = clock()
    steps, started, cpu = 0, time.perf_counter(), time.process_time()
    while steps < LEAST_STEPS or time.perf_counter() - started < seconds:
        pack.step(probe=False)
        steps += 1
        if steps % LEAST_STEPS == 0 and device.type == "cuda":
            pack.readings()
    pack.readings()
    step_seconds, busy = (clock() - warmed) / steps, (time.process_time() - cpu) / (time.perf_counter() - started)
    warm_up = max(0.0, warmed - ready - WARM_UP_STEPS * step_seconds)
    pack.step(probe=True)  # diagnoses are of a probed step
    evaluation_seconds = _evaluation_seconds(pack, trials[0], clock)
    return PackProbe(
        device=device_name(device),
        size=len(states),
        steps=steps,
        step_seconds=step_seconds,
        evaluation_seconds=evaluation_seconds,
        checkpoint_seconds=_checkpoint_seconds(pack, states, scratch_dir) / len(states),
        start_seconds=None if began is None else loaded - began + warm_up,
        peak_bytes=peak_bytes(),
        gpu_peak_bytes=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
        busy=busy,
    )


def _evaluation_seconds(pack: TrainingPack, trial: TrialSpec, clock: Callable[[], float]) -> float:
    """Return the mean seconds of what a report measures: the test set comes once, and diagnoses now and then."""
    measures: list[Callable[[], object]] = [lambda: pack.evaluate("validation"), pack.evaluate_best, pack.diagnose]
    times = []
    for measure in measures:
        measure()  # the first time takes up to twice as long: it gets its memory from the kernel
        started = clock()
        measure()
        times.append(clock() - started)
    every, reports = trial.training.report_interval, -(-trial.training.steps // trial.training.report_interval)
    return times[0] + times[1] / reports + times[2] * min(1.0, every / interval(trial))


def _checkpoint_seconds(pack: TrainingPack, states: Sequence[TrainingState], scratch_dir: Path | None) -> float:
    """Return the seconds that one checkpoint of each trial takes, all written together."""
    with tempfile.TemporaryDirectory(prefix="spectral-calibration-", dir=scratch_dir) as folder:
        names = {f"{row}": CheckpointFolder(Path(folder) / f"{row}", state.spec) for row, state in enumerate(states)}
        writer = CheckpointWriter(names)
        times = []
        for _ in range(2):  # a later checkpoint removes earlier ones, as in training
            started = time.perf_counter()
            for row, state in enumerate(states):
                pack.store(row, state)
            writer.write({f"{row}": DueCheckpoint(state, best=True, objective=0.0) for row, state in enumerate(states)})
            times.append(time.perf_counter() - started)
            pack.step(probe=False)
        return times[-1]
