"""The losses and metrics of every trial of a pack."""

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
"""A held-out set is computed in chunks, each of about this many numbers in states and outputs per trial."""

FEWEST_ROWS = 64
"""The smallest number of sequences of a chunk; only the last chunk of a set may have fewer."""


def losses(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of each trial over all targets of its batch.

    With the readout "every", steps without a target are not counted, and a trial without any target has the loss 0.

    Args:
        task: The task, which decides the kind of loss.
        outputs: Shape (K, B, O), or (K, B, T, O) for the readout "every".
        targets: The shape of ``outputs`` for mse, and without the last axis, as class numbers, for cross-entropy.

    Returns:
        Shape (K,).
    """
    each = _loss_per_target(task, outputs, targets).flatten(1)
    if task.readout == "last":
        return each.mean(1)
    return each.sum(1) / _has_target(task, targets).flatten(1).sum(1).clamp(min=1)


@torch.no_grad()
def scores(task: Task, model: PackedModel, held_out: Batch) -> dict[str, Tensor]:
    """Return the metrics of each trial over a held-out set.

    The set is computed in chunks. Their sizes depend on the shape of one trial and not on the pack, and sums are in
    float64, so a trial's metrics depend on its pack only as its outputs do. If the task carries its state, each row of
    the set is read with the state carried from its first step to its last.

    Args:
        task: The task, whose ``metrics`` are computed.
        model: The pack of K trials.
        held_out: The whole set, without the axis K.

    Returns:
        The metrics by name, each float64 of shape (K,).
    """
    total: dict[str, Tensor] = {}
    compute = _outputs_by_steps if task.carried else _outputs_by_sequences
    for outputs, targets in compute(task, model, held_out):
        for name, value in _sums(task, outputs, targets).items():
            total[name] = total[name] + value if name in total else value
    means = {name: total[name] / total[f"{name}/count"] for name in total if f"{name}/count" in total}
    loss = means["loss"]
    derived = means | {"bpc": loss / math.log(2), "perplexity": loss.exp(), "error": loss.sqrt()}
    return {name: derived[name] for name in task.metrics}


def _loss_per_target(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of every target, 0 for masked ones, in the shape of ``targets``."""
    if task.loss == "cross_entropy":
        each = functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
        return each.view(targets.shape)
    if task.readout == "last":
        return (outputs - targets).square()
    # The difference is masked before it is squared: the gradient of a step without a target must be 0, not NaN.
    return torch.where(_has_target(task, targets), outputs - targets, 0).square()


def _has_target(task: Task, targets: Tensor) -> Tensor:
    """Return a mask of the shape of ``targets``, false where there is no target: class -100, or NaN for mse."""
    return targets != MASKED if task.loss == "cross_entropy" else ~targets.isnan()


def _sums(task: Task, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return, for every metric that is a mean, its sum and under ``NAME/count`` its count; float64 of shape (K,)."""
    valid = _has_target(task, targets)
    parts = {"loss": (_loss_per_target(task, outputs, targets), valid)}
    if task.metrics.keys() & {"accuracy", "recall"}:
        correct = (outputs.argmax(-1) == targets) & valid
        parts["accuracy"] = (correct, valid)
        if "recall" in task.metrics:
            parts["recall"] = (correct[..., -task.recalled :], valid[..., -task.recalled :])
    found: dict[str, Tensor] = {}
    for name, (value, counted) in parts.items():
        found[name] = value.flatten(1).sum(1, dtype=torch.float64)
        found[f"{name}/count"] = counted.flatten(1).sum(1, dtype=torch.float64)
    return found


def _outputs_by_sequences(task: Task, model: PackedModel, held_out: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the outputs and targets of a held-out set, some sequences at a time, with a leading axis K."""
    count, steps = held_out.inputs.shape[:2]
    chunk = max(FEWEST_ROWS, VALUES_AT_ONCE // (steps * _width(task, model)))
    for start in range(0, count, chunk):
        rows = slice(start, start + chunk)
        lengths = None if held_out.lengths is None else _for_pack(model, held_out.lengths[rows])
        outputs, _ = model.forward(_for_pack(model, held_out.inputs[rows]), None, lengths)
        yield outputs, _for_pack(model, held_out.targets[rows])


def _outputs_by_steps(task: Task, model: PackedModel, held_out: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the outputs and targets of long sequences, some steps at a time, with a leading axis K.

    Each chunk begins with the state in which the chunk before it ended.
    """
    count, steps = held_out.inputs.shape[:2]
    chunk = max(1, VALUES_AT_ONCE // (count * _width(task, model)))
    state = None
    for start in range(0, steps, chunk):
        now = slice(start, start + chunk)
        outputs, state = model.forward(_for_pack(model, held_out.inputs[:, now]), state)
        yield outputs, _for_pack(model, held_out.targets[:, now])


def _width(task: Task, model: PackedModel) -> int:
    """Return how many numbers one step of one sequence needs in states and outputs."""
    return model.hidden_size + (task.output_size if task.readout == "every" else 0)


def _for_pack(model: PackedModel, held_out: Tensor) -> Tensor:
    """Return a view of a held-out tensor with a leading axis K, along which it is the same for every trial."""
    return held_out.expand(model.trials, *held_out.shape)
