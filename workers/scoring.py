"""Losses and metrics of a pack, trial by trial."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from workers.batches import Batch
from workers.models import PackedModel
from workers.tasks import Task

ROWS_AT_ONCE = 2**22
"""Held-out sequences go through the net in chunks of about this many (sequence, step, unit) values per trial."""


def losses(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of each trial, (K,): outputs (K, B, O), targets (K, B) for cross_entropy or (K, B, O) for mse."""
    if task.loss == "cross_entropy":
        each = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
        return each.view(outputs.shape[:2]).mean(1)
    return (outputs - targets).square().flatten(1).mean(1)


@torch.no_grad()
def scores(task: Task, model: PackedModel, held_out: Batch) -> dict[str, Tensor]:
    """The task's metrics over a held-out set, each (K,) in float64.

    The chunks depend on the shape of one trial only, so a trial scores the same in every pack.
    """
    count, steps = held_out.inputs.shape[:2]
    chunk = max(64, ROWS_AT_ONCE // (steps * model.hidden_size))
    total: dict[str, Tensor] = {}
    for start in range(0, count, chunk):
        inputs = held_out.inputs[start : start + chunk].expand(model.trials, -1, -1, -1)
        targets = held_out.targets[start : start + chunk]
        targets = targets.expand(model.trials, *targets.shape)
        outputs, _ = model.forward(inputs)
        part = {"loss": losses(task, outputs, targets).double() * inputs.shape[1]}
        if "accuracy" in task.metrics:
            part["accuracy"] = (outputs.argmax(-1) == targets).double().sum(1)
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return {name: value / count for name, value in total.items()}
