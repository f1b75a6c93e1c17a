"""Weights as GeoTorch holds them: ``geotorch.orthogonal``, ``almost_orthogonal``, ``low_rank`` and their kin.

GeoTorch keeps a weight W (..., rows, cols) as a point ``base`` on a manifold and a tangent ``original`` at it. Let X be
``original``, or its transpose if W is wide, of shape (..., n, k) with n = max(rows, cols) and k = min(rows, cols). With
A(X) = tril(X, -1) - tril(X, -1)^T, where X is filled up with zeros to a square, orthonormal columns are

    Q(base, X) = the first columns of base triv(A(X)), as many as X has

with the matrix exponential or the Cayley map as ``triv``,
and the tall matrix, which is W or W^T, is

- ``orthogonal``: Q(base, X), and for ``grassmannian`` the same without the first k rows of X; entries of the state dict
  are ``original`` and ``0.base`` (n, n);
- ``almost_orthogonal``, ``low_rank``, ``fixed_rank``, ``invertible``: Q(base_u, X) diag(f(s)) Q(base_v, X^T)^T, where s
  is the diagonal of X, and X, X^T and s are cut to ``rank`` columns; the entries are ``original``, ``0.0.base`` (n, n)
  and ``0.2.base`` (k, k).

The entries' names begin with ``parametrizations.NAME.``.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spectral.compat.geotorch_constraints import (
    FLOOR,
    FRAMES,
    TRIVIALIZATIONS,
    ConstraintName,
    InvertibleMap,
    check_constraint,
    map_of,
    nearest_orthogonal,
    rank_of,
    widest,
)
from spectral.errors import BandError, OptionError, RangeError, ShapeError
from spectral.householder import wy
from spectral.householder.decompose import reflectors_of


@torch.no_grad()
def from_geotorch(
    state_dict: Mapping[str, Tensor],
    name: str = "weight",
    *,
    constraint: ConstraintName,
    rank: int | None = None,
    lam: float = 0.1,
    f: str | None = None,
    triv: str = "expm",
) -> Tensor:
    """Return the weight that a state dict of a module constrained by GeoTorch stands for.

    Give it to ``set_dense`` or ``SVD.from_dense``. A state dict does not say how the weight is constrained, so the
    arguments must be those that the function of GeoTorch was given. The weight is computed in float64, with bases that
    are made exactly orthogonal, so that a constrained one also fits spectrum='fixed'. Steps of an optimiser in float32
    leave GeoTorch's own weight further from it, about 1e-5 for n = 256.

    Args:
        state_dict: The state dict of the module, or of one that contains it.
        name: The weight's name, such as ``weight`` or ``encoder.weight_hh_l0``.
        constraint: The function of GeoTorch with which the weight was constrained.
        rank: Its argument ``rank``; only for ``low_rank`` and ``fixed_rank``.
        lam: Its argument ``lam``; only ``almost_orthogonal`` reads it.
        f: Its argument ``f``, by name; None is GeoTorch's default.
        triv: Its argument ``triv``, ``expm`` or ``cayley``.

    Returns:
        The weight, shape (..., rows, cols), in the dtype and on the device of the state dict.

    Raises:
        OptionError: If an option has none of its allowed values, or the state dict lacks an entry.
        RangeError: If ``rank`` is not an integer from 1 to k, ``lam`` not from 0 to 1, a base is not orthogonal, or a
            number is not finite.
        ShapeError: If an entry has the wrong shape.
    """
    if triv not in TRIVIALIZATIONS:
        raise OptionError(f"triv must be one of {', '.join(TRIVIALIZATIONS)}; found {triv!r}")
    check_constraint(constraint)
    original = _entry(state_dict, name, "original")
    if original.dim() < 2:
        raise ShapeError(f"{name!r} must have two dimensions or more; found shape {tuple(original.shape)}")
    x = _tall(widest(original, "original"))
    *batch, n, k = x.shape
    bases = ("0.base",) if constraint in FRAMES else ("0.0.base", "0.2.base")
    u, *v = (_base(state_dict, name, entry, (*batch, s, s)) for entry, s in zip(bases, (n, k), strict=False))
    if constraint in FRAMES:
        tangent = x.clone()
        if constraint == "grassmannian":
            tangent[..., :k, :] = 0
        w = _frame(u, tangent, triv)
    else:
        r = rank_of(constraint, rank, n, k)
        sigma = map_of(constraint, f, lam).apply(x.diagonal(dim1=-2, dim2=-1)[..., :r])
        left, right = _frame(u, x[..., :r], triv), _frame(v[0], x.mT[..., :r], triv)
        w = (left * sigma.unsqueeze(-2)) @ right.mT
    return (w if original.shape[-2] >= original.shape[-1] else w.mT).to(original)


@torch.no_grad()
def to_geotorch(
    weight: Tensor,
    name: str = "weight",
    *,
    constraint: ConstraintName,
    rank: int | None = None,
    lam: float = 0.1,
    f: str | None = None,
) -> dict[str, Tensor]:
    """Return the entries of a state dict with which GeoTorch's weight equals ``weight`` up to rounding.

    Constrain the other module by GeoTorch first, and then load them with ``load_state_dict(entries, strict=False)``.
    They are right for every ``triv``, since the tangent is zero but for the singular values.

    Args:
        weight: The weight, shape (..., rows, cols), such as ``svd.dense()`` or ``rnn.dense(layer)``.
        name: The weight's name in the module that is to load the entries.
        constraint: The function of GeoTorch with which that weight is constrained.
        rank: Its argument ``rank``; only for ``low_rank`` and ``fixed_rank``.
        lam: Its argument ``lam``; only ``almost_orthogonal`` reads it.
        f: Its argument ``f``, by name; None is GeoTorch's default.

    Returns:
        The entries by name, on the device and in the dtype of ``weight``.

    Raises:
        BandError: If GeoTorch cannot hold the weight under this constraint, because of a singular value.
        OptionError: If an option has none of its allowed values.
        RangeError: If ``rank`` is not an integer from 1 to k, ``lam`` not from 0 to 1, or ``weight`` is not finite.
        ShapeError: If the weight has fewer than two dimensions, or ``invertible`` is asked for and it is not square.
    """
    check_constraint(constraint)
    if weight.dim() < 2:
        raise ShapeError(f"weight must have two dimensions or more; found shape {tuple(weight.shape)}")
    tall = _tall(widest(weight, "weight"))
    n, k = tall.shape[-2:]
    slack = 64 * n**0.5 * torch.finfo(weight.dtype).eps
    u, s, vh = torch.linalg.svd(tall, full_matrices=False)
    original = torch.zeros_like(tall)
    if constraint in FRAMES:
        _check_values(s, s, (1 - slack, 1 + slack), f"geotorch.{constraint}")
        entries = {"original": original, "0.base": _completed(u @ vh)}
    else:
        r = rank_of(constraint, rank, n, k)
        raw = _raw_values(s, constraint, r, map_of(constraint, f, lam), lam, slack)
        original.diagonal(dim1=-2, dim2=-1)[..., :r] = raw
        entries = {"original": original, "0.0.base": _completed(u), "0.2.base": vh.mT}
    if weight.shape[-2] < weight.shape[-1]:
        entries["original"] = entries["original"].mT
    return {_prefix(name) + entry: value.to(weight).contiguous() for entry, value in entries.items()}


def _raw_values(s: Tensor, constraint: str, rank: int, singular_map: InvertibleMap, lam: float, slack: float) -> Tensor:
    """Return the raw numbers (..., rank) from which GeoTorch computes the singular values ``s`` (..., k).

    Args:
        s: The singular values in descending order.
        constraint: One of CONSTRAINTS but FRAMES.
        rank: How many singular values the constraint keeps.
        singular_map: What ``_map`` returns for the constraint.
        lam: The argument of ``almost_orthogonal``.
        slack: How far a value may be off by rounding, relative to 1 or to the largest value.

    Raises:
        BandError: If GeoTorch cannot hold the values.
    """
    kept, rest = s[..., :rank], s[..., rank:]
    if constraint == "almost_orthogonal":
        _check_values(s, kept, (1 - lam - slack, 1 + lam + slack), f"geotorch.almost_orthogonal with lam={lam:.6g}")
        # a value at the edge of the band is held as the largest number below it that the map can be inverted at
        inner = lam * (1 - torch.finfo(s.dtype).eps)
        return singular_map.invert(kept.clamp(1 - inner, 1 + inner))
    reach = float(s.amax()) if s.numel() else 0.0
    what = f"geotorch.{constraint} with rank={rank}"
    _check_values(s, rest, (0.0, slack * reach), f"{what}, for the values after the first {rank},")
    if constraint != "low_rank":
        _check_values(s, kept, (2 * FLOOR, float("inf")), what)
    return singular_map.invert(kept)


def _check_values(s: Tensor, values: Tensor, band: tuple[float, float], what: str) -> None:
    """Raise BandError unless all ``values``, which are some of the singular values ``s``, lie in the band."""
    low, high = band
    if not bool(((values >= low) & (values <= high)).all()):
        raise BandError(
            f"{what} holds singular values from {low:.6g} to {high:.6g}; the weight has values from "
            f"{float(s.amin()):.6g} to {float(s.amax()):.6g}. Choose another constraint, or a wider one"
        )


def _entry(state_dict: Mapping[str, Tensor], name: str, entry: str) -> Tensor:
    """Return an entry of GeoTorch's parametrization of a weight. Raise OptionError if there is none."""
    key = _prefix(name) + entry
    if key not in state_dict:
        raise OptionError(
            f"the state dict has no {key!r}; check name, which is {name!r}, and constraint, of which each has other "
            "entries"
        )
    return state_dict[key]


