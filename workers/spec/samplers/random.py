"""Random search: independent draws from the space."""

from __future__ import annotations

import random
from collections.abc import Sequence

from workers.spec.samplers.sampler import Observation, Sampler
from workers.spec.search_space import Params, Range, Scalar, Values


class RandomSampler(Sampler):
    """Draw every dimension of every trial independently and uniformly, by its logarithm in a logarithmic range."""

    summary = "search.trials independent draws; each depends on search.seed and the trial's number alone"
    takes_trials = True

    @property
    def trial_count(self) -> int:
        """The sweep's ``search.trials``."""
        return self.trials or 0

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the draw of trial ``number``, whatever was drawn before it."""
        rng = random.Random(f"{self.seed}:{number}")
        return {path: _draw(dimension, rng) for path, dimension in self.space.items()}


def _draw(dimension: Values | Range, rng: random.Random) -> Scalar:
    """Draw one value of a dimension."""
    if isinstance(dimension, Values):
        return rng.choice(dimension.values)
    if dimension.is_integer and not dimension.log:
        return rng.randint(int(dimension.low), int(dimension.high))
    return dimension.at(rng.random())
