"""Parts of a data set held out by a fixed seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STREAM = 0x5917


def stratified(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which of N are held out, (N,): of every class the same fraction, rounded, and never all of it.

    At least one is held out where any class has two; where none has, none is.
    """
    rng = np.random.default_rng([STREAM, seed])
    held = np.zeros(len(labels), bool)
    classes = [rng.permutation(np.flatnonzero(labels == one)) for one in np.unique(labels)]
    for members in classes:
        held[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    largest = max(classes, key=len)
    if not held.any() and len(largest) > 1:
        held[largest[0]] = True
    return held


def drawn(count: int, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which of ``count`` are held out, (count,): at least one, and never all."""
    held = np.zeros(count, bool)
    take = min(max(1, round(fraction * count)), count - 1)
    held[np.random.default_rng([STREAM, seed]).permutation(count)[:take]] = True
    return held
