"""Reflectors as torch_householder and as LAPACK hold them.

All three multiply in one order, Q = H_0 H_1 ... H_{m-1} with H_j = I - tau_j v_j v_j^T, and differ in what they store:

- here: raw reflectors, a lower trapezoid whose columns may have any length; tau_j = 2 / |v_j|^2, and a zero column is
  the identity;
- ``torch_householder_orgqr(param)``: the same, but entries above the diagonal count too;
- LAPACK, that is ``torch.geqrf`` and ``torch.linalg.householder_product(a, tau)``: v_j has an implied 1 on the
  diagonal and zeros above it, and tau is stored.
"""

import torch
from torch import Tensor

from spectral.errors import RangeError, ShapeError
from spectral.householder import reference, wy
from spectral.householder.decompose import reflectors_of


@torch.no_grad()
def from_householder(param: Tensor, tau: Tensor | None = None) -> Tensor:
    """Return raw reflectors whose product has the columns that ``torch_householder_orgqr(param, tau)`` returns.

    A lower trapezoid is copied as it is. If there are entries above the diagonal, other reflectors are computed with
    which the first m columns of the product are the same.

    Args:
        param: The reflectors, shape (..., n, m), m <= n.
        tau: Their factors, shape (..., m), each 2 / |v_j|^2, or 0 for the identity; None is 2 / |v_j|^2 for all.

    Returns:
        Raw reflectors, shape (..., n, m), such as ``reflectors_u`` of an SVD.

    Raises:
        ShapeError: If ``param`` or ``tau`` has another shape.
        RangeError: If with a value of ``tau`` the factor I - tau_j v_j v_j^T is not orthogonal.
    """
    _check_shape("param", param)
    if tau is not None:
        param = _with_identities(param, tau)
    if not param.triu(1).any():
        return param.clone()
    n, m = param.shape[-2:]
    wide = param.to("cpu", torch.float64)  # every device can be copied from; not every one has float64
    columns = torch.eye(m, n, dtype=wide.dtype, device=wide.device).expand(*wide.shape[:-2], m, n)
    for j in reversed(range(m)):
        columns = reference.reflect(wide[..., j], columns)
    return reflectors_of(columns.mT, m).to(param)


@torch.no_grad()
def to_householder(reflectors: Tensor) -> Tensor:
    """Return the argument with which ``torch_householder_orgqr`` forms the product of raw reflectors.

    Args:
        reflectors: Raw reflectors, shape (..., n, m); entries above the diagonal are ignored.

    Returns:
        Shape (..., n, m): zeros above the diagonal, columns of length 1, zero columns for zero reflectors.
        ``torch_householder_orgqr`` makes of it the first m columns of the product.

    Raises:
        ShapeError: If ``reflectors`` has another shape.
    """
    _check_shape("reflectors", reflectors)
    return wy.unit_columns(reflectors)


@torch.no_grad()
def from_lapack(a: Tensor, tau: Tensor) -> Tensor:
    """Return raw reflectors with the product of LAPACK's, which ``torch.geqrf`` makes.

    Args:
        a: Shape (..., n, m), m <= n. Entries below the diagonal are those of the reflectors; the others are ignored.
        tau: The factors, shape (..., m).

    Returns:
        Raw reflectors, shape (..., n, m). Their product has the columns that ``torch.linalg.householder_product(a,
        tau)`` returns.

    Raises:
        ShapeError: If ``a`` or ``tau`` has another shape.
        RangeError: If with a value of ``tau`` the factor I - tau_j v_j v_j^T is not orthogonal.
    """
    _check_shape("a", a)
    return from_householder(_unit_lower(a), tau)


@torch.no_grad()
def to_lapack(reflectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return raw reflectors as LAPACK holds them, for ``torch.linalg.householder_product`` and ``torch.ormqr``.

    Args:
        reflectors: Raw reflectors, shape (..., n, m); entries above the diagonal are ignored.

    Returns:
        The reflectors scaled to 1 on the diagonal, shape (..., n, m), and tau, shape (..., m), which is 0 for a zero
        reflector.

    Raises:
        ShapeError: If ``reflectors`` has another shape.
        RangeError: If a reflector that is not zero has no entry on the diagonal, or too small a one to divide by.
            LAPACK's form cannot hold it; ``to_householder`` can.
    """
    unit = to_householder(reflectors)
    diagonal = unit.diagonal(dim1=-2, dim2=-1)
    is_zero = ~unit.any(-2)
    too_small = diagonal.abs() < 2 * torch.finfo(unit.dtype).tiny ** 0.5  # whose square, tau, would round to 0
    if bool((too_small & ~is_zero).any()):
        raise RangeError(
            "LAPACK's form scales every reflector to 1 on the diagonal; reflectors has a column with 0 there, or a "
            "number too small to divide by. Use to_householder, which scales the columns to length 1"
        )
    a = _unit_lower(unit / torch.where(is_zero, torch.ones_like(diagonal), diagonal).unsqueeze(-2))
    return a, 2 * diagonal.square()


def _check_shape(name: str, value: Tensor) -> None:
    """Raise ShapeError unless ``value`` has shape (..., n, m) with m <= n."""
    if value.dim() < 2 or value.shape[-1] > value.shape[-2]:
        raise ShapeError(f"{name} must have shape (..., n, m) with m <= n; found {tuple(value.shape)}")


def _unit_lower(a: Tensor) -> Tensor:
    """Return ``a`` (..., n, m) with ones on the diagonal and zeros above it."""
    return a.tril(-1) + torch.eye(*a.shape[-2:], dtype=a.dtype, device=a.device)


def _with_identities(param: Tensor, tau: Tensor) -> Tensor:
    """Return ``param`` with zero columns where tau is 0.

    Raises:
        ShapeError: If there is not one tau for each column.
        RangeError: If another tau is not 2 / |v|^2, up to rounding.
    """
    if tau.shape != param.shape[:-2] + param.shape[-1:]:
        raise ShapeError(
            f"tau must have shape (..., m), one number for each column of param; found {tuple(tau.shape)} for "
            f"{tuple(param.shape)}"
        )
    is_identity = tau == 0
    away = (tau * param.square().sum(-2) - 2).abs().masked_fill(is_identity, 0.0)
    if not bool((away <= 64 * param.shape[-2] * torch.finfo(param.dtype).eps).all()):
        raise RangeError(
            "each tau must be 2 / |v|^2 for its column v of param, or 0 for the identity, so that I - tau v v^T is "
            f"orthogonal; found tau |v|^2 up to {float(away.max()):.3g} away from 2. Pass tau=None to use 2 / |v|^2"
        )
    return param.masked_fill(is_identity.unsqueeze(-2), 0.0)
