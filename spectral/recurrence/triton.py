"""The backend ``triton``: the factored recurrence on a GPU, one kernel launch for each direction of time.

The kernels are in triton_kernels.py (row by row) and triton_tile_kernels.py (tiles of rows), the sums over all steps in
triton_sums.py, and what decides between them in triton_plans.py. What they keep on the chip is in README.md in this
folder. The package triton is imported on first use.

A row by itself is summed in plain float32. Tiles and the sums over all steps multiply as
``torch.get_float32_matmul_precision()`` says: "highest", torch's default, and "high" use three TF32 products in place
of one, whose error is that of float32; "medium" uses one TF32 product. Under autocast to bfloat16, x and the states are
stored as bfloat16, while sigma, A, C, the carried state and every sum stay in float32.
"""

from typing import Any

import torch
from torch import Tensor

from spectral.gpu.device import installed
from spectral.operators import Operator, present
from spectral.recurrence import triton_launch, triton_sums
from spectral.recurrence.activation import Activation
from spectral.recurrence.triton_calibration import plans_for
from spectral.recurrence.triton_device import interpreted
from spectral.recurrence.triton_plans import Plans, PlanShape
from spectral.transition import Matrix, factors

LARGEST_SIZE, LARGEST_RANK = 1024, 64
"""The largest n and r for which ``backend="auto"`` chooses this backend."""


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why this backend cannot run, or None if it can.

    It runs on CUDA with the package triton, and on any device under TRITON_INTERPRET=1.
    """
    if not installed():
        return "needs the package triton, which is not installed"
    if device.type != "cuda" and not interpreted():
        return f"needs a CUDA device; found {device}. On other devices it runs, slowly, only under TRITON_INTERPRET=1"
    if dtype not in (torch.float32, torch.float64):
        return f"needs parameters in float32 or float64; found {dtype}. For bfloat16 states use autocast"
    return None


refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see native.available


def fits(size: int, rank: int) -> bool:
    """Return whether ``backend="auto"`` chooses this backend for n and r on a GPU."""
    return size <= LARGEST_SIZE and rank <= LARGEST_RANK


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + sigma h_{t-1} + A (C^T h_{t-1})).

    Shapes are those of ``reference.run``. Cost: 12 n r B T flop for forward, backward and the gradients of W.
    """
    return layer(z, None, None, h0, matrix, activation, offset)[0]


