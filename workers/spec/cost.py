"""What a step of training costs, as far as it follows from a trial's specification, and what was measured of it.

Two trials of one ``cost_shape`` differ in nothing that a step takes time for, but for their reflectors, which
``multiply_adds`` counts. So a measurement of one pack says something about every other pack of its shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.spec.checkpoint_size import STATE_TENSORS
from workers.spec.parameter_count import GATES, count_parameters
from workers.spec.trial import TrialSpec

CostSource = Literal["run", "calibration"]


@dataclass(frozen=True)
class MeasuredCost:
    """What was measured of one pack.

    Attributes:
        source: Whether trials of a sweep were trained, or a few steps for the sake of the measurement.
        shape: The ``cost_shape`` of its trials.
        kind: The kind of their networks.
        device: What kind of device it was, such as ``cpu: Intel Xeon``.
        cpus: The CPUs of the pack.
        gpus: The GPUs of the pack; 0 if it was trained on the CPU.
        trials: The number of its trials.
        size: How many of them were trained at once.
        work: The multiply-adds of one step of all that were trained at once.
        steps: The number of steps that were measured.
        step_seconds: The seconds of one step of all that were trained at once.
        evaluation_seconds: The seconds of what they measure at a report; None if that was not measured.
        checkpoint_seconds: The seconds that the checkpoint of one trial takes; None if that was not measured.
        start_seconds: The seconds from the decision to train a pack to its first step, with what the first steps take
            longer; None if that was not measured.
        peak_bytes: The most main memory that the process had; None if that was not measured.
        gpu_peak_bytes: The most memory of a GPU that it had; None on a CPU.
        at: When it was measured, in seconds since the Unix epoch.
    """

    source: CostSource
    shape: str
    kind: str
    device: str
    cpus: float
    gpus: float
    trials: int
    size: int
    work: float
    steps: int
    step_seconds: float
    evaluation_seconds: float | None = None
    checkpoint_seconds: float | None = None
    start_seconds: float | None = None
    peak_bytes: int | None = None
    gpu_peak_bytes: int | None = None
    at: float = 0.0


class Calibration(BaseModel):
    """What was measured of the packs of a request, in their order.

    On a CPU, waits for a processor are left out (``workers.training.pack_probe``). ``busy`` is the CPU time of the
    process while steps were timed, as a share of all the time that passed: if other programs need the processors too,
    it is less than the CPUs of the pack.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    costs: list[MeasuredCost]
    busy: float


class CalibrationRequest(BaseModel):
    """What is to be measured.

    ``packs`` holds the trials of each pack, all of one shape key; ``seconds`` is the time for the steps of all packs
    together. ``data_dir`` is the folder of data sets; None for the one in the user's cache. Checkpoints are written to
    a new folder in ``scratch_dir``, which is removed; None for the system's folder of temporary files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    packs: list[list[TrialSpec]] = Field(min_length=1)
    cpus: float = Field(gt=0)
    gpus: float = Field(ge=0)
    seconds: float = Field(gt=0)
    data_dir: Path | None = None
    scratch_dir: Path | None = None


def cost_shape(trial: TrialSpec) -> str:
    """Return a short key of all that the time of a step depends on, but for the numbers of reflectors.

    Trials with equal shape keys have the same one, and so have trials that differ in steps, reports and checkpoints.
    """
    model, training = trial.model, trial.training
    network = (model.kind, model.hidden_size, model.layers, model.nonlinearity, model.embedding_size)
    how = (training.batch_size, training.optimizer, training.dtype, training.recompute_every)
    return hashlib.sha256(repr((trial.task, *network, *how)).encode()).hexdigest()[:24]


def multiply_adds(trial: TrialSpec) -> float:
    """Return about how many multiply-adds one optimiser step of a trial has: forward, backward and gradients.

    It serves to compare trials. What a step takes beside them, such as its memory traffic, is not counted.
    """
    model, task, n = trial.model, trial.task, trial.model.hidden_size
    gates = GATES.get(model.kind, 1)
    # with few reflectors the transition is applied by its factors, two products of n by m1 + m2 numbers
    rank = min(n, 2 * sum(model.reflector_counts)) if model.reflected else n
    layers, length = model.layers, task.sequence_length
    width = task.input_size if task.tokens is None else model.embedding_of(task.tokens)
    if not model.recurrent:
        each = n * width * length + layers * n * rank + n * task.output_size
        return 3.0 * trial.training.batch_size * each
    inputs = gates * n * (width + (layers - 1) * n)
    head = n * task.output_size * (1 if task.readout == "last" else length)
    each = length * (gates * layers * n * rank + inputs) + head
    # the transition itself is formed once a step: a product of n x n matrices for each reflector, or an exponential
    formed = 30 * n**3 if model.kind == "exprnn" else 0
    return 3.0 * trial.training.batch_size * each + layers * formed


def training_bytes(trials: Iterable[TrialSpec]) -> int:
    """Return about how many bytes training a pack takes beside the program: parameters, optimiser and states."""
    total = 0
    for trial in trials:
        width = 8 if trial.training.parameter_dtype == "float64" else 4
        # the parameters, their gradients, what the optimiser keeps, and a copy of the best ones
        copies = 3 + STATE_TENSORS[trial.training.optimizer]
        total += count_parameters(trial.model, trial.task).total * width * copies
        # states, what is computed from them before the nonlinearity, and their gradients
        total += 3 * trial.step_bytes * GATES.get(trial.model.kind, 1)
    return total
