"""What GeoTorch's constraints have in common: their names, their maps of singular values, and orthogonal matrices."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from spectral.errors import OptionError, RangeError, ShapeError

ConstraintName = Literal["orthogonal", "grassmannian", "almost_orthogonal", "low_rank", "fixed_rank", "invertible"]
CONSTRAINTS: tuple[str, ...] = get_args(ConstraintName)
FRAMES = ("orthogonal", "grassmannian")
"""The constraints under which the columns or the rows of a weight are orthonormal."""
FLOOR = 1e-6
"""What GeoTorch adds to softplus, so that a singular value under ``fixed_rank`` is never 0."""

TRIVIALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "expm": torch.linalg.matrix_exp,
    "cayley": lambda a: torch.linalg.solve(_eye(a) - a / 2, _eye(a) + a / 2),
}


class InvertibleMap(NamedTuple):
    """An elementwise map, and its inverse."""

    apply: Callable[[Tensor], Tensor]
    invert: Callable[[Tensor], Tensor]


MAPS: dict[str, dict[str, InvertibleMap]] = {
    # singular values are 1 + lam f(s); the first map of a constraint is GeoTorch's default
    "almost_orthogonal": {
        "sin": InvertibleMap(torch.sin, torch.asin),
        "tanh": InvertibleMap(torch.tanh, torch.atanh),
        "scaled_sigmoid": InvertibleMap(lambda s: torch.tanh(s / 2), lambda y: 2 * torch.atanh(y)),
    },
    "low_rank": {"identity": InvertibleMap(lambda s: s, lambda y: y)},
    "fixed_rank": {
        "softplus": InvertibleMap(
            lambda s: nn.functional.softplus(s) + FLOOR,
            lambda y: (y - FLOOR) + (-(FLOOR - y).expm1()).log(),
        )
    },
}
MAPS["invertible"] = MAPS["fixed_rank"]


def check_constraint(constraint: str) -> None:
    """Raise OptionError unless ``constraint`` is one of CONSTRAINTS."""
    if constraint not in CONSTRAINTS:
        raise OptionError(f"constraint must be one of {', '.join(CONSTRAINTS)}; found {constraint!r}")


def rank_of(constraint: str, rank: int | None, n: int, k: int) -> int:
    """Return how many singular values a matrix of shape (n, k) has under a constraint.

    Raises:
        RangeError: If the constraint has a rank, and ``rank`` is not an integer from 1 to k.
        ShapeError: If the constraint is ``invertible`` and the matrix is not square.
    """
    if constraint == "invertible" and n != k:
        raise ShapeError(f"geotorch.invertible needs a square weight; this one has sides {n} and {k}")
    if constraint not in ("low_rank", "fixed_rank"):
        return k
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= k:
        raise RangeError(f"rank, which {constraint} needs, must be an integer from 1 to {k}; found {rank!r}")
    return rank


def map_of(constraint: str, f: str | None, lam: float) -> InvertibleMap:
    """Return the map from raw numbers to singular values under a constraint that has one.

    Raises:
        OptionError: If the constraint has no map ``f``.
        RangeError: If ``lam`` is needed and does not lie in [0, 1].
    """
    maps = MAPS[constraint]
    if f is not None and f not in maps:
        raise OptionError(f"f, for {constraint}, must be one of {', '.join(maps)}; found {f!r}")
    chosen = maps[f] if f is not None else next(iter(maps.values()))
    if constraint != "almost_orthogonal":
        return chosen
    if not 0 <= lam <= 1:
        raise RangeError(f"lam must lie in [0, 1]; found {lam}")
    return InvertibleMap(
        lambda s: 1 + lam * chosen.apply(s),
        lambda y: chosen.invert((y - 1) / (lam or 1.0)),
    )


def nearest_orthogonal(w: Tensor) -> Tensor:
    """Return the matrix with orthonormal columns, or rows, that is nearest to ``w``: its polar factor."""
    u, _, vh = torch.linalg.svd(w, full_matrices=False)
    polar: Tensor = u @ vh
    return polar


def widest(x: Tensor, name: str) -> Tensor:
    """Return x in float64 on the CPU, which every device can copy to.

    Raises:
        RangeError: If a number is infinite or NaN; ``name`` says in the message what x is.
    """
    if not bool(x.isfinite().all()):
        raise RangeError(f"{name} must be finite; it contains inf or NaN")
    return x.detach().to("cpu", torch.float64)


def _eye(like: Tensor) -> Tensor:
    """Return the identity matrix of the size of ``like``."""
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
