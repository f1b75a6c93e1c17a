"""A sequence in segments: states at the segments' ends are kept for backward, those between are computed again.

It knows nothing of backends: what runs a segment is a function it is given; see `dispatch.stack` and README.md here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spectral import sequences
from spectral.autograd import once_differentiable

Segment = Callable[[Tensor, Tensor, Sequence[Tensor | None]], list[tuple[Tensor, Tensor]]]
"""x (..., S, B, I), h (..., L, B, n) before it, parameters -> for each of L layers all its states and the last one."""


def run(
    segment: Segment, x: Tensor, h0: Tensor, parameters: Sequence[Tensor | None], every: int,
    *, lengths: Tensor | None = None, states: bool = True,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """The top layer's states (..., T, B, n), None unless wanted, and the last state of every layer (..., L, B, n).

    lengths (..., B): the last state is that after so many steps. Cost: one forward more; memory for backward is
    T / every states h of each layer, and what one segment takes. Can be differentiated once.
    """
    found: tuple[Tensor | None, Tensor] = Segments.apply(  # type: ignore[no-untyped-call]
        segment, every, states, lengths, x, h0, *parameters
    )
    return found


class Segments(torch.autograd.Function):
    """Arguments as in `run`."""

    @staticmethod
    def forward(
        ctx: Any, segment: Segment, every: int, wanted: bool, lengths: Tensor | None, x: Tensor, h0: Tensor,
        *parameters: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:  # fmt: skip
        h, final, steps = h0, h0, x.shape[-3]
        # one array: small ones that stay, between large ones that go, would leave holes in the heap
        boundaries = h0.new_empty(-(-steps // every), *h0.shape)
        states = None
        for number, start in enumerate(range(0, steps, every)):
            boundaries[number] = h
            part = x[..., start : start + every, :, :]
            found = segment(part, h, parameters)
            h = torch.stack([last for _, last in found], -3)
            if lengths is not None:
                inside, count = _ends(lengths, start, part.shape[-3])
                picked = torch.stack([sequences.last(layer, count) for layer, _ in found], -3)
                final = torch.where(inside.unsqueeze(-3), picked, final)
            if wanted and states is None:
                states = found[-1][0].new_empty(*x.shape[:-1], h0.shape[-1])
            if states is not None:
                states[..., start : start + every, :, :] = found[-1][0]
        ctx.save_for_backward(x, lengths, boundaries, *parameters)
        ctx.segment, ctx.every = segment, every
        ctx.set_materialize_grads(False)
        return states, h if lengths is None else final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_final: Tensor | None) -> tuple[Tensor | None, ...]:
        x, lengths, boundaries, *parameters = ctx.saved_tensors
        need_x, _, *need = ctx.needs_input_grad[4:]
        grad_x = torch.zeros_like(x) if need_x else None
        sums: list[Tensor | None] = [None] * len(need)
        carried = grad_final if lengths is None else None
        for start, boundary in reversed(list(zip(range(0, x.shape[-3], ctx.every), boundaries, strict=True))):
            part = x[..., start : start + ctx.every, :, :].detach().requires_grad_(need_x)
            h = boundary.detach().requires_grad_()
            given = [p if p is None else p.detach().requires_grad_(n) for p, n in zip(parameters, need, strict=True)]
            with torch.enable_grad():
                states = ctx.segment(part, h, given)
                outputs = _outputs(states, start, part.shape[-3], lengths, grad, grad_final, carried)
            if not outputs:  # nothing reads this segment or what follows it
                continue
            leaves = [h, part, *given]
            wanted = [i for i, leaf in enumerate(leaves) if leaf is not None and leaf.requires_grad]
            reads, gradients = zip(*outputs, strict=True)
            found = torch.autograd.grad(reads, [leaves[i] for i in wanted], gradients, allow_unused=True)
            for i, value in zip(wanted, found, strict=True):
                if i == 0:
                    carried = value
                elif value is not None and i > 1:
                    before = sums[i - 2]
                    sums[i - 2] = value if before is None else before + value
                elif value is not None and grad_x is not None:
                    grad_x[..., start : start + ctx.every, :, :] = value
        return None, None, None, None, grad_x, carried, *sums


def _outputs(
    layers: list[tuple[Tensor, Tensor]], start: int, steps: int, lengths: Tensor | None,
    grad: Tensor | None, grad_final: Tensor | None, carried: Tensor | None,
) -> list[tuple[Tensor, Tensor]]:  # fmt: skip
    """What of a segment has a gradient, with it."""
    outputs = []
    if carried is not None:
        outputs += [(last, carried[..., i, :, :]) for i, (_, last) in enumerate(layers)]
    if grad is not None:
        outputs.append((layers[-1][0], grad[..., start : start + steps, :, :]))
    if lengths is not None and grad_final is not None:
        inside, count = _ends(lengths, start, steps)
        for i, (states, _) in enumerate(layers):
            own = grad_final[..., i, :, :]
            outputs.append((sequences.last(states, count), torch.where(inside, own, torch.zeros_like(own))))
    return outputs


def _ends(lengths: Tensor, start: int, steps: int) -> tuple[Tensor, Tensor]:
    """Whether a sequence ends in the segment, (..., B, 1), and after how many of its steps, (..., B) in [1, S]."""
    count = lengths - start
    return ((count >= 1) & (count <= steps)).unsqueeze(-1), count.clamp(1, steps)
