"""The backends ``native`` and ``native_dense``: the recurrence in C++ on the CPU, one call for the whole sequence.

The library is compiled on first use; see README.md in this folder. ``run`` takes W = diag(sigma) + A C^T, ``run_dense``
takes W itself. ``layer`` and ``layer_dense`` take the input x, M and b in place of z = M x + b, so that neither z nor
its gradient is ever stored.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from spectral.operators import Operator, absent, present
from spectral.recurrence import buffer_pool, native_library
from spectral.recurrence.activation import NAMES, Activation
from spectral.transition import Factors, Matrix, factors
from spectral.transition import dense as dense_transition


def available(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether these backends can run: on the CPU, in float32 or float64, with a library that can be built.

    The first call for a dtype on the CPU loads the library, and compiles it if it is missing.
    """
    return device.type == "cpu" and dtype in native_library.SCALARS and native_library.library(dtype) is not None


# What torch.compiler.assume_constant_result does: the compiler calls the function and does not look into it. Calling
# that here would import the whole compiler, which takes seconds.
available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + sigma h_{t-1} + A (C^T h_{t-1})).

    Shapes are those of ``reference.run``. Cost: 12 n r B T flop for forward, backward and the gradients of W.
    """
    return layer(z, None, None, h0, matrix, activation, offset)[0]


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
    states, end, *_ = FORWARD(x, h0, *_factors(matrix), weight, bias, offset, activation.name, activation.slope)
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
    states, end, *_ = FORWARD(x, h0, None, w, None, weight, bias, offset, activation.name, activation.slope)
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
    end: Tensor = LAST(x, h0, *_factors(matrix), weight, bias, offset, activation.name, activation.slope)
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
    end: Tensor = LAST(x, h0, None, w, None, weight, bias, offset, activation.name, activation.slope)
    return end


def _factors(matrix: Matrix) -> Factors:
    """Return the factors, with one zero column if there are no reflectors: rank 0 means dense to the library."""
    sigma, a, c = factors(matrix)
    if a.shape[-1]:
        return Factors(sigma, a, c)
    column = sigma.new_zeros(*sigma.shape, 1)
    return Factors(sigma, column, column)


def _run(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states (T, B, n), the last state (B, n), and h C at every step (T, B, r), absent without sigma.

    The arguments are x, h0, sigma, a, c, weight, bias and offset, in the order of Problem in native.cpp, and the name
    and slope of the nonlinearity. x is the input (T, B, I), or z (T, B, n) without ``weight``; h0 (B, n); sigma (n), a
    and c (n, r), or a = W (n, n) with sigma and c None; modReLU's offset (n); all of them with a leading K in a pack.

    The last state is a result of its own, so that a loss that reads only it needs no gradient array of the size of all
    states.
    """
    inputs, activation, slope = [_contiguous(tensor) for tensor in arguments[:8]], *arguments[8:]
    x, h0, sigma, a = inputs[:4]
    states = buffer_pool.empty((*x.shape[:-1], h0.shape[-1]), x)
    skinny = absent(x) if sigma is None else buffer_pool.empty((*x.shape[:-1], a.shape[-1]), x)
    end = torch.empty_like(h0)
    _call(False, [*inputs, None, None, states, present(skinny), None, end, *[None] * 4], activation, slope)
    return states, end, skinny


