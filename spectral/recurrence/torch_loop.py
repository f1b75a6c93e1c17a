"""The backend ``torch_loop``: the factored recurrence, W = diag(sigma) + A C^T, as a loop of torch calls.

A step takes two skinny products in either direction of time. Only the states are kept for backward. The gradients of A,
C and sigma need nothing that the loop carries, so they are formed after it, each by one product over all T B rows. The
derivation is in README.md in this folder.
"""

from typing import Any

import torch
from torch import Tensor

from spectral.operators import Operator, absent, present
from spectral.recurrence.activation import Activation
from spectral.recurrence.reductions import product_over_rows, products, rows, sum_of_products, sum_of_signed
from spectral.transition import Factors, Matrix, factors


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + sigma h_{t-1} + A (C^T h_{t-1})).

    Shapes are those of ``reference.run``. Cost: 12 n r B T flop for forward, backward and the gradients of W.
    """
    states: Tensor = FORWARD(z, h0, *factors(matrix), offset, activation.name, activation.slope)
    return states


def _run(
    z: Tensor, h0: Tensor, sigma: Tensor, a: Tensor, c: Tensor, offset: Tensor | None, name: str, slope: float
) -> Tensor:
    """Return the states, in the shape of z.

    z (T, B, n), h0 (B, n), sigma (n), a and c (n, r), modReLU's offset (n); all of them with a leading K in a pack.
    """
    return _forward_loop(z, h0, Factors(sigma, a, c), offset, Activation(name, slope))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, h0, sigma, a, c, offset, *ctx.activation = inputs
    ctx.has_offset = offset is not None
    ctx.save_for_backward(output, h0, sigma, a, c)


def _backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None:
        return (None,) * 8
    needs = (any(ctx.needs_input_grad[2:5]), ctx.has_offset)
    results = BACKWARD(grad, *ctx.saved_tensors, *ctx.activation, *needs)
    return *(present(result) for result in results), None, None


def _run_backward(
    grad: Tensor,
    states: Tensor,
    h0: Tensor,
    sigma: Tensor,
    a: Tensor,
    c: Tensor,
    name: str,
    slope: float,
    need_matrix: bool,
    need_offset: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of z, h0, sigma, a, c and the offset; the last four are absent unless they are needed."""
    delta = Activation(name, slope).derivative(states).contiguous()
    q, grad_h0 = _backward_loop(grad, h0, Factors(sigma, a, c), delta)
    grad_offset = sum_of_signed(delta, states) if need_offset else absent(sigma)
    if not need_matrix:
        return delta, grad_h0, absent(sigma), absent(sigma), absent(sigma), grad_offset
    previous = rows(states[..., :-1, :, :])
    grad_sigma = sum_of_products(delta, states, h0)
    grad_c = product_over_rows(h0, q[..., 0, :, :], previous, rows(q[..., 1:, :, :]))
    # h C is computed again here for all steps at once, which is cheaper than keeping it from the forward pass.
    first, rest = h0 @ c, previous @ c
    grad_a = product_over_rows(delta[..., 0, :, :], first, rows(delta[..., 1:, :, :]), rest)
    return delta, grad_h0, grad_sigma, grad_a, grad_c, grad_offset


def _fake(z: Tensor, *_: Any) -> Tensor:
    return z.new_empty(z.shape)


def _fake_backward(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    states, h0, sigma, a, c, _, _, need_matrix, need_offset = arguments
    matrix = [x.new_empty(x.shape) if need_matrix else absent(x) for x in (sigma, a, c)]
    offset = sigma.new_empty(sigma.shape) if need_offset else absent(sigma)
    return states.new_empty(states.shape), h0.new_empty(h0.shape), *matrix, offset


_REFUSAL = "Its backward pass is written by hand. "

FORWARD = Operator(
    "torch_loop(Tensor z, Tensor h0, Tensor sigma, Tensor a, Tensor c, Tensor? offset, str activation, float slope) "
    "-> Tensor",
    _run,
    (3, 2, 1, 2, 2, 1, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    refusal=_REFUSAL + "Use backend='dense' or 'reference'",
)
BACKWARD = Operator(
    "torch_loop_backward(Tensor grad, Tensor states, Tensor h0, Tensor sigma, Tensor a, Tensor c, str activation, "
    "float slope, bool need_matrix, bool need_offset) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    (3, 3, 2, 1, 2, 2, 0, 0, 0, 0),
    fake=_fake_backward,
    refusal=_REFUSAL + "For second derivatives use backend='dense' or 'reference', without checkpoint_every",
)


def _forward_loop(z: Tensor, h0: Tensor, matrix: Factors, offset: Tensor | None, activation: Activation) -> Tensor:
    """Return all states. Every step writes into one array, so that the loop allocates nothing."""
    sigma, a, c = matrix
    mm, addmm = products(z)
    states = torch.empty(z.shape, dtype=z.dtype, device=z.device)
    a_t, diagonal = a.mT.contiguous(), sigma.unsqueeze(-2)
    skinny = torch.empty(*h0.shape[:-1], c.shape[-1], dtype=z.dtype, device=z.device)
    h = h0
    for z_t, h_t in zip(z.unbind(-3), states.unbind(-3), strict=True):
        mm(h, c, out=skinny)
        addmm(z_t, skinny, a_t, out=h_t)
        h_t.addcmul_(diagonal, h)
        activation.apply_(h_t, offset)
        h = h_t
    return states


def _backward_loop(grad: Tensor, h0: Tensor, matrix: Factors, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Run backwards through time.

    Args:
        grad: dL/dh_t from outside, shape (..., T, B, n).
        h0: The state before the first step.
        matrix: W in factors.
        delta: phi'(x_t), which is turned into dL/dx_t in place.

    Returns:
        q_t = delta_t A for all t, shape (..., T, B, r), and dL/dh_0.
    """
    sigma, a, c = matrix
    mm, addmm = products(grad)
    c_t, diagonal = c.mT.contiguous(), sigma.unsqueeze(-2)
    q = torch.empty(*delta.shape[:-1], a.shape[-1], dtype=delta.dtype, device=delta.device)
    carried = torch.empty_like(h0, memory_format=torch.contiguous_format)
    grads = grad.unbind(-3)
    steps = list(zip(delta.unbind(-3), q.unbind(-3), (torch.zeros_like(carried), *grads[:-1]), strict=True))
    carried.copy_(grads[-1])
    for delta_t, q_t, grad_before in reversed(steps):
        delta_t.mul_(carried)
        mm(delta_t, a, out=q_t)
        addmm(grad_before, q_t, c_t, out=carried)
        carried.addcmul_(diagonal, delta_t)
    return q, carried
