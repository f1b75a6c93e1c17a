"""Initial reflectors of a square transition. sigma starts at sigma*, so the reflectors decide W = sigma* U V^T.

Reflectors are lower trapezoids, u (n, m1) and v (n, m2), that are zero above the diagonal. The argument ``generator``
is a generator on the CPU, so that a seed starts from the same values on every device; None is torch's default
generator.

A reflection has determinant -1, and sigma > 0, so det W has the sign (-1)^(m1 + m2) and keeps it through training. An
even sum contains the rotations and all that can be deformed into them. An odd sum, which only ``gaussian`` can start,
is the other half. To start from a given matrix, use ``set_dense`` of SVD and of the recurrent modules.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from spectral.errors import OptionError, ReflectorCountError

InitName = Literal["gaussian", "identity", "henaff", "cayley"]
INITS: tuple[str, ...] = get_args(InitName)

ANGLES: dict[str, Callable[[Tensor], Tensor]] = {
    "henaff": lambda uniform: (2 * uniform - 1) * math.pi,
    "cayley": lambda uniform: uniform * (math.pi / 2),
    "identity": torch.zeros_like,
}
"""How a uniform number in [0, 1) becomes the angle of a plane rotation."""


def check_reflectors(size: int, count: int, name: str) -> None:
    """Raise ReflectorCountError unless ``count`` is an integer in [0, size]; ``name`` is used in the message."""
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= size:
        raise ReflectorCountError(
            f"{name}, the number of reflectors, must be an integer from 0 to {size}, which reaches every "
            f"orthogonal matrix of that size; found {count!r}"
        )


def gaussian(size: int, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw random reflectors, as the paper does: independent normal entries in each column's free coordinates.

    Returns:
        Shape (size, count), float64 on the CPU.
    """
    return torch.randn(size, count, dtype=torch.float64, generator=generator).tril()


def rotation_angles(start: str, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw the angles of plane rotations.

    Args:
        start: ``henaff`` draws from U(-pi, pi), ``cayley`` from U(0, pi / 2); ``identity`` makes every angle 0.
        count: How many angles.
        generator: The CPU generator that draws the angles; None is torch's default. ``identity`` draws too.

    Returns:
        The angles in radians, shape (count,), float64 on the CPU.

    Raises:
        OptionError: If ``start`` is not one of these.
    """
    if start not in ANGLES:
        raise OptionError(f"start must be one of {', '.join(ANGLES)}; found {start!r}")
    return ANGLES[start](torch.rand(count, dtype=torch.float64, generator=generator))


def reflectors(
    start: str, size: int, counts: tuple[int, int], *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw the initial reflectors of a square matrix.

    - ``gaussian``: every reflector is random. W is then a rotation of at most m1 + m2 dimensions, and near I if there
      are few reflectors.
    - ``identity``: V = U, so that W = sigma* I; needs m1 = m2 (Le, Jaitly and Hinton 2015 for this initialisation).
    - ``henaff``: plane rotations with angles from U(-pi, pi); needs m1 = m2 >= floor(n / 2) (Henaff, Szlam and LeCun
      2016).
    - ``cayley``: the same with angles from U(0, pi / 2) (Helfrich, Willmott and Ye 2018).

    Args:
        start: The name of the initialisation.
        size: The matrix size n.
        counts: (m1, m2).
        generator: The CPU generator that draws; None is torch's default.

    Returns:
        u, shape (n, m1), and v, shape (n, m2), in float64 on the CPU.

    Raises:
        OptionError: If there is no initialisation of that name.
        ReflectorCountError: If it is not possible with these numbers of reflectors.
    """
    if start not in INITS:
        raise OptionError(f"start must be one of {', '.join(INITS)}; found {start!r}")
    for count, name in zip(counts, ("m1", "m2"), strict=True):
        check_reflectors(size, count, name)
    if start == "gaussian":
        return gaussian(size, counts[0], generator=generator), gaussian(size, counts[1], generator=generator)
    if counts[0] != counts[1]:
        raise ReflectorCountError(
            f"start {start!r} needs m1 = m2; found {counts}. Use equal counts, or start='gaussian'"
        )
    if start == "identity":
        u = gaussian(size, counts[0], generator=generator)
        return u, u.clone()
    return _rotations(start, size, counts[0], generator)


def _rotations(start: str, size: int, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return reflectors whose product rotates the planes of coordinates (2j, 2j + 1).

    The pair u_j = (cos t/2, sin t/2), v_j = (1, 0) rotates its plane by the angle t. Reflectors beyond floor(n / 2) are
    random and equal on both sides, so that they cancel at the start and can still learn.
    """
    pairs = size // 2
    if count < pairs:
        raise ReflectorCountError(
            f"start {start!r} needs m1 = m2 >= floor(n / 2) = {pairs}; found {count}. "
            "Use more reflectors, or start='identity' or 'gaussian'"
        )
    angles = rotation_angles(start, pairs, generator=generator)
    u = gaussian(size, count, generator=generator)
    u[:, :pairs] = 0
    v = u.clone()
    j = torch.arange(pairs)
    u[2 * j, j], u[2 * j + 1, j] = torch.cos(angles / 2), torch.sin(angles / 2)
    v[2 * j, j] = 1.0
    return u, v
