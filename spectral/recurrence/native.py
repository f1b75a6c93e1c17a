"""The backends ``native`` and ``native_dense``: the recurrence in C++ on the CPU, one call for the whole sequence.

The library is compiled on first use; see README.md in this folder. ``run`` takes W = diag(sigma) + A C^T, ``run_dense``
takes W itself. ``layer`` and ``layer_dense`` take the input x, M and b in place of z = M x + b, so that neither z nor
its gradient is ever stored.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from spectral.autograd import once_differentiable
from spectral.recurrence import buffer_pool, native_library
from spectral.recurrence.activation import NAMES, Activation
from spectral.transition import Factors, Matrix, factors
from spectral.transition import dense as dense_transition


def available(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether these backends can run: on the CPU, in float32 or float64, with a library that can be built.

    The first call for a dtype on the CPU loads the library, and compiles it if it is missing.
    """
    return device.type == "cpu" and dtype in native_library.SCALARS and native_library.library(dtype) is not None


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
        x: The input, shape (T, B, I), which gets no gradient; or z, shape (T, B, n), without ``weight``, which gets
            one. All tensors have a leading K in a pack.
        weight: M, shape (n, I), or None.
        bias: b, shape (n,), or None.
        h0: The state before the first step, shape (B, n).
        matrix: W as a transition or as factors.
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (n,).
    """
    sigma, a, c = _factors(matrix)
    return _states(x, h0, sigma, a, c, weight, bias, offset, activation)


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
    return _states(x, h0, None, dense_transition(matrix), None, weight, bias, offset, activation)


def last(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> Tensor:
    """Return the last state of a layer without keeping any other; arguments as in ``layer``. It has no gradient."""
    sigma, a, c = _factors(matrix)
    return _last_state(activation, x, h0, sigma, a, c, weight, bias, offset)


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
    return _last_state(activation, x, h0, None, dense_transition(matrix), None, weight, bias, offset)


def _last_state(activation: Activation, x: Tensor, h0: Tensor, *parameters: Tensor | None) -> Tensor:
    """Call the library without arrays for states; ``parameters`` are in the order of Problem in native.cpp."""
    inputs = [_contiguous(tensor) for tensor in (x, h0, *parameters)]
    end = torch.empty_like(h0, memory_format=torch.contiguous_format)
    _call(False, [*inputs, *[None] * 5, end, *[None] * 4], activation)
    return end


def _factors(matrix: Matrix) -> Factors:
    """Return the factors, with one zero column if there are no reflectors: rank 0 means dense to the library."""
    sigma, a, c = factors(matrix)
    if a.shape[-1]:
        return Factors(sigma, a, c)
    column = sigma.new_zeros(*sigma.shape, 1)
    return Factors(sigma, column, column)


def _states(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Return all states and the last one; arguments as in ``NativeRecurrence.forward``."""
    states, last = NativeRecurrence.apply(*arguments)  # type: ignore[no-untyped-call]
    return states, last


class NativeRecurrence(torch.autograd.Function):
    """The autograd node of the compiled loop.

    x is the input (T, B, I), or z (T, B, n) without ``weight``; h0 (B, n); sigma (n), a and c (n, r), or a = W (n, n)
    with sigma and c None; modReLU's offset (n); all of them with a leading K in a pack. The last state is a second
    result, so that a loss that reads only it needs no gradient array of the size of all states.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        sigma: Tensor | None,
        a: Tensor,
        c: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        offset: Tensor | None,
        activation: Activation,
    ) -> tuple[Tensor, Tensor]:
        """Return all states and the last one."""
        inputs = [_contiguous(tensor) for tensor in (x, h0, sigma, a, c, weight, bias, offset)]
        states = buffer_pool.empty((*x.shape[:-1], h0.shape[-1]), x)
        skinny = None if sigma is None else buffer_pool.empty((*x.shape[:-1], a.shape[-1]), x)
        end = torch.empty_like(h0, memory_format=torch.contiguous_format)
        _call(False, [*inputs, None, None, states, skinny, None, end, *[None] * 4], activation)
        ctx.save_for_backward(*inputs, states, skinny)
        ctx.activation = activation
        ctx.set_materialize_grads(False)
        return states, end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of all tensors of ``forward``."""
        x, h0, sigma, a, c, weight, bias, offset, states, skinny = ctx.saved_tensors
        n, core, inputs = h0.shape[-1], a.shape[-1], 0 if weight is None else weight.shape[-1] + 1
        # The library writes one sum for each slice of the batch; they are added below in one order, so that the result
        # does not depend on the number of threads.
        sums = (*h0.shape[:-2], native_library.slices(h0.dtype, h0.shape[-2]))
        delta = buffer_pool.empty(states.shape, states) if weight is None else None
        grad_h0 = torch.empty_like(h0, memory_format=torch.contiguous_format)
        grad_sigma = None if sigma is None else x.new_empty(*sums, n)
        grad_in = None if sigma is None else x.new_empty(*sums, core, n)
        grad_out = x.new_empty(*sums, core + inputs, n)
        grad_offset = None if offset is None else x.new_empty(*sums, n)
        given = (x, h0, sigma, a, c, weight, bias, offset, _contiguous(grad), _contiguous(grad_last), states, skinny)
        _call(True, [*given, delta, grad_h0, grad_sigma, grad_out, grad_in, grad_offset], ctx.activation)
        # Rows of ``out``: first the gradient of A or W, then those of M, and that of b in the last one.
        out = grad_out.sum(-3).mT
        return (
            delta,
            grad_h0,
            None if grad_sigma is None else grad_sigma.sum(-2),
            out[..., :core],
            None if grad_in is None else grad_in.sum(-3).mT,
            None if weight is None else out[..., core:-1],
            None if bias is None else out[..., -1],
            None if grad_offset is None else grad_offset.sum(-2),
            None,
        )


def _contiguous(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _call(back: bool, arrays: list[Any], activation: Activation) -> None:
    """Run forward or backward over time; ``arrays`` are in the order of Problem in native.cpp, None for null."""
    library = native_library.library(arrays[1].dtype)
    if library is None:
        raise RuntimeError("the native backend could not be built on this machine; use backend='auto'")
    x, h0, sigma, a, weight = arrays[0], arrays[1], arrays[2], arrays[3], arrays[5]
    trials, steps, batch = x.shape[0] if x.dim() == 4 else 1, x.shape[-3], x.shape[-2]
    rank, inputs = 0 if sigma is None else a.shape[-1], -1 if weight is None else weight.shape[-1]
    threads, phi = torch.get_num_threads(), NAMES.index(activation.name)
    sizes = (trials, steps, batch, h0.shape[-1], rank, inputs, phi, threads, int(back))
    size = (ctypes.c_int64 * len(sizes))(*sizes)
    pointers = (ctypes.c_void_p * len(arrays))(*(None if array is None else array.data_ptr() for array in arrays))
    library.spectral_run(size, ctypes.c_double(activation.slope), pointers)
