"""How many bytes the checkpoints of a sweep take on the disk, from its document alone."""

from __future__ import annotations

from random import Random

from workers.spec.expand import plan_trial, sampler_of
from workers.spec.parameter_count import count_parameters
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

STATE_TENSORS = {"adam": 2, "adamw": 2, "rmsprop": 2, "sgd": 1}
"""How many numbers each optimiser keeps for a parameter (``PackedOptimizer.STATE``)."""
WHILE_TRAINING = 2
"""Checkpoints of a trial in training beside those that stay: the last but one, and the one being written."""
REPORT_BYTES, FILES_BYTES = 800, 8_192
"""Bytes of one report in a manifest, and of what else is in the files besides tensors and reports; both rounded up."""
PLANNED = 50
"""The largest number of trials that are built to know their size; that of the others follows from these."""


def checkpoint_bytes(trial: TrialSpec) -> int:
    """Return about how many bytes the last checkpoint of a trial takes."""
    training = trial.training
    width = 8 if training.parameter_dtype == "float64" else 4
    numbers = count_parameters(trial.model, trial.task).total * (1 + STATE_TENSORS[training.optimizer])
    if trial.task.carried:
        numbers += trial.model.layers * training.batch_size * trial.model.hidden_size * 2
    reports = -(-training.steps // training.report_interval)
    return numbers * width + reports * REPORT_BYTES + FILES_BYTES


def kept_checkpoints(sweep: SweepSpec, trial: TrialSpec) -> int:
    """Return the largest number of checkpoints that stay of a trial when it has ended."""
    every = sweep.checkpoints.keep_every
    further = 0 if every is None else trial.training.steps // max(every, trial.training.checkpoint_interval)
    return len(set(sweep.checkpoints.keep)) + further


def sweep_bytes(sweep: SweepSpec) -> int:
    """Return about how many bytes the checkpoints of a sweep take when its last trials are trained.

    Trials that cannot be trained take none. Of a sweep of more than ``PLANNED`` trials some are drawn at random.
    """
    sampler = sampler_of(sweep)
    count = sampler.trial_count
    numbers = range(count) if count <= PLANNED else sorted(Random(0).sample(range(count), PLANNED))
    found = [plan_trial(sweep, number, sampler.propose(number, ())).spec for number in numbers]
    trials = [trial for trial in found if trial is not None]
    kept = sum(checkpoint_bytes(trial) * kept_checkpoints(sweep, trial) for trial in trials)
    largest = max(map(checkpoint_bytes, trials), default=0)
    return kept * count * sweep.repeats // len(numbers) + WHILE_TRAINING * largest
