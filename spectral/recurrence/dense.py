"""The backend ``dense``: W formed once, one product a step, and one product for its gradient after the time loop."""

from typing import Any

import torch
from torch import Tensor

from spectral.operators import Operator, absent, present
from spectral.recurrence.activation import Activation
from spectral.recurrence.reductions import product_over_rows, products, rows, sum_of_signed
from spectral.transition import Matrix
from spectral.transition import dense as dense_transition


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}).

    Shapes are those of ``reference.run``. Cost: 6 n^2 B T flop for forward, backward and the gradient of W.
    """
    w = dense_transition(matrix)
    states: Tensor = FORWARD(z, h0, w, offset, activation.name, activation.slope)
    return states


def _run(z: Tensor, h0: Tensor, w: Tensor, offset: Tensor | None, name: str, slope: float) -> Tensor:
    """Return the states, in the shape of z. Every step writes into one array.

    z (T, B, n), h0 (B, n), w (n, n), modReLU's offset (n); all of them with a leading K in a pack.
    """
    activation = Activation(name, slope)
    states = z.new_empty(z.shape)
    _, addmm = products(z)
    w_t, h = w.mT.contiguous(), h0
    for z_t, h_t in zip(z.unbind(-3), states.unbind(-3), strict=True):
        addmm(z_t, h, w_t, out=h_t)
        activation.apply_(h_t, offset)
        h = h_t
    return states


def _plain(z: Tensor, h0: Tensor, w: Tensor, offset: Tensor | None, name: str, slope: float) -> Tensor:
    """Return the states, computed by functions that torch can differentiate as often as it likes."""
    activation, h, states = Activation(name, slope), h0, []
    for z_t in z.unbind(-3):
        h = activation(z_t + h @ w.mT, offset)
        states.append(h)
    return torch.stack(states, -3)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, h0, w, offset, *ctx.activation = inputs
    ctx.has_offset = offset is not None
    ctx.save_for_backward(output, h0, w)


def _backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None:
        return (None,) * 6
    needs = (bool(ctx.needs_input_grad[2]), ctx.has_offset)
    results = BACKWARD(grad, *ctx.saved_tensors, *ctx.activation, *needs)
    return *(present(result) for result in results), None, None


def _run_backward(
    grad: Tensor, states: Tensor, h0: Tensor, w: Tensor, name: str, slope: float, need_w: bool, need_offset: bool
) -> tuple[Tensor, ...]:
    """Return the gradients of z, h0, w and the offset; the last two are absent unless they are needed."""
    delta = Activation(name, slope).derivative(states).contiguous()
    grad_h0 = _backward_loop(grad, h0, w, delta)
    grad_offset = sum_of_signed(delta, states) if need_offset else absent(w)
    if not need_w:
        return delta, grad_h0, absent(w), grad_offset
    later, previous = rows(delta[..., 1:, :, :]), rows(states[..., :-1, :, :])
    grad_w = product_over_rows(delta[..., 0, :, :], h0, later, previous)
    return delta, grad_h0, grad_w, grad_offset


def _plain_backward(
    grad: Tensor, states: Tensor, h0: Tensor, w: Tensor, name: str, slope: float, need_w: bool, need_offset: bool
) -> tuple[Tensor, ...]:
    """Return what ``_run_backward`` does, computed by functions that torch can differentiate.

    The states are an argument, and so the derivatives with respect to them lead on into the forward pass.
    """
    activation, carried, deltas = Activation(name, slope), torch.zeros_like(h0), []
    for grad_t, h_t in reversed(list(zip(grad.unbind(-3), states.unbind(-3), strict=True))):
        deltas.append(activation.slope_at(h_t) * (grad_t + carried))
        carried = deltas[-1] @ w
    delta = torch.stack(deltas[::-1], -3)
    previous = torch.cat([h0.unsqueeze(-3), states[..., :-1, :, :]], -3)
    grad_w = rows(delta).mT @ rows(previous) if need_w else absent(w)
    grad_offset = rows(delta * states.sign()).sum(-2) if need_offset else absent(w)
    return delta, carried, grad_w, grad_offset


def _fake(z: Tensor, *_: Any) -> Tensor:
    return z.new_empty(z.shape)


def _fake_backward(
    grad: Tensor, states: Tensor, h0: Tensor, w: Tensor, name: str, slope: float, need_w: bool, need_offset: bool
) -> tuple[Tensor, ...]:
    return (
        states.new_empty(states.shape),
        h0.new_empty(h0.shape),
        w.new_empty(w.shape) if need_w else absent(w),
        w.new_empty(w.shape[:-1]) if need_offset else absent(w),
    )


FORWARD = Operator(
    "dense(Tensor z, Tensor h0, Tensor w, Tensor? offset, str activation, float slope) -> Tensor",
    _run,
    (3, 2, 2, 1, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    plain=_plain,
)
BACKWARD = Operator(
    "dense_backward(Tensor grad, Tensor states, Tensor h0, Tensor w, str activation, float slope, bool need_w, "
    "bool need_offset) -> (Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    (3, 3, 2, 2, 0, 0, 0, 0),
    fake=_fake_backward,
    plain=_plain_backward,
)


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
