"""Losses and metrics of a pack, trial by trial."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from workers.models import PackedModel
from workers.tasks import MASKED, Task
from workers.training.batches import Batch

VALUES_AT_ONCE = 2**22
"""A held-out set goes through the net in chunks of about this many states and outputs per trial."""

FEWEST_ROWS = 64


def losses(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of each trial over what has a target, (K,); 0 where nothing has.

    outputs: (K, B, O), or (K, B, T, O) for readout "every". targets: for cross_entropy without O.
    """
    each = _each(task, outputs, targets).flatten(1)
    if task.readout == "last":
        return each.mean(1)
    return each.sum(1) / _seen(task, targets).flatten(1).sum(1).clamp(min=1)


@torch.no_grad()
def scores(task: Task, model: PackedModel, held_out: Batch) -> dict[str, Tensor]:
    """The task's metrics over a held-out set, each (K,) in float64.

    Sums are exact to float64's rounding, whatever the chunks; those depend on the shape of one trial only, so a trial
    scores the same in every pack. A carried task's rows are read with the state carried from first to last step.
    """
    total: dict[str, Tensor] = {}
    for outputs, targets in (_carried if task.carried else _by_rows)(task, model, held_out):
        for name, value in _sums(task, outputs, targets).items():
            total[name] = total[name] + value if name in total else value
    means = {name: total[name] / total[f"{name}/count"] for name in total if f"{name}/count" in total}
    loss = means["loss"]
    found = means | {"bpc": loss / math.log(2), "perplexity": loss.exp(), "error": loss.sqrt()}
    return {name: found[name] for name in task.metrics}


def _each(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of every target in the shape of ``targets``, 0 where it is masked."""
    if task.loss == "cross_entropy":
        each = functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
        return each.view(targets.shape)
    if task.readout == "last":
        return (outputs - targets).square()
    # masked before it is squared: the gradient of what is left out must be 0, not NaN
    return torch.where(_seen(task, targets), outputs - targets, 0).square()


def _seen(task: Task, targets: Tensor) -> Tensor:
    """Where there is a target."""
    return targets != MASKED if task.loss == "cross_entropy" else ~targets.isnan()


def _sums(task: Task, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Sum and count of what each metric is a mean of, (K,) in float64."""
    seen = _seen(task, targets)
    parts = {"loss": (_each(task, outputs, targets), seen)}
    if task.metrics.keys() & {"accuracy", "recall"}:
        right = (outputs.argmax(-1) == targets) & seen
        parts["accuracy"] = (right, seen)
        if "recall" in task.metrics:
            parts["recall"] = (right[..., -task.recalled :], seen[..., -task.recalled :])
    found: dict[str, Tensor] = {}
    for name, (value, counted) in parts.items():
        found[name] = value.flatten(1).sum(1, dtype=torch.float64)
        found[f"{name}/count"] = counted.flatten(1).sum(1, dtype=torch.float64)
    return found


def _by_rows(task: Task, model: PackedModel, held_out: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and targets of a held-out set, some rows at a time, with K in front."""
    count, steps = held_out.inputs.shape[:2]
    chunk = max(FEWEST_ROWS, VALUES_AT_ONCE // (steps * _width(task, model)))
    for start in range(0, count, chunk):
        rows = slice(start, start + chunk)
        lengths = None if held_out.lengths is None else _packed(model, held_out.lengths[rows])
        outputs, _ = model.forward(_packed(model, held_out.inputs[rows]), None, lengths)
        yield outputs, _packed(model, held_out.targets[rows])


def _carried(task: Task, model: PackedModel, held_out: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """The same for rows that are read on, some steps at a time, from the state that the steps before them left."""
    count, steps = held_out.inputs.shape[:2]
    chunk = max(1, VALUES_AT_ONCE // (count * _width(task, model)))
    state = None
    for start in range(0, steps, chunk):
        now = slice(start, start + chunk)
        outputs, state = model.forward(_packed(model, held_out.inputs[:, now]), state)
        yield outputs, _packed(model, held_out.targets[:, now])


def _width(task: Task, model: PackedModel) -> int:
    """Values kept of one step of one sequence."""
    return model.hidden_size + (task.output_size if task.readout == "every" else 0)


def _packed(model: PackedModel, held_out: Tensor) -> Tensor:
    return held_out.expand(model.trials, *held_out.shape)
