"""What samplers that draw points have in common: a point that breaks a constraint is drawn again."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence

from workers.errors import NoValidPoint
from workers.spec.samplers.sampler import Observation, Sampler
from workers.spec.search_space import Params, Range, Scalar, Values

MAX_DRAWS = 500
"""How many points are drawn for one trial until one satisfies the constraints."""


class DrawingSampler(Sampler):
    """Take ``search.trials`` points, each of which is drawn until it satisfies the constraints."""

    takes_trials = True

    @property
    def trial_count(self) -> int:
        """The sweep's ``search.trials``."""
        return self.trials or 0

    @abstractmethod
    def draw(self, number: int, attempt: int) -> Params:
        """Return a value for every dimension: the draw of a trial, from 0, after ``attempt`` rejected ones."""

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the first draw of trial ``number`` that satisfies the constraints."""
        broken: Counter[str] = Counter()
        for attempt in range(MAX_DRAWS):
            point = self.rules.settle(self.draw(number, attempt))
            constraint = self.rules.broken(point)
            if constraint is None:
                return point
            broken[constraint.text] += 1
        ((text, times),) = broken.most_common(1)
        raise NoValidPoint(
            f"none of {MAX_DRAWS} points drawn for trial {number} satisfies all constraints; {times} of them break "
            f"{text}",
            text,
        )


def draw_point(space: Sequence[tuple[str, Values | Range]], seed: int, number: int, attempt: int) -> Params:
    """Draw every dimension independently and uniformly, by its logarithm in a logarithmic range.

    The point depends on the arguments alone. Attempt 0 is the stream of release 0.1.0.
    """
    rng = random.Random(f"{seed}:{number}" if attempt == 0 else f"{seed}:{number}:{attempt}")
    return {path: _draw(dimension, rng) for path, dimension in space}


def _draw(dimension: Values | Range, rng: random.Random) -> Scalar:
    """Draw one value of a dimension."""
    if isinstance(dimension, Values):
        return rng.choice(dimension.values)
    if dimension.count is not None:
        return dimension.nth(rng.randint(0, dimension.count - 1))
    return dimension.at(rng.random())
