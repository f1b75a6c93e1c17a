"""A sequence in segments: only the states at the ends of segments are kept for backward, the others computed again.

This file knows nothing of backends. What runs a segment is a function that is passed in; see ``stack.py``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor

from spectral import sequences
from spectral.autocast import without_autocast
from spectral.autograd import once_differentiable
from spectral.operators import is_transformed

Segment = Callable[[Tensor, Tensor, Sequence[Tensor | None]], list[tuple[Tensor, Tensor]]]
"""(x (..., S, B, I), h before it (..., L, B, n), parameters) -> all states and the last state of each of L layers."""


def run(
    segment: Segment,
    x: Tensor,
    h0: Tensor,
    parameters: Sequence[Tensor | None],
    every: int,
    *,
    lengths: Tensor | None = None,
    keep_states: bool = True,
) -> tuple[Tensor | None, Tensor]:
    """Run a stack of layers over a sequence, one segment after another.

    Cost: one forward pass more. Backward keeps T / every states h of each layer, and what one segment takes. The result
    can be differentiated once.

    Args:
        segment: The function that runs all layers over one segment.
        x: The input, shape (..., T, B, I).
        h0: The states before the first step, shape (..., L, B, n).
        parameters: All tensors that ``segment`` reads beside x and h.
        every: S, the number of steps of a segment; the last one may be shorter.
        lengths: Shape (..., B): the last state is the one after so many steps. None means T.
        keep_states: Whether to return the top layer's states.

    Returns:
        The top layer's states, shape (..., T, B, n), or None without ``keep_states``; and the last state of every
        layer, shape (..., L, B, n).
    """
    if torch.compiler.is_compiling() or is_transformed():
        return _run_for_torch(segment, x, h0, parameters, every, lengths, keep_states)
    results: tuple[Tensor | None, Tensor] = Segments.apply(  # type: ignore[no-untyped-call]
        segment, every, keep_states, lengths, x, h0, *parameters
    )
    return results


def _run_for_torch(
    segment: Segment,
    x: Tensor,
    h0: Tensor,
    parameters: Sequence[Tensor | None],
    every: int,
    lengths: Tensor | None,
    keep_states: bool,
) -> tuple[Tensor | None, Tensor]:
    """Do what ``run`` does in steps that torch's compiler, exporter and transforms can follow; arguments as there.

    A compiled graph computes the segments again in backward, as ``torch.utils.checkpoint`` tells it to. An exported
    graph has no backward, and the transforms of ``torch.func`` have no way to do so: they keep all states.
    """
    again = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    h, states, ends = h0, [], []
    for start in range(0, x.shape[-3], every):
        part = x[..., start : start + every, :, :]
        if again:
            results = torch.utils.checkpoint.checkpoint(segment, part, h, parameters, use_reentrant=False)
        else:
            results = segment(part, h, parameters)
        h = torch.stack([last for _, last in results], -3)
        if lengths is not None:
            ends_here, count = _ends(lengths, start, part.shape[-3])
            picked = torch.stack([sequences.last_state(layer, count) for layer, _ in results], -3)
            ends.append(torch.where(ends_here.unsqueeze(-3), picked, torch.zeros_like(picked)))
        if keep_states:
            states.append(results[-1][0])
    return torch.cat(states, -3) if keep_states else None, h if lengths is None else torch.stack(ends).sum(0)


class Segments(torch.autograd.Function):
    """The autograd node of ``run``, with the same arguments."""

    @staticmethod
    def forward(
        ctx: Any,
        segment: Segment,
        every: int,
        keep_states: bool,
        lengths: Tensor | None,
        x: Tensor,
        h0: Tensor,
        *parameters: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:
        """Run the segments and keep the state before each of them."""
        h, final, steps = h0, h0, x.shape[-3]
        # All boundaries lie in one array. Small arrays that stay, between large ones that are freed, would leave holes
        # in the heap.
        boundaries = h0.new_empty(-(-steps // every), *h0.shape)
        states = None
        for number, start in enumerate(range(0, steps, every)):
            boundaries[number] = h
            part = x[..., start : start + every, :, :]
            results = segment(part, h, parameters)
            h = torch.stack([last for _, last in results], -3)
            # A sequence that ends in this segment has its final state here. Steps past its end are computed too, since
            # the batch is one array, but they are not read.
            if lengths is not None:
                ends_here, count = _ends(lengths, start, part.shape[-3])
                picked = torch.stack([sequences.last_state(layer, count) for layer, _ in results], -3)
                final = torch.where(ends_here.unsqueeze(-3), picked, final)
            # The array of all states is made only when the first segment shows its dtype.
            if keep_states and states is None:
                states = results[-1][0].new_empty(*x.shape[:-1], h0.shape[-1])
            if states is not None:
                states[..., start : start + every, :, :] = results[-1][0]
        ctx.save_for_backward(x, lengths, boundaries, *parameters)
        ctx.segment, ctx.every = segment, every
        # A loss that reads only the final state has no gradient of all states; torch must not make one of zeros.
        ctx.set_materialize_grads(False)
        return states, h if lengths is None else final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_final: Tensor | None) -> tuple[Tensor | None, ...]:
        """Run the segments again, the last one first, and differentiate each before the next is touched."""
        x, lengths, boundaries, *parameters = ctx.saved_tensors
        need_x, _, *need = ctx.needs_input_grad[4:]
        grad_x = torch.zeros_like(x) if need_x else None
        sums: list[Tensor | None] = [None] * len(need)
        # dL/dh behind the segment, handed from each segment to the one before it. With lengths, the gradient of the
        # final states enters inside the segments where the sequences end.
        carried = grad_final if lengths is None else None
        for start, boundary in reversed(list(zip(range(0, x.shape[-3], ctx.every), boundaries, strict=True))):
            # Fresh leaves, so that the graph of this segment ends at them and is freed with them.
            part = x[..., start : start + ctx.every, :, :].detach().requires_grad_(need_x)
            h = boundary.detach().requires_grad_()
            leaves = [p if p is None else p.detach().requires_grad_(n) for p, n in zip(parameters, need, strict=True)]
            with torch.enable_grad(), without_autocast(x.device):
                results = ctx.segment(part, h, leaves)
                outputs = _outputs(results, start, part.shape[-3], lengths, grad, grad_final, carried)
            if not outputs:  # the loss reads neither this segment nor what follows it
                continue
            with without_autocast(x.device):
                carried, grad_part, *own = _gradients(outputs, [h, part, *leaves])
            # Parameters are shared by all segments, so their gradients add up; each step of x belongs to one segment.
            sums = [_add(total, value) for total, value in zip(sums, own, strict=True)]
            if grad_part is not None and grad_x is not None:
                grad_x[..., start : start + ctx.every, :, :] = grad_part
        return None, None, None, None, grad_x, carried, *sums


def _gradients(outputs: list[tuple[Tensor, Tensor]], leaves: list[Tensor | None]) -> list[Tensor | None]:
    """Return the gradient of each leaf, None if it needs none; ``outputs`` are pairs of a tensor and its gradient."""
    needed = {i: leaf for i, leaf in enumerate(leaves) if leaf is not None and leaf.requires_grad}
    tensors, gradients = zip(*outputs, strict=True)
    values = torch.autograd.grad(tensors, list(needed.values()), gradients, allow_unused=True)
    by_leaf = dict(zip(needed, values, strict=True))
    return [by_leaf.get(i) for i in range(len(leaves))]


def _add(total: Tensor | None, value: Tensor | None) -> Tensor | None:
    """Return the sum, where None counts as zero."""
    if total is None or value is None:
        return value if total is None else total
    return total + value


def _outputs(
    layers: list[tuple[Tensor, Tensor]],
    start: int,
    steps: int,
    lengths: Tensor | None,
    grad: Tensor | None,
    grad_final: Tensor | None,
    carried: Tensor | None,
) -> list[tuple[Tensor, Tensor]]:
    """Return every result of a segment that has a gradient, with its gradient.

    Args:
        layers: All states and the last state of each layer.
        start: The first step of the segment.
        steps: How many steps it has.
        lengths: The lengths of the sequences, or None.
        grad: The gradient of the top layer's states over the whole sequence, or None.
        grad_final: The gradient of the final states, or None.
        carried: The gradient of the states behind the segment, or None.
    """
    outputs = []
    if carried is not None:
        outputs += [(last, carried[..., i, :, :]) for i, (_, last) in enumerate(layers)]
    if grad is not None:
        outputs.append((layers[-1][0], grad[..., start : start + steps, :, :]))
    if lengths is not None and grad_final is not None:
        ends_here, count = _ends(lengths, start, steps)
        for i, (states, _) in enumerate(layers):
            own = grad_final[..., i, :, :]
            outputs.append((sequences.last_state(states, count), torch.where(ends_here, own, torch.zeros_like(own))))
    return outputs


def _ends(lengths: Tensor, start: int, steps: int) -> tuple[Tensor, Tensor]:
    """Return whether each sequence ends in the segment, (..., B, 1), and after how many of its steps, (..., B).

    The number of steps is held to [1, S], so that it is a valid index for the other sequences too.
    """
    count = lengths - start
    return ((count >= 1) & (count <= steps)).unsqueeze(-1), count.clamp(1, steps)
