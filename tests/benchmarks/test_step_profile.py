"""The profile of a packed step (tests/benchmarks) names parts that a pack has."""

from __future__ import annotations

import torch

from benchmarks import step_profile
from tests.workers.examples import make_trial
from workers.training.batches import TaskData
from workers.training.pack import TrainingPack
from workers.training.training_state import TrainingState


def test_every_part_that_is_timed_is_there() -> None:
    trial, device = make_trial(), torch.device("cpu")
    data = TaskData(trial.task, None, device, torch.float32)
    pack = TrainingPack([TrainingState.start(trial)], data, device)
    for owner, name, _ in step_profile._parts(pack):
        assert callable(getattr(owner, name)), name
