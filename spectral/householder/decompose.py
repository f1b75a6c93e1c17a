"""The reflectors of a matrix with orthonormal columns: Householder QR with a positive diagonal of R.

With that sign R is the identity, so the product of the reflectors is the matrix itself (Golub & Van Loan,
section 5.1.3: the sign that cancels, made safe by their formula for the first entry).
"""

import torch
from torch import Tensor

from spectral.errors import ReflectorCountError


def reflectors_of(q: Tensor, count: int) -> Tensor:
    """raw (..., n, count) whose product's first k columns are q (..., n, k), count <= k <= n.

    A column that is already right gets a zero reflector. Raises ReflectorCountError where `count` reflectors
    do not reach q; count = k always does. Cost: 4 n k count flop.
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
    """u, of largest entry 1 or all 0, with H(u) x = |x| e_1."""
    length = torch.linalg.vector_norm(x, dim=-1)
    rest = x[..., 1:].square().sum(-1)
    first = x[..., 0]
    stable = -rest / (first + length).masked_fill(first <= 0, 1.0)
    u = x.clone()
    u[..., 0] = torch.where(first <= 0, first - length, stable)
    largest = u.abs().amax(-1, keepdim=True)
    return u / largest.masked_fill(largest == 0, 1.0)


def _check_reached(remainder: Tensor, count: int) -> None:
    n, k = remainder.shape[-2:]
    eye = torch.eye(n, k, dtype=remainder.dtype, device=remainder.device)
    error = (remainder - eye).abs().amax() if remainder.numel() else remainder.new_zeros(())
    if not bool(error <= 100 * n * torch.finfo(remainder.dtype).eps):
        raise ReflectorCountError(
            f"{count} reflectors do not reach this matrix (distance {float(error):.3g}); "
            f"{k} reach every matrix of {n} x {k} orthonormal columns"
        )
