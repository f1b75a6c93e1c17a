"""Run a trainer to its end and compare the results of two runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.spec.trial import TrialSpec
from workers.training.batches import TaskData
from workers.training.trainer import Trainer
from workers.training.trainer_events import Reported, TrainerEvent
from workers.training.training_state import TrainingState

CPU = torch.device("cpu")


TIMES = ("throughput/sequences_per_s", "time/wall_s")


def trainer(specs: Sequence[TrialSpec], states: Sequence[TrainingState] | None = None) -> Trainer:
    dtype = getattr(torch, specs[0].training.parameter_dtype)
    data = TaskData(specs[0].task, None, CPU, dtype)
    return Trainer(states or [TrainingState.start(spec) for spec in specs], data, CPU)


def run(found: Trainer) -> list[TrainerEvent]:
    events: list[TrainerEvent] = []
    while found.live:
        events += found.advance()
    return events


def values(events: Sequence[TrainerEvent], trial: int) -> dict[int, dict[str, float]]:
    """Return the metrics of one trial by step, without those that depend on the clock."""
    return {
        e.step: {name: value for name, value in e.values.items() if name not in TIMES}
        for e in events
        if isinstance(e, Reported) and e.trial == trial
    }


def tensors(state: TrainingState) -> dict[str, Tensor]:
    moments = {f"{kind}.{n}": t for kind, own in state.optimizer.items() for n, t in own.items()}
    return state.model | moments


def assert_same_bits(a: TrainingState, b: TrainingState) -> None:
    assert a.step == b.step
    left, right = tensors(a), tensors(b)
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=0, equal_nan=True, msg=name)
