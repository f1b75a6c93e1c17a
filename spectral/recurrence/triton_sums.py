"""The sums over all steps and rows that end a backward pass of the backend ``triton``.

The kernels are in triton_sum_kernels.py.
"""

import importlib
from typing import NamedTuple

from torch import Tensor

from spectral.gpu.device import device_of, power_of_two
from spectral.operators import absent, present
from spectral.recurrence.triton_device import processors_of, products
from spectral.recurrence.triton_plans import SMALLEST_SIDE, SumPlan, ranges


class Sums(NamedTuple):
    """The gradients of a layer's parameters; absent unless they are wanted."""

    sigma: Tensor
    """Shape (n,), the sum of delta_t * h_{t-1}; all of them with a leading K in a pack."""
    a: Tensor
    """Shape (n, r), the sum of delta_t^T (h_{t-1} C)."""
    c: Tensor
    """Shape (n, r), the sum of h_{t-1}^T q_t."""
    weight: Tensor
    """Shape (n, I), the sum of delta_t^T x_t."""
    bias: Tensor
    """Shape (n,), the sum of delta_t."""
    offset: Tensor
    """Shape (n,), the sum of delta_t * sign(h_t)."""


def empty(h0: Tensor, like: Tensor, rank: int, features: int, matrix: bool, bias: bool, offset: bool) -> Sums:
    """Return arrays for the sums.

    Args:
        h0: The state before the first step, shape (B, n).
        like: A tensor that has their dtype.
        rank: r.
        features: I if the gradient of M is wanted, else 0.
        matrix: Whether the gradients of sigma, a and c are wanted.
        bias: Whether that of b is.
        offset: Whether that of modReLU's offset is.
    """
    row = (*h0.shape[:-2], h0.shape[-1])

    def make(wanted: bool, *shape: int) -> Tensor:
        return like.new_empty(*row, *shape) if wanted else absent(like)

    return Sums(
        make(matrix),
        make(matrix, rank),
        make(matrix, rank),
        make(features > 0, features),
        make(bias),
        make(offset),
    )


def fill(
    sums: Sums,
    delta: Tensor,
    states: Tensor,
    h0: Tensor,
    skinny: Tensor,
    q: Tensor,
    x: Tensor | None,
    plan: SumPlan,
) -> None:
    """Compute the sums.

    Args:
        sums: The arrays to be filled, as ``empty`` makes them.
        delta: The gradients of what phi was applied to, shape (T, B, n). All arrays are contiguous.
        states: The states, shape (T, B, n).
        h0: The state before the first step, shape (B, n), in the dtype of the states.
        skinny: h_{t-1} C, shape (T, B, r).
        q: delta A, shape (T, B, r).
        x: The input, shape (T, B, I), if the gradient of M is wanted.
        plan: How the work is divided.
    """
    *lead, steps, batch, n = delta.shape
    trials, r, features = lead[0] if lead else 1, q.shape[-1], 0 if x is None else x.shape[-1]
    matrix, bias, offset = (present(part) is not None for part in (sums.sigma, sums.bias, sums.offset))
    length = n * (features + bias + offset + matrix * (1 + 2 * r))
    if length == 0 or trials == 0:
        return
    if batch == 0:
        for part in sums:
            part.zero_()
        return
    rows = steps * batch
    parts, span = ranges(rows, n, plan, processors_of(delta.device))
    partial = sums.sigma.new_empty(trials, parts, length)
    kernels = importlib.import_module("spectral.recurrence.triton_sum_kernels")
    wanted = {"MATRIX": matrix, "OFFSET": offset, "BIAS": bias}
    columns = features if features < 2 else max(SMALLEST_SIDE, power_of_two(features))
    with device_of(delta):
        kernels.partial_sums[(parts, -(-n // plan.block), trials)](
            *(delta, states, h0, skinny, q, delta if x is None else x, partial),
            *(rows, batch, n, r, features, span, length),
            TILE=plan.tile,
            N=plan.block,
            R=max(SMALLEST_SIDE, power_of_two(r)),
            COLUMNS=columns,
            STAGES=plan.stages,
            num_warps=plan.warps,
            **wanted,
            **products(sums.sigma.dtype).options(delta.dtype),
        )
        block = 128
        kernels.add_partials[(-(-length // block), trials)](
            *(partial, sums.weight, sums.bias, sums.offset, sums.sigma, sums.a, sums.c),
            *(parts, length, n, r, features),
            PARTS=min(32, power_of_two(parts)),
            BLOCK=block,
            COLUMNS=columns,
            num_warps=4,
            **wanted,
        )
