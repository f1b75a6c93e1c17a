"""Initial reflectors of a square transition. Every sigma_i starts at sigma*, so W starts at sigma* U V^T.

Reflectors are lower trapezoids, u (n, m1) and v (n, m2), that are zero above the diagonal. The argument ``generator``
is a generator on the CPU, so that a seed starts from the same values on every device; None is torch's default
generator.

A reflection has determinant -1. So det W has the sign (-1)^(m1 + m2), where zero reflectors do not count, and keeps it
through training as long as every sigma_i is positive. An even m1 + m2 contains the rotations and all that can be
deformed into them. An odd one, which only ``gaussian`` can start, is the other half.

To start from a given matrix, use ``set_dense`` of SVD and of the recurrent modules.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from spectral.deprecation import renamed_keyword
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
    """Raise ReflectorCountError unless ``count`` is an int, and no bool, in [0, size].

    Args:
        size: The smaller side of the matrix.
        count: The number of reflectors.
        name: Which number it is, m1 for U or m2 for V.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= size:
        raise ReflectorCountError(
            f"reflectors must be one integer, or two (m1, m2), from 0 to {size}, the smaller side of the matrix; "
            f"found {name} = {count!r}. {size} reach every such matrix"
        )


def gaussian(size: int, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw random reflectors, as the paper does: standard normal entries on and below the diagonal, zeros above it.

    Returns:
        Raw reflectors, shape (size, count), float64 on the CPU.
    """
    return torch.randn(size, count, dtype=torch.float64, device="cpu", generator=generator).tril()


@renamed_keyword("start", "init")
def rotation_angles(init: str, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw the angles of plane rotations.

    Args:
        init: ``henaff`` draws from U(-pi, pi), ``cayley`` from U(0, pi / 2); ``identity`` makes every angle 0.
        count: How many angles.
        generator: The CPU generator that draws the angles; None is torch's default. ``identity`` advances it as far as
            the others do.

    Returns:
        The angles in radians, shape (count,), float64 on the CPU.

    Raises:
        OptionError: If ``init`` is not one of these.
    """
    if init not in ANGLES:
        raise OptionError(f"init must be one of {', '.join(ANGLES)}; found {init!r}")
    return ANGLES[init](torch.rand(count, dtype=torch.float64, device="cpu", generator=generator))


def reflectors(
    init: str, size: int, counts: tuple[int, int], *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw the initial reflectors of a square matrix.

    - ``gaussian``: every reflector is random; any m1 and m2. W / sigma* is then orthogonal and is the identity on all
      but m1 + m2 dimensions; on these it is a rotation if m1 + m2 is even, and a rotation with a reflection if odd.
    - ``identity``: V = U, so that W = sigma* I; needs m1 = m2 (Le, Jaitly and Hinton 2015 for this initialisation).
    - ``henaff``: rotations of the planes of units (0, 1), (2, 3), ... with angles from U(-pi, pi); needs m1 = m2 >=
      floor(n / 2) (Henaff, Szlam and LeCun 2016).
    - ``cayley``: the same with angles from U(0, pi / 2) (Helfrich, Willmott and Ye 2018).

    Args:
        init: The name of the initialisation.
        size: The matrix size n.
        counts: (m1, m2).
        generator: The CPU generator that draws; None is torch's default.

    Returns:
        u, shape (n, m1), and v, shape (n, m2), in float64 on the CPU.

    Raises:
        OptionError: If there is no initialisation of that name.
        ReflectorCountError: If m1 or m2 is not an integer from 0 to n, or if the initialisation needs other numbers.
    """
    if init not in INITS:
        raise OptionError(f"init must be one of {', '.join(INITS)}; found {init!r}")
    for count, name in zip(counts, ("m1", "m2"), strict=True):
        check_reflectors(size, count, name)
    if init == "gaussian":
        return gaussian(size, counts[0], generator=generator), gaussian(size, counts[1], generator=generator)
    if counts[0] != counts[1]:
        raise ReflectorCountError(
            f"init {init!r} needs as many reflectors on both sides, m1 = m2; found (m1, m2) = {counts}. "
            "Use equal numbers, or init='gaussian'"
        )
    if init == "identity":
        u = gaussian(size, counts[0], generator=generator)
        return u, u.clone()
    return _rotations(init, size, counts[0], generator)


def _rotations(init: str, size: int, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return reflectors u and v, each (size, count), whose U V^T rotates the planes of coordinates (2j, 2j + 1).

    The pair u_j = (cos t/2, sin t/2), v_j = (1, 0) rotates its plane by the angle t. Reflectors beyond floor(n / 2) are
    random and equal on both sides, so that they cancel at the start and can still learn.
    """
    pairs = size // 2
    if count < pairs:
        raise ReflectorCountError(
            f"init {init!r} needs at least floor(n / 2) = {pairs} reflectors on each side; found {count}. "
            "Use more reflectors, or init='identity' or 'gaussian'"
        )
    angles = rotation_angles(init, pairs, generator=generator)
    u = gaussian(size, count, generator=generator)
    u[:, :pairs] = 0
    v = u.clone()
    j = torch.arange(pairs, device="cpu")
    u[2 * j, j], u[2 * j + 1, j] = torch.cos(angles / 2), torch.sin(angles / 2)
    v[2 * j, j] = 1.0
    return u, v
