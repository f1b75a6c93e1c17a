"""Grid search: every point of the space once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from workers.spec.samplers.sampler import Observation, Sampler, Unsuited
from workers.spec.search_space import MAX_TRIALS, Params, Range, Scalar, Values


class GridSampler(Sampler):
    """Take every combination of the dimensions' values in order, the last dimension changing fastest."""

    summary = "every point of the space, the last dimension changing fastest"
    takes_trials = False

    @property
    def trial_count(self) -> int:
        """The product of the dimensions' numbers of points.

        Above ``MAX_TRIALS``, which no sweep may have, points that round to the same value may count more than once.
        """
        count = 1
        for dimension in self.space.values():
            count *= _size(dimension, exactly=count <= MAX_TRIALS)
        return count

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the point whose position in the grid is ``number``."""
        point: Params = {}
        # Read the number as one with mixed radix: the remainder by a dimension's size is its position there.
        for path, values in reversed(self._axes.items()):
            number, position = divmod(number, len(values))
            point[path] = values[position]
        return {path: point[path] for path in self.space}

    @cached_property
    def _axes(self) -> dict[str, Sequence[Scalar]]:
        """The values of every dimension, by its path."""
        return {path: grid_values(dimension) for path, dimension in self.space.items()}

    @classmethod
    def unsuited(cls, dimension: Values | Range) -> Unsuited | None:
        """Return why a range of real numbers without ``grid``, its number of points, cannot be searched; else None."""
        if isinstance(dimension, Range) and dimension.grid is None and not dimension.is_integer:
            return Unsuited("grid", "a grid over this range needs a number of points", f"grid: 1 to {MAX_TRIALS:,}")
        return None


def grid_values(dimension: Values | Range) -> Sequence[Scalar]:
    """Return the points of one dimension in order.

    A range of integers without ``grid`` gives every integer, and ``grid`` = 1 gives ``low`` alone. Points of a range
    that round to the same value count once.
    """
    if isinstance(dimension, Values):
        return dimension.values
    if dimension.grid is None:
        return range(int(dimension.low), int(dimension.high) + 1)
    if dimension.grid == 1:
        return [dimension.low]
    points = [dimension.at(i / (dimension.grid - 1)) for i in range(dimension.grid)]
    return list(dict.fromkeys(points))


def _size(dimension: Values | Range, *, exactly: bool) -> int:
    """Count the points of one dimension; ``len`` of a range overflows above 2^63."""
    if isinstance(dimension, Range) and dimension.grid is None:
        return int(dimension.high) - int(dimension.low) + 1
    if isinstance(dimension, Range) and dimension.grid is not None and not exactly:
        return dimension.grid
    return len(grid_values(dimension))
