"""The product of reflectors, one reflector after another: the meaning that every other way is held to.

Leading dimensions are batch. `raw` has shape (..., n, m); the first j coordinates of column j are ignored.
Rows of `x`, of shape (..., rows, n), are the vectors acted on. Cost: 4 n m rows flop, m steps in sequence.
"""

import torch
from torch import Tensor


def trapezoid(raw: Tensor) -> Tensor:
    """raw with the first j coordinates of column j set to zero, in value and in gradient.

    A column with one free coordinate, the last of a full set, is a sign: its gradient is zero too, and is made so
    exactly, lest rounding noise be taken for a gradient.
    """
    n, m = raw.shape[-2:]
    columns = raw.tril()
    if m < n:
        return columns
    return torch.cat([columns[..., :-1], columns[..., -1:].detach()], -1)


def reflect(u: Tensor, x: Tensor) -> Tensor:
    """H(u) applied to each row of x: x - 2 u (u.x) / (u.u); u = 0 is the identity.

    u (..., n), x (..., rows, n). The gradient with respect to a zero u is zero by definition: the map has no
    derivative there, and a padded reflector must stay what it is.
    """
    square = (u * u).sum(-1, keepdim=True)
    is_zero = square == 0
    u = torch.where(is_zero, torch.zeros_like(u), u)
    square = torch.where(is_zero, torch.ones_like(square), square)
    along = (x * u.unsqueeze(-2)).sum(-1, keepdim=True)
    return x - 2 * along * (u / square).unsqueeze(-2)


def apply(raw: Tensor, x: Tensor) -> Tensor:
    """Q x for each row, Q = H(u_0) H(u_1) ... H(u_{m-1})."""
    columns = trapezoid(raw)
    for j in reversed(range(raw.shape[-1])):
        x = reflect(columns[..., j], x)
    return x


def apply_transposed(raw: Tensor, x: Tensor) -> Tensor:
    """Q^T x for each row, Q = H(u_0) H(u_1) ... H(u_{m-1})."""
    columns = trapezoid(raw)
    for j in range(raw.shape[-1]):
        x = reflect(columns[..., j], x)
    return x


def dense(raw: Tensor) -> Tensor:
    """Q itself, shape (..., n, n)."""
    n = raw.shape[-2]
    eye = torch.eye(n, dtype=raw.dtype, device=raw.device).expand(*raw.shape[:-2], n, n)
    return apply_transposed(raw, eye)
