"""Sums over all rows (time x batch) of a recurrence, with or without a trial axis."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 18
"""Elements of a temporary array in the sums below: a few MB, so that backward needs no second copy of all states."""


def products(z: Tensor) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return (mm, addmm) for z (T, B, n), or (bmm, baddbmm) for z (K, T, B, n), to apply to one step of z."""
    return (torch.mm, torch.addmm) if z.dim() == 3 else (torch.bmm, torch.baddbmm)


def rows(x: Tensor) -> Tensor:
    """Return (..., T, B, n) as (..., T B, n)."""
    return x.flatten(-3, -2)


def product_over_rows(first_left: Tensor, first_right: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return first_left^T first_right + left^T right, the sum over the rows of the first step and of all later ones.

    The first step is a separate pair because h_0 is not part of the array of states.
    """
    total = first_left.mT @ first_right
    if left.dim() == 2:
        return total.addmm_(left.mT, right)
    return total.baddbmm_(left.mT, right)


def sum_of_products(delta: Tensor, states: Tensor, h0: Tensor) -> Tensor:
    """Return the sum over time and rows of delta_t * h_{t-1}, shape (..., n): the gradient of sigma."""
    total = (delta[..., 0, :, :] * h0).sum(-2)
    for start, stop in _chunks(1, delta):
        now, before = delta[..., start:stop, :, :], states[..., start - 1 : stop - 1, :, :]
        total += rows(now * before).sum(-2)
    return total


def sum_of_signed(delta: Tensor, states: Tensor) -> Tensor:
    """Return the sum over time and rows of delta_t * sign(h_t), shape (..., n): the gradient of modReLU's offset."""
    total = delta.new_zeros(*delta.shape[:-3], delta.shape[-1])
    for start, stop in _chunks(0, delta):
        total += rows(delta[..., start:stop, :, :] * states[..., start:stop, :, :].sign()).sum(-2)
    return total


def _chunks(first: int, delta: Tensor) -> Iterator[tuple[int, int]]:
    """Cut the steps from ``first`` on into ranges for which a temporary has at most CHUNK_ELEMENTS elements."""
    steps, per_step = delta.shape[-3], max(1, delta[..., 0, :, :].numel())
    size = max(1, CHUNK_ELEMENTS // per_step)
    return ((start, min(steps, start + size)) for start in range(first, steps, size))
