"""The recurrence in C++ on the CPU: one call for the whole sequence, compiled on first use; see README.md here.

Both forms: `run` takes W = diag(sigma) + A C^T, `run_dense` W itself. `layer` and `layer_dense` take the input x, M
and b in place of z = M x + b, so that neither z nor its gradient is ever stored.
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
    """Whether this backend can run: on the CPU, in float32 or float64, with the library built."""
    return device.type == "cpu" and dtype in native_library.SCALARS and native_library.library(dtype) is not None


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """h_t = phi(z_t + sigma h_{t-1} + A (C^T h_{t-1})); shapes as in reference.run. Cost: 12 n r B T flop in all."""
    sigma, a, c = _factors(matrix)
    return _states(activation, offset, z, h0, sigma, a, c, None, None)[0]


def run_dense(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """h_t = phi(z_t + W h_{t-1}); shapes as in reference.run. Cost: 6 n^2 B T flop."""
    return _states(activation, offset, z, h0, None, dense_transition(matrix), None, None, None)[0]


def layer(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, h0: Tensor, matrix: Matrix, activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States and last state of a layer; x (T, B, I), weight (n, I), bias (n), K as in run. x gets no gradient;
    without weight it is z (T, B, n), and does.
    """
    sigma, a, c = _factors(matrix)
    return _states(activation, offset, x, h0, sigma, a, c, weight, bias)


def layer_dense(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, h0: Tensor, matrix: Matrix, activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As layer, with W formed."""
    return _states(activation, offset, x, h0, None, dense_transition(matrix), None, weight, bias)


def last(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, h0: Tensor, matrix: Matrix, activation: Activation,
    offset: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The last state of a layer, kept alone: for where no gradient is wanted."""
    sigma, a, c = _factors(matrix)
    return _last(activation, h0, x, h0, sigma, a, c, weight, bias, offset)


def last_dense(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, h0: Tensor, matrix: Matrix, activation: Activation,
    offset: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """As last, with W formed."""
    return _last(activation, h0, x, h0, None, dense_transition(matrix), None, weight, bias, offset)


def _last(activation: Activation, like: Tensor, *arguments: Tensor | None) -> Tensor:
    given = [_laid_out(y) for y in arguments]
    end = torch.empty_like(like, memory_format=torch.contiguous_format)
    _call(False, [*given, *[None] * 5, end, *[None] * 4], activation)
    return end


def _factors(matrix: Matrix) -> Factors:
    """The factors, with one zero column where there is no reflector at all: the library takes rank 0 for dense."""
    sigma, a, c = factors(matrix)
    if a.shape[-1]:
        return Factors(sigma, a, c)
    column = sigma.new_zeros(*sigma.shape, 1)
    return Factors(sigma, column, column)


def _states(activation: Activation, offset: Tensor | None, *arguments: Tensor | None) -> tuple[Tensor, Tensor]:
    states, last = NativeRecurrence.apply(*arguments, offset, activation)  # type: ignore[no-untyped-call]
    return states, last


class NativeRecurrence(torch.autograd.Function):
    """x is z (T, B, n), or with weight the input (T, B, I); h0 (B, n); sigma (n), a, c (n, r), or a = W (n, n) with
    sigma and c None; offset (n) for modrelu; all with a leading K in a pack. Returns all states and the last one: a
    loss that reads the last alone costs no gradient array of the size of all.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h0: Tensor, sigma: Tensor | None, a: Tensor, c: Tensor | None,
        weight: Tensor | None, bias: Tensor | None, offset: Tensor | None, activation: Activation,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        given = [_laid_out(y) for y in (x, h0, sigma, a, c, weight, bias, offset)]
        states = buffer_pool.empty((*x.shape[:-1], h0.shape[-1]), x)
        skinny = None if sigma is None else buffer_pool.empty((*x.shape[:-1], a.shape[-1]), x)
        end = torch.empty_like(h0, memory_format=torch.contiguous_format)
        _call(False, [*given, None, None, states, skinny, None, end, *[None] * 4], activation)
        ctx.save_for_backward(*given, states, skinny)
        ctx.activation = activation
        ctx.set_materialize_grads(False)
        return states, end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, h0, sigma, a, c, weight, bias, offset, states, skinny = ctx.saved_tensors
        n, core, inputs = h0.shape[-1], a.shape[-1], 0 if weight is None else weight.shape[-1] + 1
        sums = (*h0.shape[:-2], native_library.slices(h0.dtype, h0.shape[-2]))
        delta = buffer_pool.empty(states.shape, states) if weight is None else None
        grad_h0 = torch.empty_like(h0, memory_format=torch.contiguous_format)
        grad_sigma = None if sigma is None else x.new_empty(*sums, n)
        grad_in = None if sigma is None else x.new_empty(*sums, core, n)
        grad_out = x.new_empty(*sums, core + inputs, n)
        grad_offset = None if offset is None else x.new_empty(*sums, n)
        given = (x, h0, sigma, a, c, weight, bias, offset, _laid_out(grad), _laid_out(grad_last), states, skinny)
        _call(True, [*given, delta, grad_h0, grad_sigma, grad_out, grad_in, grad_offset], ctx.activation)
        out = grad_out.sum(-3).mT
        return (
            delta, grad_h0,
            None if grad_sigma is None else grad_sigma.sum(-2),
            out[..., :core],
            None if grad_in is None else grad_in.sum(-3).mT,
            None if weight is None else out[..., core:-1],
            None if bias is None else out[..., -1],
            None if grad_offset is None else grad_offset.sum(-2),
            None,
        )  # fmt: skip


def _laid_out(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _call(back: bool, arrays: list[Any], activation: Activation) -> None:
    """One pass over time; arrays in the order of Problem in native.cpp, None: null."""
    library = native_library.library(arrays[1].dtype)
    if library is None:
        raise RuntimeError("the native backend is not built here; use backend='auto'")
    x, h0, sigma, a, weight = arrays[0], arrays[1], arrays[2], arrays[3], arrays[5]
    trials, steps, batch = x.shape[0] if x.dim() == 4 else 1, x.shape[-3], x.shape[-2]
    rank, inputs = 0 if sigma is None else a.shape[-1], -1 if weight is None else weight.shape[-1]
    threads, phi = torch.get_num_threads(), NAMES.index(activation.name)
    sizes = (trials, steps, batch, h0.shape[-1], rank, inputs, phi, threads, int(back))
    size = (ctypes.c_int64 * len(sizes))(*sizes)
    at = (ctypes.c_void_p * len(arrays))(*(None if y is None else y.data_ptr() for y in arrays))
    library.spectral_run(size, ctypes.c_double(activation.slope), at)
