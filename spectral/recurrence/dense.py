"""The backend ``dense``: W formed once, one product a step, and one product for its gradient after the time loop."""

from typing import Any

import torch
from torch import Tensor

from spectral.autograd import once_differentiable
from spectral.recurrence.activation import Activation
from spectral.recurrence.reductions import product_over_rows, products, rows, sum_of_signed
from spectral.transition import Matrix
from spectral.transition import dense as dense_transition


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}).

    Shapes are those of ``reference.run``. Cost: 6 n^2 B T flop for forward, backward and the gradient of W.
    """
    w = dense_transition(matrix)
    states: Tensor = DenseRecurrence.apply(z, h0, w, offset, activation)  # type: ignore[no-untyped-call]
    return states


class DenseRecurrence(torch.autograd.Function):
    """The autograd node of ``run``.

    z (T, B, n), h0 (B, n), w (n, n), modReLU's offset (n); all of them with a leading K in a pack.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, h0: Tensor, w: Tensor, offset: Tensor | None, activation: Activation) -> Tensor:
        """Return the states, in the shape of z. Every step writes into one array."""
        states = torch.empty(z.shape, dtype=z.dtype, device=z.device)
        _, addmm = products(z)
        w_t, h = w.mT.contiguous(), h0
        for z_t, h_t in zip(z.unbind(-3), states.unbind(-3), strict=True):
            addmm(z_t, h, w_t, out=h_t)
            activation.apply_(h_t, offset)
            h = h_t
        ctx.save_for_backward(states, h0, w)
        ctx.activation = activation
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of z, h0, w and the offset."""
        states, h0, w = ctx.saved_tensors
        delta = ctx.activation.derivative(states)
        grad_h0 = _backward_loop(grad, h0, w, delta)
        grad_offset = sum_of_signed(delta, states) if ctx.needs_input_grad[3] else None
        if not ctx.needs_input_grad[2]:
            return delta, grad_h0, None, grad_offset, None
        later, previous = rows(delta[..., 1:, :, :]), rows(states[..., :-1, :, :])
        grad_w = product_over_rows(delta[..., 0, :, :], h0, later, previous)
        return delta, grad_h0, grad_w, grad_offset, None


def _backward_loop(grad: Tensor, h0: Tensor, w: Tensor, delta: Tensor) -> Tensor:
    """Turn ``delta`` from phi'(x_t) into dL/dx_t in place, and return dL/dh_0."""
    _, addmm = products(grad)
    carried = torch.empty_like(h0, memory_format=torch.contiguous_format)
    grads = grad.unbind(-3)
    steps = list(zip(delta.unbind(-3), (torch.zeros_like(carried), *grads[:-1]), strict=True))
    carried.copy_(grads[-1])
    for delta_t, grad_before in reversed(steps):
        delta_t.mul_(carried)
        addmm(grad_before, delta_t, w, out=carried)
    return carried
