"""Random choice of the sequences that are held out of training, by a fixed seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.tasks.task import MASKED

STREAM = 0x5917


def stratified(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose the same fraction of every class to be held out.

    The number for each class is rounded, and is never the whole class. If it rounds to 0 for all classes, one sequence
    of the largest class is held out, or none if every class has only one.

    Args:
        labels: Class of each sequence, (N,).
        fraction: Fraction to hold out, between 0 and 1.
        seed: Seed of the choice.

    Returns:
        A mask (N,), True for the sequences that are held out.
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


def drawn(
    count: int, fraction: float, seed: int, classes: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.bool_]:
    """Choose a fraction of ``count`` sequences to be held out: at least one if there are two, and never all.

    Args:
        count: Number of sequences.
        fraction: Fraction to hold out, between 0 and 1.
        seed: Seed of the choice.
        classes: Class of each step, (count, T), with -100 for a step without one. A sequence is not held out if no
            other is left with one of its classes, because a net could not learn that class. Fewer sequences, or none,
            may then be held out.

    Returns:
        A mask (count,), True for the sequences that are held out.
    """
    held = np.zeros(count, bool)
    take = min(max(1, round(fraction * count)), count - 1)
    order = np.random.default_rng([STREAM, seed]).permutation(count)
    if classes is not None:
        order = order[_spare(classes[order])]
    held[order[:take]] = True
    return held


def _spare(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which sequences can be held out, in this order, so that of every class one sequence is left; (count,)."""
    own = [np.unique(steps[steps != MASKED]) for steps in classes]
    left = np.bincount(np.concatenate(own))
    spare = np.zeros(len(own), bool)
    for number, found in enumerate(own):
        spare[number] = (left[found] > 1).all()
        left[found] -= spare[number]
    return spare