def layer(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return all states and the last state of a layer.

    Args:
        x: The input, shape (T, B, I); or z, shape (T, B, n), without ``weight``. The states have its dtype. All tensors
            have a leading K in a pack.
        weight: M, shape (n, I), or None.
        bias: b, shape (n,), or None.
        h0: The state before the first step, shape (B, n).
        matrix: W as a transition or as factors.
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (n,).
    """
    states, end, *_ = FORWARD(x, h0, *factors(matrix), weight, bias, offset, activation.name, activation.slope)
    return states, end


def last(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> Tensor:
    """Return the last state of a layer without keeping any other; arguments as in ``layer``."""
    end: Tensor = LAST(x, h0, *factors(matrix), weight, bias, offset, activation.name, activation.slope)
    return end


def plans(h0: Tensor, a: Tensor) -> Plans:
    """Return how the kernels divide the work for h0 (B, n) and A (n, r), each with a leading K in a pack."""
    trials = h0.shape[0] if h0.dim() == 3 else 1
    bits = 64 if a.dtype == torch.float64 else 32
    return plans_for(PlanShape(h0.shape[-1], a.shape[-1], trials, h0.shape[-2], bits), h0.device)


def _run(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states (T, B, n), the last state (B, n), and h C at every step (T, B, r), in the dtype of x.

    The arguments are x, h0, sigma, a, c, weight, bias and offset, and the name and slope of the nonlinearity. x is the
    input (T, B, I), or z (T, B, n) without ``weight``; h0 (B, n); sigma (n), a and c (n, r); M (n, I), b (n) and
    modReLU's offset (n); all of them with a leading K in a pack.

    The last state is a result of its own, so that a loss that reads only it needs no gradient array of the size of all
    states.
    """
    results = _fake(*arguments)
    states, end, skinny = results
    plan = plans(arguments[1], arguments[3]).forward
    triton_launch.forward(arguments[:8], states, end, skinny, Activation(*arguments[8:]), plan)
    return results


def _fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    x, h0, _, a = arguments[:4]
    lead, n = x.shape[:-1], h0.shape[-1]
    return x.new_empty(*lead, n), x.new_empty(h0.shape), x.new_empty(*lead, a.shape[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    states, _, skinny = output
    ctx.save_for_backward(*inputs[:7], states, skinny)
    ctx.has_offset = inputs[7] is not None
    ctx.activation = inputs[8:]


def _backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None and grad_last is None:
        return (None,) * 10
    saved, needs = ctx.saved_tensors, ctx.needs_input_grad
    weight, bias = saved[5:7]
    wanted = (any(needs[2:5]), weight is not None and needs[5], bias is not None and needs[6], ctx.has_offset)
    results = BACKWARD(grad, grad_last, *saved, *ctx.activation, *wanted)
    delta, *others = results
    grad_x = delta if needs[0] else None
    if weight is not None and needs[0]:
        grad_x = (delta.to(weight.dtype) @ weight.unsqueeze(-3)).to(delta.dtype)
    return grad_x, *(present(result) for result in others), None, None


def _run_backward(grad: Tensor | None, grad_last: Tensor | None, *arguments: Any) -> tuple[Tensor, ...]:
    """Return dL/dz and the gradients of h0, sigma, a, c, M, b and the offset; those after h0 absent unless wanted.

    Args:
        grad: The gradient of all states, or None.
        grad_last: The gradient of the last state, or None.
        arguments: x, h0, sigma, a, c, weight, bias, states and skinny of ``_run``, the nonlinearity's name and slope,
            and whether the gradients of W (sigma, a and c), M, b and the offset are wanted.
    """
    x, h0, sigma, a, c, weight, _, states, skinny = (triton_launch.contiguous(tensor) for tensor in arguments[:9])
    name, slope, need_matrix, need_weight, need_bias, need_offset = arguments[9:]
    delta, q, grad_h0 = torch.empty_like(states), torch.empty_like(skinny), torch.empty_like(h0)
    cut = plans(h0, a)
    given, results = (states, sigma, a, c), (delta, q, grad_h0)
    triton_launch.backward(grad, grad_last, given, results, Activation(name, slope), cut.backward)
    features = weight.shape[-1] if need_weight else 0
    sums = triton_sums.empty(h0, sigma, a.shape[-1], features, need_matrix, need_bias, need_offset)
    start = h0.to(states.dtype)
    triton_sums.fill(sums, delta, states, start, skinny, q, x if need_weight else None, cut.sums)
    return delta, grad_h0, *sums


def _fake_backward(grad: Tensor | None, grad_last: Tensor | None, *arguments: Any) -> tuple[Tensor, ...]:
    _, h0, sigma, a, _, weight, _, states, _ = arguments[:9]
    need_matrix, need_weight, need_bias, need_offset = arguments[11:]
    features = weight.shape[-1] if need_weight else 0
    sums = triton_sums.empty(h0, sigma, a.shape[-1], features, need_matrix, need_bias, need_offset)
    return states.new_empty(states.shape), h0.new_empty(h0.shape), *sums


def _run_last(*arguments: Any) -> Tensor:
    """Return the last state alone; arguments as for ``_run``. No array of the size of all states is made."""
    end: Tensor = arguments[0].new_empty(arguments[1].shape)
    plan = plans(arguments[1], arguments[3]).forward
    triton_launch.forward(arguments[:8], None, end, None, Activation(*arguments[8:]), plan)
    return end


_INPUTS = "Tensor x, Tensor h0, Tensor sigma, Tensor a, Tensor c, Tensor? weight, Tensor? bias"
_DIMS = (3, 2, 1, 2, 2, 2, 1)
_REFUSAL = "It is a kernel with a backward pass written by hand. "

FORWARD = Operator(
    f"triton({_INPUTS}, Tensor? offset, str activation, float slope) -> (Tensor states, Tensor last, Tensor skinny)",
    _run,
    (*_DIMS, 1, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    kept=1,
    refusal=_REFUSAL + "Use backend='dense' or 'reference'",
)
BACKWARD = Operator(
    f"triton_backward(Tensor? grad, Tensor? grad_last, {_INPUTS}, Tensor states, Tensor skinny, str activation, "
    "float slope, bool need_matrix, bool need_weight, bool need_bias, bool need_offset) "
    "-> (Tensor delta, Tensor h0, Tensor sigma, Tensor a, Tensor c, Tensor weight, Tensor bias, Tensor offset)",
    _run_backward,
    (3, 2, *_DIMS, 3, 3, 0, 0, 0, 0, 0, 0),
    fake=_fake_backward,
    refusal=_REFUSAL + "For second derivatives use backend='dense' or 'reference', without checkpoint_every",
)
LAST = Operator(
    f"triton_last({_INPUTS}, Tensor? offset, str activation, float slope) -> Tensor",
    _run_last,
    (*_DIMS, 1, 0, 0),
    fake=lambda *arguments: arguments[0].new_empty(arguments[1].shape),
    plain=lambda *arguments: FORWARD(*arguments)[1],
)
