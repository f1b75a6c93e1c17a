"""The norms of dL/dh_t over time: how much of the gradient reaches each state of the recurrence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from workers.models import PackedModel
from workers.models.recurrent import last_state_of
from workers.tasks import Task
from workers.training import probe_points
from workers.training.batches import Batch
from workers.training.metrics import losses


def gradient_norms(task: Task, model: PackedModel, batch: Batch, h0: Tensor) -> dict[str, Tensor]:
    """Return |dL/dh_t| of every trial at the steps t of ``probe_points.time_points``, all layers together.

    The loss is the mean over the first ``probe_points.sequence_count`` sequences of the batch. The norms are scaled to
    what the whole batch would give if its other sequences were like these. Gradients of the parameters are not
    computed.

    Args:
        task: The task, which decides the loss.
        model: The pack of K trials, of a recurrent kind.
        batch: The batches of the K trials.
        h0: The states from which they start, shape (K, L, B, S).

    Returns:
        ``grad_t/00``, ``grad_t/01``, ... each of shape (K,), numbered by the place of t among the ``time_points``.
    """
    count = batch.inputs.shape[1]
    rows = probe_points.sequence_count(count)
    inputs, targets = batch.inputs[:, :rows], batch.targets[:, :rows]
    lengths = None if batch.lengths is None else batch.lengths[:, :rows]
    every = task.readout == "every"
    with _constant(model.parameters):
        states, reads = _run_in_segments(model, inputs, h0[:, :, :rows].detach(), lengths, every=every)
        read = torch.cat(reads, 2) if every else model.top(states[-1])
        loss = losses(task, model.read_out(read).to(h0.dtype), targets).sum()
        # With an output at every step, h_t of the top layer acts on the loss in two ways: through the state that the
        # next segment starts from, and through its own output. The second way does not pass through states[t].
        if every:
            *along, direct = torch.autograd.grad(loss, [*states[:-1], read])
        else:
            along, direct = list(torch.autograd.grad(loss, states)), None
    # An LSTM's state is h and c; only h is measured.
    along = [gradient[..., : model.hidden_size] for gradient in along]
    if direct is not None:
        _add_direct(along, direct, probe_points.time_points(inputs.shape[2]), lengths)
    scale = (rows / count) ** 0.5
    norms = [gradient.flatten(1).double().square().sum(1).sqrt() * scale for gradient in along]
    return {f"grad_t/{i:02d}": norm for i, norm in enumerate(norms)}


def _run_in_segments(
    model: PackedModel, inputs: Tensor, h0: Tensor, lengths: Tensor | None, *, every: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Run the recurrence in segments, each from one of the ``time_points`` of the inputs to the next.

    Args:
        model: The pack of K trials.
        inputs: Shape (K, B, T, I), or token ids of shape (K, B, T).
        h0: The state before the first step, shape (K, L, B, S). It is made to require a gradient.
        lengths: The steps of each sequence, shape (K, B); None if all have T steps.
        every: Whether the head reads every state, or only the last one.

    Returns:
        The states at the time points, ``h0`` first, each of shape (K, L, B, S) and part of the graph of later ones. And
        the top layer's h of each segment: after each of its steps, shape (K, B, steps, H), with ``every``, else after
        its last step, shape (K, B, H).
    """
    states, reads = [h0.requires_grad_()], []
    for start, stop in pairwise(probe_points.time_points(inputs.shape[2])):
        within = None if lengths is None else (lengths - start).clamp(1, stop - start)
        read, after = model.read(inputs[:, :, start:stop], states[-1], within, every=every)
        if lengths is not None:
            # A sequence that ended before this segment keeps the state in which it ended.
            after = torch.where((lengths > start)[:, None, :, None], after, states[-1])
        states.append(after)
        reads.append(read)
    return states, reads


def _add_direct(along: list[Tensor], direct: Tensor, points: list[int], lengths: Tensor | None) -> None:
    """Complete, in place, gradients of states by those that reach the top layer's h through the output at its step.

    Args:
        along: The gradients along the recurrence, each (K, L, B, H), at all time points but the last. The one at the
            last, which comes from the output alone and so has only the top layer, (K, 1, B, H), is appended.
        direct: The gradients through the outputs, shape (K, B, T, H).
        points: The time points, as numbers of steps done.
        lengths: The steps of each sequence, shape (K, B); None if all have T steps.
    """
    for i, point in enumerate(points[1:-1], 1):
        top = along[i][:, -1:] + direct[:, :, point - 1].unsqueeze(1)
        along[i] = torch.cat([along[i][:, :-1], top], 1)
    along.append(last_state_of(direct, lengths).unsqueeze(1))


@contextmanager
def _constant(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Keep the parameters out of the graph, which saves the time and memory of their gradients."""
    for p in parameters.values():
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters.values():
            p.requires_grad_(True)
