"""Points that the user gives in ``search.enqueue``: the first trials take them, and a sampler proposes the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from workers.spec.samplers.sampler import Observation, Sampler
from workers.spec.search_space import Params, Scalar


class EnqueuedFirst(Sampler):
    """Take the given points in order, and then those that another sampler proposes.

    With a number of trials, the given points count among them. A grid comes after them, without the points that were
    given.

    Args:
        points: The given points, which lie in the space and satisfy the constraints.
        others: The sampler of the other trials.
    """

    def __init__(self, points: Sequence[Params], others: Sampler) -> None:
        super().__init__(
            others.space,
            seed=others.seed,
            trials=others.trials,
            direction=others.direction,
            rules=others.rules,
            options=others.options,
        )
        self._points, self._others = list(points), others

    @property
    def trial_count(self) -> int:
        """The other sampler's number of trials; for a grid, with the given points that are not on it."""
        count = self._others.trial_count
        return count if self._others.takes_trials else len(self._points) + count - len(self._repeated)

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the given point of this number, or what the other sampler proposes."""
        if number < len(self._points):
            return dict(self._points[number])
        if self._others.takes_trials:
            return self._others.propose(number, earlier)
        place = number - len(self._points)
        for repeated in self._repeated:
            place += repeated <= place
        return self._others.propose(place, ())

    def is_ready(self, number: int, earlier: Sequence[Observation]) -> bool:
        """Return true for a given point, and else what the other sampler answers."""
        return number < len(self._points) or self._others.is_ready(number, earlier)

    @cached_property
    def _repeated(self) -> list[int]:
        """The places on the grid, in order, of points that were given."""
        given = {_identity(point) for point in self._points}
        places = range(self._others.trial_count)
        return [place for place in places if _identity(self._others.propose(place, ())) in given]


def _identity(point: Params) -> tuple[tuple[str, bool, Scalar], ...]:
    """Return what two points have in common if and only if they have the same values; true and 1 are different."""
    return tuple((path, isinstance(value, bool), value) for path, value in sorted(point.items()))
