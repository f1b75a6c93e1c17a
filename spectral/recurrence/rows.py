"""Sums over all rows (time x batch) of a recurrence, with or without the trial axis."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 18
"""Elements of a temporary in `sum_of_products`: a few MB at most, so that backward needs no second copy of h.
"""


def products(z: Tensor) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The product and the product-and-add that fit one step of z: (T, B, n), or (K, T, B, n) with a trial
    axis.
    """
    return (torch.mm, torch.addmm) if z.dim() == 3 else (torch.bmm, torch.baddbmm)


def rows(x: Tensor) -> Tensor:
    """(..., T, B, n) as (..., T B, n)."""
    return x.flatten(-3, -2)


def product_over_rows(first_left: Tensor, first_right: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """first_left^T first_right + left^T right; the first step stands apart because h_0 is no part of the
    states.
    """
    total = first_left.mT @ first_right
    if left.dim() == 2:
        return total.addmm_(left.mT, right)
    return total.baddbmm_(left.mT, right)


def sum_of_products(delta: Tensor, states: Tensor, h0: Tensor) -> Tensor:
    """sum over t and rows of delta_t * h_{t-1}: shape (..., n)."""
    total = (delta[..., 0, :, :] * h0).sum(-2)
    per_step = max(1, h0.numel())
    step = max(1, CHUNK_ELEMENTS // per_step)
    length = delta.shape[-3]
    for start in range(1, length, step):
        stop = min(length, start + step)
        now, before = delta[..., start:stop, :, :], states[..., start - 1 : stop - 1, :, :]
        total += rows(now * before).sum(-2)
    return total
