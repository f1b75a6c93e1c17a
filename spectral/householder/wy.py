"""The product of reflectors in compact WY form, Q = I - Y T Y^T, applied by means of one small triangular solve.

T^-1 = striu(Y^T Y) + diag(|y_k|^2 / 2). The form is from Schreiber and Van Loan 1989, the inverse from Joffrain, Low,
Quintana-Orti, van de Geijn and Robson 2006. Columns are normalised first: Q does not depend on their lengths, and T^-1
is then well scaled. Shapes are as in reference.py.

Factors are formed in float32 or float64, with autocast off and from reflectors in half precision too, because torch has
no triangular solver in half precision. Products with vectors are in the dtype that autocast chooses.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from spectral.autocast import computing_dtype, without_autocast
from spectral.cpu import transition as cpu
from spectral.gpu import columns as kernels
from spectral.householder import reference
from spectral.operators import is_plain_eager


class WY(NamedTuple):
    """The product Q = I - y T y^T of m reflectors in R^n, held as y and T^-1. Made by ``factor``."""

    y: Tensor
    """The reflectors scaled to length 1, zero reflectors left at zero; shape (..., n, m)."""
    t_inverse: Tensor
    """T^-1, shape (..., m, m): upper triangular, with 1/2 on the diagonal, or 1 for a zero reflector."""

    def z(self) -> Tensor:
        """Return z = T y^T, shape (..., m, n), with which Q = I - y z."""
        with without_autocast(self.y.device):
            solved: Tensor = torch.linalg.solve_triangular(self.t_inverse, self.y.mT, upper=True)
        return solved

    def z_transposed(self) -> Tensor:
        """Return z' = T^T y^T, shape (..., m, n), with which Q^T = I - y z'."""
        with without_autocast(self.y.device):
            solved: Tensor = torch.linalg.solve_triangular(self.t_inverse.mT, self.y.mT, upper=False)
        return solved


def unit_columns(raw: Tensor) -> Tensor:
    """Return the lower trapezoid of ``raw`` with columns of length 1, shape (..., n, m).

    A column may have any finite length, however large or small. A zero column stays zero, and its gradient is exactly
    0. A column that contains NaN or infinity becomes NaN, so that a broken reflector is noticed and does not count as
    the identity.
    """
    columns = reference.trapezoid(raw)
    columns = columns / _largest(columns)
    # The bound acts on zero columns alone, whose length it makes a constant: 0 has no second derivative of the length.
    units: Tensor = columns / (columns * columns).sum(-2, keepdim=True).clamp_min(1.0).sqrt()
    return units


def _largest(columns: Tensor) -> Tensor:
    """Return the largest absolute value of each column, shape (..., 1, m), without a gradient; infinity if it is zero.

    Columns are divided by it before any squares are taken, which would overflow or vanish for long and short ones. It
    has no gradient, since the direction of a column does not depend on it. A zero column over infinity is zero, and
    gets a gradient of exactly 0. Afterwards only zero columns are shorter than 1.
    """
    if not columns.shape[-1]:  # torch refuses this norm of no columns on a device without values
        return columns.new_ones(*columns.shape[:-2], 1, 0)
    largest = torch.linalg.vector_norm(columns.detach(), torch.inf, dim=-2, keepdim=True)
    return torch.threshold(largest, 0.0, torch.inf)


@torch.no_grad()
def normalize_reflectors_(raw: Tensor) -> None:
    """Scale every column of ``raw`` to length 1, in place; a zero column stays zero.

    The product of the reflectors does not depend on their lengths, and so neither does a loss. An optimiser would let
    the lengths grow, and the growing lengths would shrink its steps.

    Args:
        raw: Raw reflectors, shape (..., n, m), of any finite length. Entries above the diagonal count in the lengths,
            although they are ignored elsewhere; the modules of this package keep them at zero.
    """
    normalize_all_reflectors_([raw])


@torch.no_grad()
def normalize_all_reflectors_(raws: Iterable[Tensor]) -> None:
    """Do what ``normalize_reflectors_`` does with several tensors; on a GPU with triton in one launch for all of them.

    Args:
        raws: Raw reflectors, each of shape (..., n, m).
    """
    together: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for raw in raws:
        if not torch.compiler.is_compiling() and kernels.normalizes(raw) and is_plain_eager([raw]):
            together.setdefault((raw.device, raw.dtype), []).append(raw)
        elif type(raw) in (Tensor, torch.nn.Parameter) and _runs_on_cpu(raw):
            cpu.normalize_(raw)
        else:
            _normalize(raw)
    for alike in together.values():
        kernels.normalize_(alike)


def _normalize(raw: Tensor) -> None:
    columns = raw.to(computing_dtype(raw.dtype))
    columns.div_(_largest(columns))
    columns.div_(torch.linalg.vector_norm(columns, dim=-2, keepdim=True).clamp_min_(1.0))
    if columns is not raw:
        raw.copy_(columns)


def _runs_on_cpu(raw: Tensor) -> bool:
    """Return whether compiled code scales the columns, in an order that does not depend on how many there are."""
    return not torch.compiler.is_compiling() and raw.is_contiguous() and cpu.runs(raw)


def orthogonality_error(raw: Tensor) -> Tensor:
    """Return the largest absolute entry of Q^T Q - I for the product Q of the reflectors, shape (...).

    Args:
        raw: Raw reflectors, shape (..., n, m).
    """
    q = dense(raw)
    with without_autocast(q.device):
        difference = q.mT @ q - torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    return difference.abs().flatten(-2).amax(-1)


def factor(raw: Tensor) -> WY:
    """Return the WY form of raw reflectors of shape (..., n, m), in float32 for half precision. Cost: n m^2 flop."""
    with without_autocast(raw.device):
        y = unit_columns(raw.to(computing_dtype(raw.dtype)))
        gram = y.mT @ y
        half = torch.threshold(0.5 * gram.diagonal(dim1=-2, dim2=-1), 0.0, 1.0)
        return WY(y, gram.triu(1) + torch.diag_embed(half))


def gradient_of_raw(raw: Tensor, y: Tensor, grad_y: Tensor, grad_t_inverse: Tensor) -> Tensor:
    """Return dL/draw from dL/dy and dL/dT^-1, for a backward pass written by hand.

    Only the upper triangle of dL/dT^-1 counts. The diagonal of T^-1 moves y_k only along y_k, and the normalisation
    removes that part again.

    Args:
        raw: Raw reflectors, shape (..., n, m).
        y: Their unit columns, shape (..., n, m).
        grad_y: dL/dy, shape (..., n, m).
        grad_t_inverse: dL/dT^-1, shape (..., m, m).

    Returns:
        dL/draw, shape (..., n, m); zero above the diagonal and for zero reflectors.
    """
    upper = grad_t_inverse.triu(1)
    grad = grad_y + y @ (upper + upper.mT)
    across = (grad - y * (y * grad).sum(-2, keepdim=True)).tril_()
    columns = raw.tril()
    largest = _largest(columns)
    length: Tensor = torch.linalg.vector_norm(columns.div_(largest), dim=-2, keepdim=True).clamp_min_(1.0)
    # One after the other, since the product of both can be too large for a number.
    return across.div_(length).div_(largest)


def apply(raw: Tensor | WY, x: Tensor) -> Tensor:
    """Return Q x for each row of x (..., rows, n), Q = H(u_0) H(u_1) ... H(u_{m-1}). Cost: 4 n m rows + n m^2 flop.

    Args:
        raw: Raw reflectors, shape (..., n, m), or their WY form, which saves the cost of ``factor``.
        x: Shape (..., rows, n).
    """
    wy = raw if isinstance(raw, WY) else factor(raw)
    return x - (x @ wy.z().mT) @ wy.y.mT


def apply_transposed(raw: Tensor | WY, x: Tensor) -> Tensor:
    """Return Q^T x for each row of x (..., rows, n); arguments and cost as for ``apply``."""
    wy = raw if isinstance(raw, WY) else factor(raw)
    return x - (x @ wy.z_transposed().mT) @ wy.y.mT


def dense(raw: Tensor | WY, columns: int | None = None) -> Tensor:
    """Return Q as a matrix, shape (..., n, n), or its first k = ``columns`` columns, (..., n, k). Cost: 2 n k m flop.

    Args:
        raw: Raw reflectors, shape (..., n, m), or their WY form.
        columns: k, at most n; None is n.
    """
    wy = raw if isinstance(raw, WY) else factor(raw)
    n = wy.y.shape[-2]
    k = n if columns is None else columns
    with without_autocast(wy.y.device):
        z: Tensor = torch.linalg.solve_triangular(wy.t_inverse, wy.y[..., :k, :].mT, upper=True)
        return torch.eye(n, k, dtype=wy.y.dtype, device=wy.y.device) - wy.y @ z
