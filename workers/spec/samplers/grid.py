"""Grid search: every point of the space once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from workers.spec.samplers.sampler import Observation, Sampler, Unsuited
from workers.spec.search_space import MAX_TRIALS, Params, Range, Scalar, Values

MAX_EXAMINED = 100_000
"""The most combinations of values that are examined for conditions and constraints."""


class GridSampler(Sampler):
    """Take every combination of the dimensions' values in order, the last dimension changing fastest.

    A dimension that its condition leaves out has no values there. Combinations that break a constraint are left out.
    """

    summary = "every point of the space, the last dimension changing fastest"
    use_when = "there are few dimensions with few values each, and you want every combination, as for a heatmap"
    takes_trials = False

    @property
    def trial_count(self) -> int:
        """The product of the dimensions' numbers of points; with conditions or constraints, the points that are left.

        Above ``MAX_TRIALS``, which no sweep may have, points that round to the same value may count more than once.
        """
        return self.combinations if self.rules.trivial else len(self._points)

    @property
    def combinations(self) -> int:
        """The product of the dimensions' numbers of points, whatever conditions and constraints leave of them."""
        count = 1
        for dimension in self.space.values():
            count *= _size(dimension, exactly=count <= MAX_TRIALS)
        return count

    @cached_property
    def excluded(self) -> dict[str, int]:
        """How many points of the grid are left out for a constraint, by the text of the first one that they break."""
        counts: dict[str, int] = {}
        for point in () if self.rules.trivial else self._walk(0, {}):
            constraint = self.rules.broken(point)
            if constraint is not None:
                counts[constraint.text] = counts.get(constraint.text, 0) + 1
        return counts

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the point whose position in the grid is ``number``."""
        if not self.rules.trivial:
            point = self._points[number]
            return {path: point[path] for path in self.space if path in point}
        point = {}
        # Read the number as one with mixed radix: the remainder by a dimension's size is its position there.
        for path, values in reversed(self._axes.items()):
            number, position = divmod(number, len(values))
            point[path] = values[position]
        return {path: point[path] for path in self.space}

    @cached_property
    def _axes(self) -> dict[str, Sequence[Scalar]]:
        """The values of every dimension, by its path."""
        return {path: grid_values(dimension) for path, dimension in self.space.items()}

    @cached_property
    def _points(self) -> list[Params]:
        """The points that conditions and constraints leave, in order."""
        return [dict(point) for point in self._walk(0, {}) if self.rules.broken(point) is None]

    def _walk(self, place: int, point: Params) -> Iterator[Params]:
        """Yield, in one dictionary that changes, the points that begin with ``point`` up to a place in the order."""
        if place == len(self.rules.order):
            yield point
            return
        path = self.rules.order[place]
        if not self.rules.exists(path, point):
            yield from self._walk(place + 1, point)
            return
        for value in self._axes[path]:
            point[path] = value
            yield from self._walk(place + 1, point)
        del point[path]

    @classmethod
    def unsuited(cls, dimension: Values | Range) -> Unsuited | None:
        """Return why a range of real numbers without ``grid``, its number of points, cannot be searched; else None."""
        if isinstance(dimension, Range) and not (dimension.grid or dimension.step or dimension.is_integer):
            problem = "a grid over this range needs a number of points, or a step"
            return Unsuited("grid", problem, f"grid: 1 to {MAX_TRIALS:,}")
        return None


def grid_values(dimension: Values | Range) -> Sequence[Scalar]:
    """Return the points of one dimension in order.

    A range with a step gives every value, a range of integers without ``grid`` every integer, and ``grid`` = 1 gives
    ``low`` alone. Points of a range
    that round to the same value count once.
    """
    if isinstance(dimension, Values):
        return dimension.values
    if dimension.step is not None:
        return [dimension.nth(position) for position in range(dimension.count or 0)]
    if dimension.grid is None:
        return range(int(dimension.low), int(dimension.high) + 1)
    if dimension.grid == 1:
        return [dimension.low]
    points = [dimension.at(i / (dimension.grid - 1)) for i in range(dimension.grid)]
    return list(dict.fromkeys(points))


def _size(dimension: Values | Range, *, exactly: bool) -> int:
    """Count the points of one dimension; ``len`` of a range overflows above 2^63."""
    if isinstance(dimension, Range) and dimension.step is not None:
        return dimension.count or 0
    if isinstance(dimension, Range) and dimension.grid is None:
        return int(dimension.high) - int(dimension.low) + 1
    if isinstance(dimension, Range) and dimension.grid is not None and not exactly:
        return dimension.grid
    return len(grid_values(dimension))