def _fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    x, h0, sigma, a = arguments[:4]
    states, end = x.new_empty(*x.shape[:-1], h0.shape[-1]), h0.new_empty(h0.shape)
    return states, end, absent(x) if sigma is None else x.new_empty(*x.shape[:-1], a.shape[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    states, _, skinny = output
    ctx.save_for_backward(*inputs[:8], states, skinny)
    ctx.activation, ctx.slope = inputs[8:]


def _backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None and grad_last is None:
        return (None,) * 10
    saved = ctx.saved_tensors
    weight, bias, core = saved[5], saved[6], saved[3].shape[-1]
    with_delta = weight is None or ctx.needs_input_grad[0]
    results = BACKWARD(grad, grad_last, *saved, ctx.activation, ctx.slope, with_delta)
    delta, grad_h0, grad_sigma, out, grad_c, grad_offset = results
    grad_x = present(delta)
    if weight is not None and grad_x is not None:
        grad_x = grad_x @ weight.unsqueeze(-3)
    return (
        grad_x,
        grad_h0,
        present(grad_sigma),
        # Rows of ``out``: first the gradient of A or W, then those of M, and that of b in the last one.
        out.narrow(-2, 0, core).mT,
        None if saved[4] is None else grad_c,
        None if weight is None else out.narrow(-2, core, out.shape[-2] - core - 1).mT,
        None if bias is None else out.select(-2, -1).clone(),  # a view would keep the whole of ``out``
        present(grad_offset),
        None,
        None,
    )


def _run_backward(grad: Tensor | None, grad_last: Tensor | None, *arguments: Any) -> tuple[Tensor, ...]:
    """Return dL/dz, absent unless asked for; the gradients of h0, sigma, [A or W, M, b]^T, C and the offset.

    Args:
        grad: The gradient of all states, or None.
        grad_last: The gradient of the last state, or None.
        arguments: The inputs of ``_run``, its first and its third result, the nonlinearity's name and slope, and
            whether dL/dz is wanted.
    """
    *inputs, states, skinny = (_contiguous(tensor) for tensor in arguments[:10])
    x, h0, sigma, a, _, weight, _, offset = inputs
    n, core, features = h0.shape[-1], a.shape[-1], 0 if weight is None else weight.shape[-1] + 1
    # The library writes one sum for each slice of the batch; they are added below in one order, so that the result does
    # not depend on the number of threads.
    sums = (*h0.shape[:-2], native_library.slices(h0.dtype, h0.shape[-2]))
    delta = buffer_pool.empty(states.shape, states) if arguments[12] else None
    grad_h0 = torch.empty_like(h0)
    grad_sigma = None if sigma is None else x.new_empty(*sums, n)
    grad_in = None if sigma is None else x.new_empty(*sums, core, n)
    grad_out = x.new_empty(*sums, core + features, n)
    grad_offset = None if offset is None else x.new_empty(*sums, n)
    given = (*inputs, _contiguous(grad), _contiguous(grad_last), states, present(skinny))
    _call(True, [*given, delta, grad_h0, grad_sigma, grad_out, grad_in, grad_offset], *arguments[10:12])
    return (
        absent(x) if delta is None else delta,
        grad_h0,
        absent(x) if grad_sigma is None else grad_sigma.sum(-2),
        grad_out.sum(-3),
        absent(x) if grad_in is None else grad_in.sum(-3).mT,
        absent(x) if grad_offset is None else grad_offset.sum(-2),
    )


def _fake_backward(grad: Tensor | None, grad_last: Tensor | None, *arguments: Any) -> tuple[Tensor, ...]:
    x, h0, sigma, a, c, weight, _, offset, states, _ = arguments[:10]
    lead, n, core, features = h0.shape[:-2], h0.shape[-1], a.shape[-1], 0 if weight is None else weight.shape[-1] + 1
    return (
        states.new_empty(states.shape) if arguments[12] else absent(x),
        h0.new_empty(h0.shape),
        absent(x) if sigma is None else sigma.new_empty(sigma.shape),
        x.new_empty(*lead, core + features, n),
        absent(x) if c is None else c.new_empty(*lead, core, n).mT,
        absent(x) if offset is None else offset.new_empty(offset.shape),
    )


def _run_last(*arguments: Any) -> Tensor:
    """Return the last state alone; arguments as for ``_run``. No array of the size of all states is made."""
    inputs, activation, slope = [_contiguous(tensor) for tensor in arguments[:8]], *arguments[8:]
    end = torch.empty_like(inputs[1])
    _call(False, [*inputs, *[None] * 5, end, *[None] * 4], activation, slope)
    return end


_INPUTS = "Tensor x, Tensor h0, Tensor? sigma, Tensor a, Tensor? c, Tensor? weight, Tensor? bias, Tensor? offset"
_DIMS = (3, 2, 1, 2, 2, 2, 1, 1)
_REFUSAL = "It is compiled code with a backward pass written by hand. "

FORWARD = Operator(
    f"native({_INPUTS}, str activation, float slope) -> (Tensor states, Tensor last, Tensor skinny)",
    _run,
    (*_DIMS, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    kept=1,
    refusal=_REFUSAL + "Use backend='dense' or 'reference'",
)
BACKWARD = Operator(
    f"native_backward(Tensor? grad, Tensor? grad_last, {_INPUTS}, Tensor states, Tensor skinny, str activation, "
    "float slope, bool with_delta) -> (Tensor delta, Tensor h0, Tensor sigma, Tensor out, Tensor c, Tensor offset)",
    _run_backward,
    (3, 2, *_DIMS, 3, 3, 0, 0, 0),
    fake=_fake_backward,
    refusal=_REFUSAL + "For second derivatives use backend='dense' or 'reference', without checkpoint_every",
)
LAST = Operator(
    f"native_last({_INPUTS}, str activation, float slope) -> Tensor",
    _run_last,
    (*_DIMS, 0, 0),
    fake=lambda *arguments: arguments[1].new_empty(arguments[1].shape),
    plain=lambda *arguments: FORWARD(*arguments)[1],
)


def _contiguous(x: Any) -> Any:
    """Return a tensor in contiguous memory, or None for None."""
    return None if x is None else x.contiguous()


def _call(back: bool, arrays: list[Any], activation: str, slope: float) -> None:
    """Run forward or backward over time; ``arrays`` are in the order of Problem in native.cpp, None for null."""
    library = native_library.library(arrays[1].dtype)
    if library is None:
        raise RuntimeError("the native backend could not be built on this machine; use backend='auto'")
    x, h0, sigma, a, weight = arrays[0], arrays[1], arrays[2], arrays[3], arrays[5]
    trials, steps, batch = x.shape[0] if x.dim() == 4 else 1, x.shape[-3], x.shape[-2]
    rank, inputs = 0 if sigma is None else a.shape[-1], -1 if weight is None else weight.shape[-1]
    threads, phi = torch.get_num_threads(), NAMES.index(activation)
    sizes = (trials, steps, batch, h0.shape[-1], rank, inputs, phi, threads, int(back))
    size = (ctypes.c_int64 * len(sizes))(*sizes)
    pointers = (ctypes.c_void_p * len(arrays))(*(None if array is None else array.data_ptr() for array in arrays))
    library.spectral_run(size, ctypes.c_double(slope), pointers)