def _prefix(name: str) -> str:
    """Return how the names of the entries of a parametrized weight begin in a state dict."""
    path, dot, own = name.rpartition(".")
    return f"{path}{dot}parametrizations.{own}."


def _base(state_dict: Mapping[str, Tensor], name: str, entry: str, shape: tuple[int, ...]) -> Tensor:
    """Return a base, made exactly orthogonal.

    Raises:
        OptionError: If the state dict does not have it.
        ShapeError: If it has another shape.
        RangeError: If it is not orthogonal, beyond what rounding makes of it over a long training.
    """
    base = widest(_entry(state_dict, name, entry), entry)
    if base.shape != shape:
        raise ShapeError(f"{_prefix(name)}{entry} must have shape {shape}; found {tuple(base.shape)}")
    nearest = nearest_orthogonal(base)
    error = float((base - nearest).abs().amax()) if base.numel() else 0.0
    if not error <= 1e-2:
        raise RangeError(
            f"{_prefix(name)}{entry} must be an orthogonal matrix, and is {error:.3g} away from the nearest one; "
            "the state dict is broken, or not one of GeoTorch"
        )
    return nearest


def _frame(base: Tensor, x: Tensor, triv: str) -> Tensor:
    """Return Q(base, x): orthonormal columns (..., n, k) from a base (..., n, n) and a tangent x (..., n, k)."""
    n, k = x.shape[-2:]
    lower = nn.functional.pad(x, (0, n - k)).tril(-1)
    return (base @ TRIVIALIZATIONS[triv](lower - lower.mT))[..., :k]


def _completed(columns: Tensor) -> Tensor:
    """Return an orthogonal matrix (..., n, n) that begins with the given orthonormal columns (..., n, k)."""
    k = columns.shape[-1]
    full = wy.dense(reflectors_of(columns, k))
    full[..., :k] = columns
    return full


def _tall(w: Tensor) -> Tensor:
    """Return ``w``, or its transpose if it has more columns than rows."""
    return w if w.shape[-2] >= w.shape[-1] else w.mT
