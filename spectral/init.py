"""First values of the reflectors of a square transition. sigma starts at sigma*, so these decide W = U V^T.

Reflectors are lower trapezoids: u (n, m1), v (n, m2), zero above the diagonal. `generator`, on the CPU,
draws, so that a seed gives the same start on every device; None is torch's own.

A reflection has determinant -1 and sigma > 0, so det W has the sign (-1)^(m1 + m2) and keeps it through training: an
even sum holds the rotations and what deforms to them, an odd one, which `gaussian` alone starts, the other half. Start
from a matrix that is there with `set_dense` of SVD and of the recurrent nets.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from spectral.errors import OptionError, ReflectorCountError

InitName = Literal["gaussian", "identity", "henaff", "cayley"]
STARTS: tuple[str, ...] = get_args(InitName)


def check_reflectors(size: int, count: int, name: str) -> None:
    """Raises ReflectorCountError unless 0 <= count <= size."""
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= size:
        raise ReflectorCountError(
            f"{name}, the number of reflectors, must be an integer from 0 to {size}, which reaches every "
            f"orthogonal matrix of that size; found {count!r}"
        )


def gaussian(size: int, count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Independent normal entries in each column's free coordinates: random reflectors, the paper's start. (n,
    m).
    """
    return torch.randn(size, count, dtype=torch.float64, generator=generator).tril()


def reflectors(
    start: str, size: int, counts: tuple[int, int], *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """u (n, m1) and v (n, m2) in float64 on the CPU.

    gaussian: every reflector random; W is then a rotation of at most m1 + m2 dimensions, near I for few
    reflectors. identity: V = U, W = sigma* I; needs m1 = m2 (Le, Jaitly, Hinton 2015 for the start itself).
    henaff: plane rotations with angles from U(-pi, pi) (Henaff, Szlam, LeCun 2016); needs m1 = m2 >= floor(n
    / 2). cayley: the same with angles from U(0, pi / 2) (Helfrich, Willmott, Ye 2018). Raises OptionError,
    ReflectorCountError.
    """
    if start not in STARTS:
        raise OptionError(f"start must be one of {', '.join(STARTS)}; found {start!r}")
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
    """Pairs u_j = (cos t/2, sin t/2), v_j = (1, 0) at coordinates (2j, 2j+1) turn that plane by t.

    Reflectors past floor(n / 2) are random and the same on both sides, so that they cancel and can still
    learn.
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


ANGLES: dict[str, Callable[[Tensor], Tensor]] = {
    "henaff": lambda uniform: (2 * uniform - 1) * math.pi,
    "cayley": lambda uniform: uniform * (math.pi / 2),
    "identity": torch.zeros_like,
}
"""How a uniform number in [0, 1) becomes the angle of a plane rotation."""


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
