"""The product of reflectors, one reflector after another: the definition with which every faster way is compared.

Leading dimensions are batch. ``raw`` holds m reflectors as columns, shape (..., n, m), m <= n; the first j coordinates
of column j are ignored. The rows of ``x``, of shape (..., rows, n), are the vectors that Q is applied to. Cost:
4 n m rows flop in m dependent steps.
"""

import torch
from torch import Tensor


def trapezoid(raw: Tensor) -> Tensor:
    """Return ``raw`` with the first j coordinates of column j set to zero, in value and in gradient.

    If m = n, the last column has one free coordinate. Its reflector is -1 for every nonzero value, so its gradient is
    zero too; it is made exactly zero here, so that rounding noise is not taken for a gradient.
    """
    n, m = raw.shape[-2:]
    columns = raw.tril()
    if m < n:
        return columns
    return torch.cat([columns[..., :-1], columns[..., -1:].detach()], -1)


def reflect(u: Tensor, x: Tensor) -> Tensor:
    """Apply H(u) to each row of x: x - 2 u (u.x) / (u.u), where u = 0 is the identity.

    The gradient with respect to a zero u is defined as zero: the map has no derivative there, and a padded reflector
    must stay zero.

    Args:
        u: Shape (..., n); of any finite length. The result is NaN if an entry is NaN or infinite.
        x: Shape (..., rows, n).

    Returns:
        Shape (..., rows, n).
    """
    # H does not depend on this scale, so it takes no part in the gradient; with it no square overflows or vanishes.
    largest = u.detach().abs().amax(-1, keepdim=True)
    is_zero = largest == 0
    u = torch.where(is_zero, torch.zeros_like(u), u) / torch.where(is_zero, torch.ones_like(largest), largest)
    square = (u * u).sum(-1, keepdim=True)
    square = torch.where(is_zero, torch.ones_like(square), square)
    along = (x * u.unsqueeze(-2)).sum(-1, keepdim=True)
    return x - 2 * along * (u / square).unsqueeze(-2)


def apply(raw: Tensor, x: Tensor) -> Tensor:
    """Return Q x for each row x, with Q = H(u_0) H(u_1) ... H(u_{m-1})."""
    columns = trapezoid(raw)
    for j in reversed(range(raw.shape[-1])):
        x = reflect(columns[..., j], x)
    return x


def apply_transposed(raw: Tensor, x: Tensor) -> Tensor:
    """Return Q^T x for each row x, with Q = H(u_0) H(u_1) ... H(u_{m-1})."""
    columns = trapezoid(raw)
    for j in range(raw.shape[-1]):
        x = reflect(columns[..., j], x)
    return x


def dense(raw: Tensor) -> Tensor:
    """Return Q = H(u_0) H(u_1) ... H(u_{m-1}) as a matrix, shape (..., n, n)."""
    n = raw.shape[-2]
    eye = torch.eye(n, dtype=raw.dtype, device=raw.device).expand(*raw.shape[:-2], n, n)
    return apply_transposed(raw, eye)
