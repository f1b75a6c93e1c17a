"""The backends ``native``, ``native_dense`` and ``native_mixed``: the recurrence in C++ on the CPU, in one call.

The library is compiled on first use; see README.md in this folder. ``run`` takes W = diag(sigma) + A C^T, ``run_dense``
takes W itself, and ``run_mixed`` takes factors and forms W for the trials that cost less with it. ``layer`` and its kin
take the input x, M and b in place of z = M x + b, so that neither z nor its gradient is ever stored.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from spectral.cpu import library, threads
from spectral.operators import Operator, absent, present
from spectral.recurrence import buffer_pool
from spectral.recurrence.activation import NAMES, Activation
from spectral.transition import Matrix, factors
from spectral.transition import dense as dense_transition

available = library.available
"""(device, dtype) -> whether these backends can run."""

ALL = 2**62
"""As ``most`` below: no trial has more columns."""


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + sigma h_{t-1} + A (C^T h_{t-1})).

    Shapes are those of ``reference.run``. Cost: 12 n r B T flop for forward, backward and the gradients of W.
    """
    return layer(z, None, None, h0, matrix, activation, offset)[0]


def run_mixed(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states as ``run`` does, each trial computed in the form that costs it less: factors, or W.

    Shapes are those of ``reference.run``. A trial costs what it costs alone, and its bits are the same.
    """
    return layer_mixed(z, None, None, h0, matrix, activation, offset)[0]


def run_dense(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}).

    Shapes are those of ``reference.run``. Cost: 6 n^2 B T flop for forward, backward and the gradient of W.
    """
    return layer_dense(z, None, None, h0, matrix, activation, offset)[0]


def layer(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return all states and the last state of a layer, with W in factors.

    Args:
        x: The input, shape (T, B, I), whose gradient costs an array of the size of all states; or z, shape (T, B, n),
            without ``weight``. All tensors have a leading K in a pack.
        weight: M, shape (n, I), or None.
        bias: b, shape (n,), or None.
        h0: The state before the first step, shape (B, n).
        matrix: W as a transition or as factors.
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (n,).
    """
    states, end, *_ = FORWARD(x, h0, *factors(matrix), weight, bias, offset, activation.name, activation.slope, ALL)
    return states, end


def layer_mixed(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return all states and the last state of a layer as ``layer`` does, each trial in the form that costs it less."""
    most = h0.shape[-1] // 2
    states, end, *_ = FORWARD(x, h0, *factors(matrix), weight, bias, offset, activation.name, activation.slope, most)
    return states, end


def layer_dense(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return all states and the last state of a layer as ``layer`` does, with W formed."""
    w = dense_transition(matrix)
    states, end, *_ = FORWARD(x, h0, None, w, None, weight, bias, offset, activation.name, activation.slope, ALL)
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
    end: Tensor = LAST(x, h0, *factors(matrix), weight, bias, offset, activation.name, activation.slope, ALL)
    return end


def last_mixed(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> Tensor:
    """Return the last state of a layer as ``last`` does, each trial in the form that costs it less."""
    most = h0.shape[-1] // 2
    end: Tensor = LAST(x, h0, *factors(matrix), weight, bias, offset, activation.name, activation.slope, most)
    return end


def last_dense(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> Tensor:
    """Return the last state of a layer as ``last`` does, with W formed."""
    w = dense_transition(matrix)
    end: Tensor = LAST(x, h0, None, w, None, weight, bias, offset, activation.name, activation.slope, ALL)
    return end


def _run(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states (T, B, n), the last state (B, n), and h C at every step (T, B, r), absent without sigma.

    The arguments are x, h0, sigma, a, c, weight, bias and offset, in the order of Problem in recurrence.h; the name and
    slope of the nonlinearity; and ``most``: a trial with more columns than this is computed with its W. x is the input
    (T, B, I), or z (T, B, n) without ``weight``; h0 (B, n); sigma (n), a and c (n, r), or a = W (n, n) with sigma and c
    None; modReLU's offset (n); all of them with a leading K in a pack. h C has min(r, most) columns, at least one.

    The last state is a result of its own, so that a loss that reads only it needs no gradient array of the size of all
    states.
    """
    inputs = [_contiguous(tensor) for tensor in arguments[:8]]
    x, h0 = inputs[:2]
    states = buffer_pool.empty((*x.shape[:-1], h0.shape[-1]), x)
    width = _skinny(arguments)
    skinny = buffer_pool.empty((*x.shape[:-1], width), x) if width else absent(x)
    end = torch.empty_like(h0)
    _call(False, [*inputs, None, None, states, present(skinny), None, end, *[None] * 6], *arguments[8:])
    return states, end, skinny


def _skinny(arguments: Any) -> int:
    """Return how many columns h C has, at least one: those of the largest trial that is not computed with its W.

    0 if W is given.
    """
    return 0 if arguments[2] is None else max(1, min(arguments[3].shape[-1], arguments[10]))


def _fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    x, h0 = arguments[:2]
    states, end, width = x.new_empty(*x.shape[:-1], h0.shape[-1]), h0.new_empty(h0.shape), _skinny(arguments)
    return states, end, x.new_empty(*x.shape[:-1], width) if width else absent(x)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    states, _, skinny = output
    ctx.save_for_backward(*inputs[:8], states, skinny)
    ctx.options = inputs[8:]


def _backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None and grad_last is None:
        return (None,) * 11
    saved = ctx.saved_tensors
    weight = saved[5]
    with_delta = weight is None or ctx.needs_input_grad[0]
    delta, grad_h0, *others = BACKWARD(grad, grad_last, *saved, *ctx.options, with_delta)
    grad_x = present(delta)
    if weight is not None and grad_x is not None:
        grad_x = grad_x @ weight.unsqueeze(-3)
    gradients = (None if given is None else own for given, own in zip(saved[2:8], others, strict=True))
    return grad_x, grad_h0, *gradients, None, None, None


def _run_backward(grad: Tensor | None, grad_last: Tensor | None, *arguments: Any) -> tuple[Tensor, ...]:
    """Return dL/dz, absent unless asked for; the gradients of h0, sigma, A or W, C, M, b, offset, absent for None.

    Args:
        grad: The gradient of all states, or None.
        grad_last: The gradient of the last state, or None.
        arguments: The inputs of ``_run``, its first and its third result, the nonlinearity's name and slope, ``most``,
            and whether dL/dz is wanted.
    """
    *inputs, states, skinny = (_contiguous(tensor) for tensor in arguments[:10])
    delta = buffer_pool.empty(states.shape, states) if arguments[13] else None
    own = [None if tensor is None else torch.empty_like(tensor) for tensor in inputs[1:]]
    given = (*inputs, _contiguous(grad), _contiguous(grad_last), states, present(skinny))
    _call(True, [*given, delta, *own], *arguments[10:13])
    return tuple(absent(states) if result is None else result for result in (delta, *own))


def _fake_backward(grad: Tensor | None, grad_last: Tensor | None, *arguments: Any) -> tuple[Tensor, ...]:
    inputs, states = arguments[1:8], arguments[8]
    own = (absent(states) if tensor is None else tensor.new_empty(tensor.shape) for tensor in inputs)
    return states.new_empty(states.shape) if arguments[13] else absent(states), *own


def _run_last(*arguments: Any) -> Tensor:
    """Return the last state alone; arguments as for ``_run``. No array of the size of all states is made."""
    inputs = [_contiguous(tensor) for tensor in arguments[:8]]
    end = torch.empty_like(inputs[1])
    _call(False, [*inputs, *[None] * 5, end, *[None] * 6], *arguments[8:])
    return end


_INPUTS = "Tensor x, Tensor h0, Tensor? sigma, Tensor a, Tensor? c, Tensor? weight, Tensor? bias, Tensor? offset"
_DIMS = (3, 2, 1, 2, 2, 2, 1, 1)
_REFUSAL = "It is compiled code with a backward pass written by hand. "

FORWARD = Operator(
    f"native({_INPUTS}, str activation, float slope, int most) -> (Tensor states, Tensor last, Tensor skinny)",
    _run,
    (*_DIMS, 0, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    kept=1,
    refusal=_REFUSAL + "Use backend='dense' or 'reference'",
)
BACKWARD = Operator(
    f"native_backward(Tensor? grad, Tensor? grad_last, {_INPUTS}, Tensor states, Tensor skinny, str activation, "
    "float slope, int most, bool with_delta) -> (Tensor delta, Tensor h0, Tensor sigma, Tensor a, Tensor c, "
    "Tensor weight, Tensor bias, Tensor offset)",
    _run_backward,
    (3, 2, *_DIMS, 3, 3, 0, 0, 0, 0),
    fake=_fake_backward,
    refusal=_REFUSAL + "For second derivatives use backend='dense' or 'reference', without checkpoint_every",
)
LAST = Operator(
    f"native_last({_INPUTS}, str activation, float slope, int most) -> Tensor",
    _run_last,
    (*_DIMS, 0, 0, 0),
    fake=lambda *arguments: arguments[1].new_empty(arguments[1].shape),
    plain=lambda *arguments: FORWARD(*arguments)[1],
)


def _contiguous(x: Any) -> Any:
    """Return a tensor in contiguous memory, or None for None."""
    return None if x is None else x.contiguous()


def _call(back: bool, arrays: list[Any], activation: str, slope: float, most: int) -> None:
    """Run forward or backward over time; ``arrays`` are in the order of Problem in recurrence.h, None for null."""
    x, h0, sigma, a, weight = arrays[0], arrays[1], arrays[2], arrays[3], arrays[5]
    trials, steps, batch = x.shape[0] if x.dim() == 4 else 1, x.shape[-3], x.shape[-2]
    rank, inputs = 0 if sigma is None else a.shape[-1], -1 if weight is None else weight.shape[-1]
    sizes = (
        trials,
        steps,
        batch,
        h0.shape[-1],
        rank,
        inputs,
        most,
        NAMES.index(activation),
        threads.count(),
        int(back),
    )
    built = library.required(h0.dtype)
    built.spectral_run(library.integers(*sizes), ctypes.c_double(slope), library.pointers(arrays))
