"""Reflectors for a given matrix with orthonormal columns: Householder QR with a positive diagonal of R.

With that sign R is the identity, so that the product of the reflectors is the matrix itself. It is the sign for which
the usual formula of the first entry cancels; Golub and Van Loan, section 5.1.3, have a formula that is safe.
"""

import torch
from torch import Tensor

from spectral.errors import ReflectorCountError


def reflectors_of(q: Tensor, count: int) -> Tensor:
    """Return raw reflectors whose product has the columns of a given matrix as its first columns.

    Column j gets a zero reflector, which is the identity, if the reflectors before it have already turned it into the
    unit vector e_j. Cost: 4 n k count flop.

    Args:
        q: A matrix with orthonormal columns, shape (..., n, k), k <= n.
        count: The number of reflectors, from 0 to k.

    Returns:
        Raw reflectors, shape (..., n, count): lower trapezoids whose largest entry is 1 in absolute value, or zero.

    Raises:
        ReflectorCountError: If the product of ``count`` reflectors cannot have these columns, which never happens for
            ``count`` = k; or if the columns are not orthonormal up to rounding, or contain NaN.
    """
    n = q.shape[-2]
    remainder = q.clone()
    raw = q.new_zeros(*q.shape[:-2], n, count)
    for j in range(count):
        u = _reflector_to_first_axis(remainder[..., j:, j])
        square = u.square().sum(-1, keepdim=True)
        scaled = u / square.masked_fill(square == 0, 1.0)
        block = remainder[..., j:, j:]
        along = u.unsqueeze(-2) @ block
        remainder[..., j:, j:] = block - 2 * scaled.unsqueeze(-1) * along
        raw[..., j:, j] = u
    _check_reached(remainder, count)
    return raw


def _reflector_to_first_axis(x: Tensor) -> Tensor:
    """Return u with H(u) x = |x| e_1, scaled so that its largest entry is +1 or -1; zeros if x = |x| e_1 already."""
    length = torch.linalg.vector_norm(x, dim=-1)
    rest = x[..., 1:].square().sum(-1)
    first = x[..., 0]
    stable = -rest / (first + length).masked_fill(first <= 0, 1.0)
    u = x.clone()
    u[..., 0] = torch.where(first <= 0, first - length, stable)
    largest = u.abs().amax(-1, keepdim=True)
    return u / largest.masked_fill(largest == 0, 1.0)


def _check_reached(remainder: Tensor, count: int) -> None:
    """Raise ReflectorCountError unless ``remainder`` is the first columns of the identity, up to rounding.

    Args:
        remainder: What the reflectors have made of the matrix, shape (..., n, k).
        count: The number of reflectors, for the message.
    """
    n, k = remainder.shape[-2:]
    eye = torch.eye(n, k, dtype=remainder.dtype, device=remainder.device)
    error = (remainder - eye).abs().amax() if remainder.numel() else remainder.new_zeros(())
    if not bool(error <= 100 * n * torch.finfo(remainder.dtype).eps):
        raise ReflectorCountError(
            f"{count} reflectors do not reach these {n} x {k} singular vectors: the largest error of an entry is "
            f"{float(error):.3g}. Use more reflectors; {k} reach every {n} x {k} matrix with orthonormal columns"
        )
